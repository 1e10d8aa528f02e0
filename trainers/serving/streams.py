"""Pipes, devices and what else is no plain file: read to its end here, since a decoder has to seek and has no stdin."""

import os
import select
import stat
import sys
import tempfile
import time
from typing import IO

from transforms.errors import TrackError, UsageError
from transforms.runtime import console

MOST_BYTES = 4 << 30
"""A stream without an end must not fill the disk."""

OURS = ("/dev/", "/proc/")
"""What lies there may be another file for another process: /dev/stdin."""


def is_stream(path: str) -> bool:
    """Whether a local path is to be copied before it is judged."""
    try:
        mode = os.stat(path).st_mode
    except (OSError, ValueError):
        return False
    return not stat.S_ISDIR(mode) and (not stat.S_ISREG(mode) or os.path.abspath(path).startswith(OURS))


def copy_standard_input(target: IO[bytes]) -> None:
    """Copies standard input to a file.

    Raises:
      UsageError: it is closed, or has more than `MOST_BYTES`.
    """
    if sys.stdin is None:
        raise UsageError("standard input is closed")
    size = 0
    while block := sys.stdin.buffer.read(1 << 20):
        size += len(block)
        if size > MOST_BYTES:
            raise UsageError(f"standard input has more than {console.human_bytes(MOST_BYTES)}: give a file")
        target.write(block)
    target.flush()


def copy_to_temporary(path: str, seconds: float) -> IO[bytes]:
    """A temporary file with all that a pipe or a device has to say.

    Args:
      path: of it.
      seconds: until it has to be at its end.

    Raises:
      TrackError: unreadable_audio, too_large or timeout.
    """
    target = tempfile.NamedTemporaryFile(prefix="fma-")  # noqa: SIM115 - closed by the caller
    try:
        # Without O_NONBLOCK, to open a FIFO would wait for its writer for ever.
        source = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
        try:
            _copy(source, target, seconds)
        finally:
            os.close(source)
    except OSError as error:
        target.close()
        raise TrackError("unreadable_audio", f"{path}: {error.strerror}") from error
    except BaseException:
        target.close()
        raise
    return target


def _copy(source: int, target: IO[bytes], seconds: float) -> None:
    deadline, size, poll = time.monotonic() + seconds, 0, select.poll()
    poll.register(source, select.POLLIN)
    while True:
        left = deadline - time.monotonic()
        if left <= 0 or not poll.poll(1000 * left):
            raise TrackError("timeout", f"not at its end within {seconds:g} s")
        try:
            block = os.read(source, 1 << 20)
        except BlockingIOError:
            continue
        if not block:
            break
        size += len(block)
        if size > MOST_BYTES:
            raise TrackError("too_large", f"more than {console.human_bytes(MOST_BYTES)}")
        target.write(block)
    target.flush()
