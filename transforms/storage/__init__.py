"""Files by path, so that no other module asks what kind of path it has.

A path is local, with or without file://, or an address gs://bucket/name. Both kinds have the same functions, in
`local` and in `gcs`, which is imported when the first address is met.
"""

from collections.abc import Collection, Iterator, Sequence
from contextlib import AbstractContextManager
from types import ModuleType
from typing import BinaryIO

from transforms.errors import UsageError
from transforms.storage import local
from transforms.storage.local import NotAFileError, is_missing, is_refused, name_key, nearest_name, unstaged
from transforms.storage.ranged import Slice, read_ahead

__all__ = [
    "NotAFileError",
    "Slice",
    "is_missing",
    "is_refused",
    "name_key",
    "nearest_name",
    "unstaged",
]  # and all that is defined here


def _files(path: str) -> ModuleType:
    scheme, separator, _ = path.partition("://")
    if not separator or scheme == "file":
        return local
    if scheme == "gs":
        from transforms.storage import gcs

        return gcs
    raise UsageError(f"{path}: {scheme}:// paths cannot be read or written; give a local path or a gs:// address")


def is_local(path: str) -> bool:
    """Return whether a path is on this machine, where asking for a file costs nothing."""
    return "://" not in path or path.startswith("file://")


def join(path: str, *names: str) -> str:
    """Join names to a local path or an address: `path/name/...`."""
    return "/".join([path.rstrip("/") if path != "/" else "", *names])


def parent(path: str) -> str:
    """Return the folder that holds `path`."""
    return _files(path).parent(path)


def exists(path: str) -> bool:
    """Return whether there is a file or folder at `path`."""
    return _files(path).exists(path)


def is_dir(path: str) -> bool:
    """Return whether `path` is a folder."""
    return _files(path).is_dir(path)


def size(path: str) -> int:
    """Return the bytes of the file at `path`; FileNotFoundError where there is none."""
    return _files(path).size(path)


def sizes(paths: Sequence[str]) -> list[int | None]:
    """Return the bytes of each file, None where it is absent or not accessible; few requests for many addresses."""
    found: dict[str, int] = {}
    for files in {_files(path) for path in paths}:
        found |= files.sizes([path for path in paths if _files(path) is files])
    return [found.get(path) for path in paths]


def stored_checksums(paths: Sequence[str]) -> list[str]:
    """Return the crc32c that a bucket holds of each object, without a download: 8 hexadecimal digits; "" for no object.

    All paths are addresses.
    """
    found = _files(paths[0]).stored_checksums(paths) if paths else {}
    return [found.get(path, "") for path in paths]


def fingerprint(path: str) -> str:
    """Return a text that changes when the file does."""
    return _files(path).fingerprint(path)


def open_read(path: str) -> BinaryIO:
    """Open a regular file for seekable binary reading; NotAFileError for anything else, or the OSErrors of `open`."""
    return _files(path).open_read(path)


def expect(file: BinaryIO, offset: int, length: int) -> None:
    """Announce which bytes of a file of `open_read` are read next, so that one request to a bucket fetches them."""
    if hasattr(file, "expect"):
        file.expect(offset, length)


def read_bytes(path: str) -> bytes:
    """Read the whole file."""
    return _files(path).read_bytes(path)


def read_slices(slices: Sequence[Slice]) -> Iterator[bytes]:
    """Read the bytes of each slice, in order; those in buckets are prefetched."""
    if all(is_local(one.path) for one in slices):
        return map(local.read_slice, slices)
    return read_ahead(lambda one: _files(one.path).read_slice(one), slices)


def read_version(path: str) -> tuple[bytes, int]:
    """Read a whole file and the number of its version, for `replace`; 0 for a local file."""
    return _files(path).read_version(path)


def list_files(path: str) -> Iterator[tuple[str, int]]:
    """List (path, bytes) of every file below a folder, in name order; nothing where the folder is absent.

    Paths begin with the folder's path as given, as those of `join` do.
    """
    return _files(path).list_files(path)


def is_link(path: str) -> bool:
    """Return whether there is a symbolic link at `path`."""
    return _files(path).is_link(path)


def list_folders(path: str) -> list[str]:
    """Return the names of the folders directly below `path`, in order; [] where it is absent."""
    return _files(path).list_folders(path)


def make_folder(path: str) -> None:
    """Make `path` and the folders above it; does nothing in a bucket, which has no folders."""
    _files(path).make_folder(path)


def staging_path(path: str) -> str:
    """Return a local path to write to before `publish`; beside a local target, so that a full disk shows early."""
    return _files(path).staging_path(path)


def publish(staged: str, path: str) -> None:
    """Move a finished staging file to its name, atomically; an existing file is replaced."""
    _files(path).publish(staged, path)


def concatenate(parts: Sequence[str], path: str) -> None:
    """Join objects of a bucket into one of that bucket, atomically and without a download; the parts stay."""
    if is_local(path):
        raise ValueError(f"{path} is no address")
    _files(path).concatenate(parts, path)


def write_bytes(path: str, data: bytes) -> None:
    """Write a whole file atomically: readers see the old one or the new one."""
    _files(path).write_bytes(path, data)


def replace(path: str, data: bytes, version: int) -> int:
    """Replace a file atomically if it still has the version of `read_version` (0: absent); return the new version.

    Raises:
      FmaError: in a bucket, another version is there, or the lease of `locked` was lost. Locally, `locked` alone
        keeps others away.
    """
    return _files(path).replace(path, data, version)


def locked(folder: str, busy: str) -> AbstractContextManager[None]:
    """Lock a folder against other writers, until the process ends at the latest; BusyError(busy) where one has it."""
    return _files(folder).locked(folder, busy)


def remove(path: str) -> None:
    """Remove a file."""
    _files(path).remove(path)


def remove_all(paths: Sequence[str]) -> None:
    """Remove files, several at a time in buckets."""
    for files in {_files(path) for path in paths}:
        files.remove_all([path for path in paths if _files(path) is files])


def remove_listed(root: str, paths: Collection[str], *, staged_only: bool = False) -> int:
    """Remove files below a folder, by their paths relative to it, and what is staged for them; return how many.

    With `staged_only`, the files stay, and only what killed processes have staged for them goes.

    Files that are not there are no error. Links stay, and so does what lies behind a link below the folder. Folders
    that are empty then are removed, too.
    """
    return _files(root).remove_listed(root, paths, staged_only=staged_only)


def remove_scratch(root: str, folder: str) -> None:
    """Remove a folder with all in it, by its path relative to `root`: one that was made new for a library's files."""
    _files(root).remove_scratch(root, folder)
