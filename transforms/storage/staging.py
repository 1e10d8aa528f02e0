"""Files of this machine that are written before they are uploaded."""

import contextlib
import functools
import os
import tempfile
import time

from transforms.storage.processes import is_running

ABANDONED_AFTER = 3600.0
"""Seconds without a write after which a file whose process is gone was left by one that was killed."""


def new_path(name: str) -> str:
    """A path for a new file, in a folder of this user's below the system's folder for temporary files (TMPDIR)."""
    folder = os.path.join(tempfile.gettempdir(), f"fma-uploads-{os.getuid()}")
    os.makedirs(folder, mode=0o700, exist_ok=True)
    _remove_abandoned(folder)
    return os.path.join(folder, f"{os.getpid()}-{os.urandom(4).hex()}-{name}")


@functools.cache
def _remove_abandoned(folder: str) -> None:
    """Once in each process, removes what killed ones have left."""
    for entry in os.scandir(folder):
        with contextlib.suppress(FileNotFoundError):  # another process was faster
            process = entry.name.partition("-")[0]
            idle = time.time() - entry.stat().st_mtime
            if idle > ABANDONED_AFTER and process.isdecimal() and not is_running(int(process)):
                os.unlink(entry.path)
