"""What an error of the system means for the user: which file or folder, what is wrong with it, what to do."""

import ast
import errno
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

from transforms.library_errors import NO_TEMPORARY_FOLDER

FULL = (errno.ENOSPC, errno.EDQUOT)
ADVICE = {  # for user-fixable errors, by number
    **dict.fromkeys(FULL, "free some space or write elsewhere"),
    errno.EFBIG: "this file system takes no file of that size: write elsewhere",
    errno.EROFS: "write elsewhere",
    **dict.fromkeys((errno.EACCES, errno.EPERM), "check the permissions"),
    errno.EEXIST: "remove it or choose another path",
    **dict.fromkeys((errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG, errno.ELOOP), "check the path"),
}


@contextmanager
def annotate_os_errors(path: str) -> Iterator[None]:
    """Add `path` to an OSError that names no file; where a disk is full, also the folder for temporary files."""
    try:
        yield
    except OSError as error:
        if error.errno is not None and error.filename is None and not NO_TEMPORARY_FOLDER.search(str(error)):
            error.filename = _where_full(path) if error.errno in FULL else path
        raise


def os_message(error: OSError) -> str:
    """Return a line such as `data/small: no space left on device: free some space or write elsewhere`."""
    if tried := NO_TEMPORARY_FOLDER.search(str(error)):
        return _no_temporary_folder(ast.literal_eval(tried[1]))
    number, path = error.errno or 0, error.filename
    if number not in ADVICE:
        return str(error)
    if path is None and number in FULL:
        path = _where_full()
    where = [] if path is None else [os.fsdecode(path) if isinstance(path, (str, bytes)) else str(path)]
    return ": ".join([*where, os.strerror(number).lower(), ADVICE[number]])


def _where_full(path: str = "") -> str:
    """Name the folder that is full: the path's, or that for temporary files, with the space of both if they differ."""
    temporary = tempfile.gettempdir()
    known = path and "://" not in path.removeprefix("file://")  # a bucket is never full
    places = {_existing(path.removeprefix("file://")): path} if known else {}
    if not any(os.stat(place).st_dev == os.stat(temporary).st_dev for place in places):
        places[temporary] = f"the folder for temporary files (TMPDIR), {temporary}"
    if len(places) == 1:
        return next(iter(places.values()))
    return " or ".join(f"{name} ({_free_mebibytes(place):,} MiB free)" for place, name in places.items())


def _existing(path: str) -> str:
    """Return the path, or the nearest folder above it that is there."""
    path = os.path.abspath(path)
    while not os.path.exists(path):
        path = os.path.dirname(path)
    return path


def _free_mebibytes(place: str) -> int:
    disk = os.statvfs(place)
    return disk.f_bavail * disk.f_frsize >> 20


def _no_temporary_folder(tried: list[str]) -> str:
    found = {folder: _reason(folder) for folder in tried if os.path.isdir(folder)}
    each = "; ".join(f"{folder}: {reason}" for folder, reason in found.items())
    return f"no folder for temporary files can be used ({each}): free some space there, or set TMPDIR to another folder"


def _reason(folder: str) -> str:
    """Return why no file can be written to a folder."""
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"x")
    except OSError as error:
        return os.strerror(error.errno or 0).lower()
    return "usable now"
