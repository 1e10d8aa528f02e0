"""Capture of what native libraries and worker processes write to standard error, which is shown only when needed.

TensorFlow and Beam write start-up messages, and tracebacks of errors that the launcher reports in one line, straight to
file descriptor 2: no logging level stops all of them, and processes inherit it.
"""

import contextlib
import io
import os
import sys
import tempfile
import threading
import weakref
from collections.abc import Iterator
from typing import IO, TextIO

from transforms.errors import FmaError
from transforms.runtime.text import printable

moving = threading.RLock()
"""Held while descriptor 2 and sys.stderr are moved, and by who writes to sys.stderr a line that must be seen."""


def _renew_lock() -> None:
    global moving  # noqa: PLW0603
    moving = threading.RLock()  # the thread that holds it may not be there in a process that was forked


os.register_at_fork(after_in_child=_renew_lock)


def debugging() -> bool:
    """Return whether FMA_DEBUG=1 asks for all output."""
    return os.environ.get("FMA_DEBUG", "0") not in ("", "0")


@contextlib.contextmanager
def capture_native_stderr() -> Iterator[None]:
    """Capture what is written to file descriptor 2, while sys.stderr, and so our own lines and progress, still show.

    It is shown before an unexpected exception is raised (not FmaError, OSError or Ctrl-C), and at once with
    FMA_DEBUG=1.
    """
    if debugging():
        yield
        return
    with tempfile.TemporaryFile() as captured:
        try:
            with _descriptor_2_on(captured.fileno()):
                yield
        except (FmaError, OSError, KeyboardInterrupt):
            raise
        except BaseException:
            _show(captured)
            raise


@contextlib.contextmanager
def _descriptor_2_on(descriptor: int) -> Iterator[None]:
    """Point descriptor 2 at the other one, and sys.stderr at what descriptor 2 was.

    Another thread may end the process with an error at any time, and its line must be seen: it holds `moving`.
    """
    with moving:
        stream = sys.stderr
        stream.flush()
        before = os.dup(2)
        moves = _is_descriptor_2(stream)
        if moves:
            sys.stderr = _another(stream)
        os.dup2(descriptor, 2)
    try:
        yield
    finally:
        with moving:
            os.dup2(before, 2)
            os.close(before)
            if moves:  # else it is another's, who may have moved it meanwhile
                sys.stderr = stream


def _is_descriptor_2(stream: TextIO) -> bool:
    try:
        return stream.fileno() == 2
    except io.UnsupportedOperation:  # not a file itself, as in tests
        return False


def _another(stream: TextIO) -> TextIO:
    """Return a stream to the same file, on a descriptor that is closed when no thread has the stream any more."""
    descriptor = os.dup(stream.fileno())
    other = open(  # noqa: SIM115
        descriptor, "w", encoding=stream.encoding, errors=stream.errors, buffering=1, closefd=False
    )
    weakref.finalize(other, os.close, descriptor).atexit = False
    return other


def _show(captured: IO[bytes]) -> None:
    captured.seek(0)
    for line in captured.read().decode(errors="surrogateescape").splitlines():
        os.write(2, f"{printable(line)}\n".encode())
