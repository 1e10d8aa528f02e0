"""Local files. `transforms.storage` documents the functions on paths."""

import contextlib
import errno
import fcntl
import io
import os
import re
import shutil
import stat
import time
import unicodedata
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, BinaryIO, Literal

from transforms.errors import BusyError, FmaError
from transforms.runtime import temporary
from transforms.storage.ranged import Slice

LOCK = ".lock"
PATIENCE = 5.0  # seconds in which a holder whose parent was killed ends, too
_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP}
_MISSING = {errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG, errno.ELOOP, errno.EISDIR}
_REFUSED = {errno.EPERM, errno.EACCES, errno.EINVAL, errno.EAGAIN}
_STAGED = re.compile(r"\.(.+)\.\d+\.[0-9a-f]{8}\.tmp")
_KINDS = (
    (stat.S_ISLNK, "a link"),
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a disk"),
)


class NotAFileError(OSError):
    """There is something at a path, but no regular file; `strerror` says what."""


def new_path(name: str) -> str:
    """Return a path for a new file in this process's folder for temporary files."""
    return os.path.join(temporary.folder(), f"{os.urandom(4).hex()}-{name}")


def is_refused(error: OSError, path: str) -> bool:
    """Return whether a file cannot be read because of what it is, rather than because a disk or a network failed.

    Files of 0 bytes, as those of /proc claim to be, and files of /sys lie on no disk.
    """
    if error.errno in _REFUSED:
        return True
    path = _local(path)
    return os.path.exists(path) and (os.stat(path).st_size == 0 or os.path.realpath(path).startswith("/sys/"))


def name_key(path: str) -> str:
    """Return a key that is equal for paths that differ only in case and in Unicode's normal form."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", path).casefold())


def nearest_name(path: str) -> str | None:
    """Return the path of a file that a missing one's path differs from only as `name_key` allows, or None."""
    found = "/" if path.startswith("/") else "."
    for name in filter(None, _local(path).split("/")):
        near = [name]
        if not os.path.exists(os.path.join(found, name)):
            with contextlib.suppress(OSError):
                near = sorted(other for other in os.listdir(found) if name_key(other) == name_key(name)) or near
        found = os.path.join(found, near[0])
    return os.path.normpath(found) if os.path.exists(found) else None


def is_missing(error: OSError) -> bool:
    """Return whether an error says that there is no such file, rather than that a disk or a network failed."""
    return isinstance(error, FileNotFoundError) or error.errno in _MISSING


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


def fingerprint(path: str) -> str:
    stat = os.stat(_local(path))
    return f"size {stat.st_size} mtime_ns {stat.st_mtime_ns}"


def sizes(paths: Sequence[str]) -> dict[str, int]:
    found = {}
    for path in paths:
        try:
            found[path] = size(path)
        except OSError as error:
            if not is_missing(error) and not isinstance(error, PermissionError):
                raise
    return found


class _RegularFile(io.FileIO):
    """A file that raises BlockingIOError where the kernel's own files would make a reader wait."""

    def readinto(self, buffer: Any) -> int:
        return self._there(super().readinto(buffer))

    def readall(self) -> bytes:
        return self._there(super().readall())

    def _there(self, read: Any) -> Any:
        if read is None:
            raise BlockingIOError(errno.EAGAIN, "nothing to read now", self.name)
        return read


def open_regular(path: str, flags: int) -> int:
    """Open a regular file and return its descriptor, as `os.open` does; NotAFileError where it is anything else.

    It never waits for a pipe's other end, and never opens a device, which might act on that.
    """
    flags |= os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
    with contextlib.suppress(FileNotFoundError):
        _check_regular(os.stat(path, follow_symlinks=not flags & os.O_NOFOLLOW).st_mode, path)
    descriptor = os.open(path, flags, 0o666)
    try:
        _check_regular(os.fstat(descriptor).st_mode, path)  # again: the path may have got another file meanwhile
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _check_regular(mode: int, path: str) -> None:
    if not stat.S_ISREG(mode):
        what = next((name for is_kind, name in _KINDS if is_kind(mode)), "something else")
        raise NotAFileError(errno.EISDIR if stat.S_ISDIR(mode) else errno.EINVAL, f"{what}, not a file", path)


