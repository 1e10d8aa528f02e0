"""Capture of what native libraries and worker processes write to standard error, which is shown only when needed.

TensorFlow and Beam write start-up messages, and tracebacks of errors that the launcher reports in one line, straight to
file descriptor 2: no logging level stops all of them, and processes inherit it.
"""

import contextlib
import io
import os
import sys
import tempfile
from collections.abc import Iterator
from typing import IO

from transforms.errors import FmaError
from transforms.runtime.text import printable


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
    sys.stderr.flush()
    before = os.dup(2)
    with tempfile.TemporaryFile() as captured:
        os.dup2(captured.fileno(), 2)
        try:
            with _python_stderr_on(before):
                yield
        except (FmaError, OSError, KeyboardInterrupt):
            raise
        except BaseException:
            _show(captured, before)
            raise
        finally:
            os.dup2(before, 2)
            os.close(before)


@contextlib.contextmanager
def _python_stderr_on(descriptor: int) -> Iterator[None]:
    """Point sys.stderr at the descriptor, unless it is not a file itself, as in tests."""
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


def _show(captured: IO[bytes], descriptor: int) -> None:
    captured.seek(0)
    for line in captured.read().decode(errors="surrogateescape").splitlines():
        os.write(descriptor, f"{printable(line)}\n".encode())
