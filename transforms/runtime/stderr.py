"""What libraries and worker processes write to standard error, kept off the user's terminal until it is needed.

TensorFlow and Beam write notes about their own start-up, and tracebacks of errors that the launcher reports in one
line, straight to file descriptor 2: no logging level stops all of them, and processes inherit it.
"""

import contextlib
import io
import os
import sys
import tempfile
from collections.abc import Iterator
from typing import IO

from transforms.errors import FmaError


def debugging() -> bool:
    """Whether FMA_DEBUG=1 asks for everything."""
    return os.environ.get("FMA_DEBUG", "0") not in ("", "0")


@contextlib.contextmanager
def capture_native_stderr() -> Iterator[None]:
    """Collects what is written to file descriptor 2; sys.stderr, and so our own lines and progress, still show.

    An exception that is nobody's plain error (a FmaError, a disk's OSError, Ctrl-C) shows the notes before it is
    raised. With FMA_DEBUG=1 they are shown as they come.
    """
    if debugging():
        yield
        return
    sys.stderr.flush()
    before = os.dup(2)
    with tempfile.TemporaryFile() as notes:
        os.dup2(notes.fileno(), 2)
        try:
            with _python_stderr_on(before):
                yield
        except (FmaError, OSError, KeyboardInterrupt):
            raise
        except BaseException:
            _show(notes, before)
            raise
        finally:
            os.dup2(before, 2)
            os.close(before)


@contextlib.contextmanager
def _python_stderr_on(descriptor: int) -> Iterator[None]:
    """Leaves sys.stderr alone where it is no file of its own, as in tests."""
    stream = sys.stderr
    try:
        ours = stream.fileno() == 2
    except io.UnsupportedOperation:
        ours = False
    if not ours:
        yield
        return
    with open(descriptor, "w", encoding=stream.encoding, errors=stream.errors, buffering=1, closefd=False) as shown:
        sys.stderr = shown
        try:
            yield
        finally:
            sys.stderr = stream


def _show(notes: IO[bytes], descriptor: int) -> None:
    notes.seek(0)
    while block := notes.read(1 << 16):
        os.write(descriptor, block)
