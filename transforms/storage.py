"""Files by path: the few operations that the rooms need, so that no other module asks what kind of path it holds.

Paths are local today. Every operation goes through this module, which is where another file system is added.
"""

import os
import shutil
from collections.abc import Iterator
from typing import BinaryIO

from transforms.errors import UsageError


def _local(path: str) -> str:
    scheme, separator, _ = path.partition("://")
    if separator and scheme != "file":
        raise UsageError(f"{path}: {scheme}:// paths cannot be read or written yet; give a local path")
    return path.removeprefix("file://")


def join(path: str, *names: str) -> str:
    """`path/name/...` for a local path or an address."""
    return "/".join([path.rstrip("/") if path != "/" else "", *names])


def parent(path: str) -> str:
    """The folder that holds `path`."""
    return os.path.dirname(_local(path)) or "."


def exists(path: str) -> bool:
    """Whether there is a file or folder at `path`."""
    return os.path.exists(_local(path))


def is_dir(path: str) -> bool:
    """Whether `path` is a folder."""
    return os.path.isdir(_local(path))


def size(path: str) -> int:
    """Bytes of the file at `path`; FileNotFoundError where there is none."""
    return os.stat(_local(path)).st_size


def open_read(path: str) -> BinaryIO:
    """Opens a file for seekable binary reading; the OSErrors of `open`."""
    return open(_local(path), "rb")


def read_bytes(path: str) -> bytes:
    """The whole file."""
    with open_read(path) as file:
        return file.read()


def list_files(path: str) -> Iterator[tuple[str, int]]:
    """(path, bytes) of every file below a folder, in name order; nothing where the folder is absent."""
    try:
        with os.scandir(_local(path)) as found:
            entries = sorted(found, key=lambda entry: entry.name)
    except FileNotFoundError:
        return
    for entry in entries:
        if entry.is_dir():
            yield from list_files(entry.path)
        elif entry.is_file():
            yield entry.path, entry.stat().st_size


def list_folders(path: str) -> list[str]:
    """Names of the folders directly below `path`, in order; [] where it is absent."""
    try:
        with os.scandir(_local(path)) as found:
            return sorted(entry.name for entry in found if entry.is_dir())
    except FileNotFoundError:
        return []


def make_folder(path: str) -> None:
    """Makes `path` and the folders above it."""
    os.makedirs(_local(path), exist_ok=True)


def staging_path(path: str) -> str:
    """A local path to write to before `publish`: beside the target, so that a full disk shows while writing."""
    folder, name = os.path.split(_local(path))
    make_folder(folder or ".")
    return os.path.join(folder, f".{name}.{os.getpid()}.{os.urandom(4).hex()}.tmp")


def publish(staged: str, path: str) -> None:
    """Moves a finished staging file to its name, atomically; a file that is there is replaced by the whole new one."""
    descriptor = os.open(staged, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    os.replace(staged, _local(path))


def write_bytes(path: str, data: bytes) -> None:
    """Writes a whole file atomically: readers see the old one or the new one."""
    staged = staging_path(path)
    try:
        with open(staged, "wb") as file:
            file.write(data)
        publish(staged, path)
    except BaseException:
        if os.path.exists(staged):
            os.unlink(staged)
        raise


def remove(path: str) -> None:
    """Removes a file."""
    os.unlink(_local(path))


def remove_empty_folders(path: str) -> None:
    """Removes the folders below `path`, and itself, that hold nothing."""
    for folder, _, _ in os.walk(_local(path), topdown=False):
        if not os.listdir(folder):
            os.rmdir(folder)


def remove_tree(path: str) -> None:
    """Removes a folder and all in it, if it is there."""
    if os.path.isdir(_local(path)):
        shutil.rmtree(_local(path))
