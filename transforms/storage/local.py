"""Files of this machine. `transforms.storage` says what each function promises."""

import errno
import fcntl
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import BinaryIO

from transforms.errors import FmaError
from transforms.storage.slices import Slice

LOCK = ".lock"
_NOT_A_FILE = {errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG, errno.ELOOP, errno.EISDIR}


def is_no_file(error: OSError) -> bool:
    """Whether an error says that there is no such file, and not that a disk or a network failed."""
    return isinstance(error, FileNotFoundError) or error.errno in _NOT_A_FILE


def _local(path: str) -> str:
    return path.removeprefix("file://")


def parent(path: str) -> str:
    return os.path.dirname(_local(path)) or "."


def exists(path: str) -> bool:
    return os.path.exists(_local(path))


def is_dir(path: str) -> bool:
    return os.path.isdir(_local(path))


def size(path: str) -> int:
    return os.stat(_local(path)).st_size


def mark(path: str) -> str:
    stat = os.stat(_local(path))
    return f"size {stat.st_size} mtime_ns {stat.st_mtime_ns}"


def sizes(paths: Sequence[str]) -> dict[str, int]:
    found = {}
    for path in paths:
        try:
            found[path] = size(path)
        except OSError as error:
            if not is_no_file(error) and not isinstance(error, PermissionError):
                raise
    return found


def open_read(path: str) -> BinaryIO:
    return open(_local(path), "rb")


def read_bytes(path: str) -> bytes:
    with open_read(path) as file:
        return file.read()


def read_slice(part: Slice) -> bytes:
    with open_read(part.path) as file:
        file.seek(part.offset)
        return file.read(part.length)


def read_version(path: str) -> tuple[bytes, int]:
    return read_bytes(path), 0


def list_files(path: str) -> Iterator[tuple[str, int]]:
    try:
        with os.scandir(_local(path)) as found:
            entries = sorted(found, key=lambda entry: entry.name)
    except FileNotFoundError:
        return
    for entry in entries:
        below = f"{path.rstrip('/')}/{entry.name}"  # with file:// where the folder has it, as callers write paths
        if entry.is_dir():
            yield from list_files(below)
        elif entry.is_file():
            yield below, entry.stat().st_size


def list_folders(path: str) -> list[str]:
    try:
        with os.scandir(_local(path)) as found:
            return sorted(entry.name for entry in found if entry.is_dir())
    except FileNotFoundError:
        return []


def make_folder(path: str) -> None:
    os.makedirs(_local(path), exist_ok=True)


def staging_path(path: str) -> str:
    folder, name = os.path.split(_local(path))
    make_folder(folder or ".")
    return os.path.join(folder, f".{name}.{os.getpid()}.{os.urandom(4).hex()}.tmp")


def publish(staged: str, path: str) -> None:
    descriptor = os.open(staged, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    os.replace(staged, _local(path))


def write_bytes(path: str, data: bytes) -> None:
    staged = staging_path(path)
    try:
        with open(staged, "wb") as file:
            file.write(data)
        publish(staged, path)
    except BaseException:
        if os.path.exists(staged):
            os.unlink(staged)
        raise


def replace(path: str, data: bytes, version: int) -> int:
    write_bytes(path, data)
    return version


@contextmanager
def locked(folder: str, busy: str) -> Iterator[None]:
    make_folder(folder)
    # The file stays: to unlink it would let two later writers lock two files of the same name.
    with open(os.path.join(_local(folder), LOCK), "wb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise FmaError(busy) from error
        yield


def remove(path: str) -> None:
    os.unlink(_local(path))


def remove_all(paths: Sequence[str]) -> None:
    for path in paths:
        remove(path)


def remove_empty_folders(path: str) -> None:
    for folder, _, _ in os.walk(_local(path), topdown=False):
        if not os.listdir(folder):
            os.rmdir(folder)


def remove_tree(path: str) -> None:
    if os.path.isdir(_local(path)):
        shutil.rmtree(_local(path))