def open_own(path: str, mode: Literal["ab", "wb"] = "ab") -> BinaryIO:
    """Open a file of a fixed name for writing, as `open` does, and make it where it is absent.

    Raises:
      FmaError: there is a link or anything else than a regular file: what it leads to is not this program's.
    """
    try:
        return open(path, mode, opener=lambda name, flags: open_regular(name, flags | os.O_NOFOLLOW))
    except NotAFileError as error:
        raise FmaError(f"{path}: {error.strerror}: remove it") from error


def lock(file: BinaryIO, *, wait: bool) -> None:
    """Lock a file against other processes, as far as its folder has locks: some network folders have none.

    Raises:
      BlockingIOError: another process has it, and this one is not to wait.
    """
    try:
        fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise


def open_read(path: str) -> BinaryIO:
    file = _RegularFile(_local(path), "rb", opener=lambda name, _: open_regular(name, os.O_RDONLY))
    return io.BufferedReader(file)


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


def is_link(path: str) -> bool:
    return os.path.islink(_local(path))


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


def unstaged(path: str) -> str:
    """Return the path that a path of `staging_path` was made for, or the path itself where it was not made so."""
    folder, separator, name = path.rpartition("/")
    found = _STAGED.fullmatch(name)
    return f"{folder}{separator}{found[1]}" if found else path


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
    with open_own(os.path.join(_local(folder), LOCK)) as file:
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError as error:
                if time.monotonic() >= deadline:
                    raise BusyError(busy) from error
            time.sleep(0.1)
        yield


def remove(path: str) -> None:
    os.unlink(_local(path))


def remove_all(paths: Sequence[str]) -> None:
    for path in paths:
        remove(path)


def remove_listed(root: str, paths: Collection[str], *, staged_only: bool = False) -> int:
    names: dict[str, set[str]] = {}
    for path in paths:
        folder, _, name = path.rpartition("/")
        names.setdefault(folder, set()).add(name)
    removed = 0
    for folder, wanted in names.items():
        with _open_folder(root, folder) as opened:
            for entry in list(os.scandir(opened)) if opened is not None else ():
                listed = unstaged(entry.name) in wanted and not (staged_only and entry.name in wanted)
                if listed and entry.is_file(follow_symlinks=False):
                    os.unlink(entry.name, dir_fd=opened)
                    removed += 1
    _remove_empty_folders(root, names)
    return removed


def _remove_empty_folders(root: str, folders: Iterable[str]) -> None:
    """Remove folders below root, given relative to it, and those above them, as far as they are empty."""
    parts = [folder.split("/") for folder in folders if folder]
    above = {"/".join(names[:count]) for names in parts for count in range(1, len(names) + 1)}
    for folder in sorted(above, key=len, reverse=True):
        parent, _, name = folder.rpartition("/")
        with _open_folder(root, parent) as opened:
            if opened is not None:
                try:
                    os.rmdir(name, dir_fd=opened)
                except OSError as error:
                    if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOENT, errno.ENOTDIR):
                        raise


def remove_scratch(root: str, folder: str) -> None:
    parent, _, name = folder.rpartition("/")
    with _open_folder(root, parent) as opened:
        if opened is not None and name in os.listdir(opened) and not is_link(f"{root}/{folder}"):
            shutil.rmtree(name, dir_fd=opened)
    _remove_empty_folders(root, [parent])


@contextmanager
def _open_folder(root: str, folder: str) -> Iterator[int | None]:
    """Yield a descriptor of a folder below root; None where it is absent, or a link leads to it from root."""
    names = folder.split("/") if folder else []
    if {"", ".", ".."} & {*names}:
        raise ValueError(f"{folder} is no path below a folder")
    descriptor = None
    try:
        descriptor = os.open(_local(root), os.O_RDONLY | os.O_DIRECTORY)
        for name in names:
            above, descriptor = descriptor, None
            try:
                descriptor = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=above)
            finally:
                os.close(above)
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
            raise
    try:
        yield descriptor
    finally:
        if descriptor is not None:
            os.close(descriptor)
