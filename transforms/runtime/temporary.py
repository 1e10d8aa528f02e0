"""Temporary files: each process has a folder of its own, and the next run removes those that killed processes left."""

import atexit
import contextlib
import functools
import hashlib
import os
import re
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator

from transforms.errors import FmaError
from transforms.runtime import processes

ABANDONED_AFTER = 7 * 86400.0
"""Seconds without a new file after which the folder of a process of another container or another boot is removed."""

_own: set[str] = set()  # the folders of this process
_NAME = re.compile(r"(\d+)-(\d+)-([0-9a-f]{8})")


def folder() -> str:
    """Return this process's folder, below the system's one for temporary files; it is removed when the process ends.

    Raises:
      OSError: it cannot be made.
      FmaError: another user has taken its place.
    """
    system = tempfile.gettempdir()
    return system if system in _own else _folder(system, os.getpid())


def new_folder() -> tempfile.TemporaryDirectory[str]:
    """Return a context that yields a new folder below `folder` and removes it."""
    return tempfile.TemporaryDirectory(dir=folder())


@contextlib.contextmanager
def for_libraries() -> Iterator[None]:
    """Let the temporary files that libraries make in the body lie in this process's folder, too."""
    before = tempfile.tempdir
    tempfile.tempdir = folder()
    try:
        yield
    finally:
        tempfile.tempdir = before


def use_for_libraries() -> None:
    """Let the temporary files that libraries make from now on lie in this process's folder."""
    tempfile.tempdir = folder()


@functools.cache
def _folder(system: str, pid: int) -> str:
    users = os.path.join(system, f"fma-{os.getuid()}")
    os.makedirs(users, mode=0o700, exist_ok=True)
    found = os.lstat(users)
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
        raise FmaError(f"{users} is not a folder of this user's: set TMPDIR to another folder for temporary files")
    _remove_abandoned(users)
    own = os.path.join(users, f"{pid}-{processes.started(pid)}-{_place()}")
    os.makedirs(own, exist_ok=True)
    _own.add(own)
    atexit.register(_remove, own, pid)
    return own


def _remove(own: str, pid: int) -> None:
    if os.getpid() == pid:  # not in a fork
        shutil.rmtree(own, ignore_errors=True)


def _remove_abandoned(users: str) -> None:
    for entry in os.scandir(users):
        with contextlib.suppress(FileNotFoundError):  # another process has removed it
            if _is_abandoned(entry):
                # What cannot be removed now stays for a later run.
                shutil.rmtree(entry.path, ignore_errors=True)


def _is_abandoned(entry: os.DirEntry[str]) -> bool:
    named = _NAME.fullmatch(entry.name)
    if named and named[3] == _place():
        return not processes.is_alive({"pid": int(named[1]), "started": int(named[2])})
    return time.time() - entry.stat(follow_symlinks=False).st_mtime > ABANDONED_AFTER


def _place() -> str:
    return hashlib.sha256(repr(processes.place()).encode()).hexdigest()[:8]
