"""Files by path: the operations that the rooms need, so that no other module asks what kind of path it holds.

A path is one of this machine, with or without file://, or an address gs://bucket/name. Both kinds have the same
functions, in `local` and in `gcs`; the latter is imported when the first such address is met.
"""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from types import ModuleType
from typing import BinaryIO

from transforms.errors import UsageError
from transforms.storage import local
from transforms.storage.local import is_no_file
from transforms.storage.ranged import Slice, read_ahead

__all__ = ["Slice", "is_no_file"]  # and all that is defined here


def _files(path: str) -> ModuleType:
    scheme, separator, _ = path.partition("://")
    if not separator or scheme == "file":
        return local
    if scheme == "gs":
        from transforms.storage import gcs

        return gcs
    raise UsageError(f"{path}: {scheme}:// paths cannot be read or written; give a local path or a gs:// address")


def is_local(path: str) -> bool:
    """Whether a path is on this machine, where asking for a file costs nothing."""
    return "://" not in path or path.startswith("file://")


def join(path: str, *names: str) -> str:
    """`path/name/...` for a local path or an address."""
    return "/".join([path.rstrip("/") if path != "/" else "", *names])


def parent(path: str) -> str:
    """The folder that holds `path`."""
    return _files(path).parent(path)


def exists(path: str) -> bool:
    """Whether there is a file or folder at `path`."""
    return _files(path).exists(path)


def is_dir(path: str) -> bool:
    """Whether `path` is a folder."""
    return _files(path).is_dir(path)


def size(path: str) -> int:
    """Bytes of the file at `path`; FileNotFoundError where there is none."""
    return _files(path).size(path)


def sizes(paths: Sequence[str]) -> list[int | None]:
    """Bytes of each file, None where there is none or it may not be looked at; a few requests for many addresses."""
    found: dict[str, int] = {}
    for files in {_files(path) for path in paths}:
        found |= files.sizes([path for path in paths if _files(path) is files])
    return [found.get(path) for path in paths]


def fingerprint(path: str) -> str:
    """Return a text that changes when the file does."""
    return _files(path).fingerprint(path)


def open_read(path: str) -> BinaryIO:
    """Opens a file for seekable binary reading; the OSErrors of `open`."""
    return _files(path).open_read(path)


def expect(file: BinaryIO, offset: int, length: int) -> None:
    """Tells a file of `open_read` which bytes are read next, so that an address is asked for them in one request."""
    if hasattr(file, "expect"):
        file.expect(offset, length)


def read_bytes(path: str) -> bytes:
    """The whole file."""
    return _files(path).read_bytes(path)


def read_slices(slices: Sequence[Slice]) -> Iterator[bytes]:
    """The bytes of each slice, in order; those of addresses are asked for ahead of time."""
    if all(is_local(one.path) for one in slices):
        return map(local.read_slice, slices)
    return read_ahead(lambda one: _files(one.path).read_slice(one), slices)


def read_version(path: str) -> tuple[bytes, int]:
    """A whole file and the number of its version, for `replace`; 0 for a file of this machine."""
    return _files(path).read_version(path)


def list_files(path: str) -> Iterator[tuple[str, int]]:
    """(path, bytes) of every file below a folder, in name order; nothing where the folder is absent.

    Paths begin with the folder's, as it was given: they equal what `join` makes of it and a file's name.
    """
    return _files(path).list_files(path)


def list_folders(path: str) -> list[str]:
    """Names of the folders directly below `path`, in order; [] where it is absent."""
    return _files(path).list_folders(path)


def make_folder(path: str) -> None:
    """Makes `path` and the folders above it; a bucket has no folders, and there it does nothing."""
    _files(path).make_folder(path)


def staging_path(path: str) -> str:
    """A local path to write to before `publish`: beside a local target, so that a full disk shows while writing."""
    return _files(path).staging_path(path)


def publish(staged: str, path: str) -> None:
    """Moves a finished staging file to its name, atomically; a file that is there is replaced by the whole new one."""
    _files(path).publish(staged, path)


def concatenate(parts: Sequence[str], path: str) -> None:
    """Joins objects of a bucket to one in the same bucket, atomically and without a download; the parts stay."""
    if is_local(path):
        raise ValueError(f"{path} is no address")
    _files(path).concatenate(parts, path)


def write_bytes(path: str, data: bytes) -> None:
    """Writes a whole file atomically: readers see the old one or the new one."""
    _files(path).write_bytes(path, data)


def replace(path: str, data: bytes, version: int) -> int:
    """Writes a whole file atomically, in place of the version that was read before.

    Args:
      path: of the file.
      data: its new content.
      version: of `read_version`, or 0 where there was no file.

    Returns:
      the new version.

    Raises:
      FmaError: at an address another version is there by now, or a hold on its folder was lost (see `locked`). On this
        machine `locked` alone keeps others away.
    """
    return _files(path).replace(path, data, version)


def locked(folder: str, busy: str) -> AbstractContextManager[None]:
    """Keeps other writers of a folder away while the body runs; ends with the process, however that ends.

    Raises:
      FmaError: there is another one; `busy` is the message.
    """
    return _files(folder).locked(folder, busy)


def remove(path: str) -> None:
    """Removes a file."""
    _files(path).remove(path)


def remove_all(paths: Sequence[str]) -> None:
    """Removes files, at addresses several at a time."""
    for files in {_files(path) for path in paths}:
        files.remove_all([path for path in paths if _files(path) is files])


def remove_empty_folders(path: str) -> None:
    """Removes the folders below `path`, and itself, that hold nothing."""
    _files(path).remove_empty_folders(path)


def remove_tree(path: str) -> None:
    """Removes a folder and all in it, if it is there."""
    _files(path).remove_tree(path)
