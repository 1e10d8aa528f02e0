"""How a command ends: errors, signals and closed streams as one line and an exit code."""

import contextlib
import os
import select
import signal
import sys
import traceback
from collections.abc import Callable
from typing import Any

from transforms.errors import FmaError
from transforms.runtime.console import log_error
from transforms.runtime.interrupts import InterruptedBySignal, raise_on_signals
from transforms.runtime.os_errors import ADVICE, annotate_os_errors, os_message
from transforms.runtime.stderr import debugging

READER_LEFT = 141  # 128 + SIGPIPE


def main_guard(run: Callable[..., int], *args: Any) -> int:
    """Call `run(*args)` and return the exit code; a user-fixable error becomes one line on standard error.

    FmaError and UsageError have their own exit code; a file that cannot be read or written 1; Ctrl-C 130, SIGTERM 143,
    SIGHUP 129; a reader of the output that is gone (`fma ... | head`) 141, without a line. Any other exception is a
    programming error and is raised. With FMA_DEBUG=1 in the environment the traceback precedes the line. A standard
    stream that is closed is taken for /dev/null.
    """
    _open_closed_streams()
    sys.excepthook = _show_traceback
    with raise_on_signals() as interrupts:
        try:
            return _run_and_flush(run, *args)
        except FmaError as error:
            return _report(f"error: {error}", error.exit_code)
        except KeyboardInterrupt:
            return _report_interrupt(interrupts[0] if interrupts else InterruptedBySignal(signal.SIGINT))
        except BrokenPipeError:
            if not _detach_closed_streams():
                raise  # another pipe: a worker's or a server's
            return READER_LEFT
        except OSError as error:
            if interrupts:  # the terminal is closed, so cleaning up could not write to it
                return _report_interrupt(interrupts[0])
            if error.errno not in ADVICE:
                raise
            code = _report(f"error: {os_message(error)}", 1)
            _detach_full_output()
            return code


def _run_and_flush(run: Callable[..., int], *args: Any) -> int:
    """Call `run` and write what is left, before the interpreter does: a closed pipe or a full disk would confuse it."""
    try:
        code = run(*args)
    except SystemExit:  # after --help, or a wrong argument
        _flush_output()
        raise
    _flush_output()
    return code


def _flush_output() -> None:
    with annotate_os_errors("standard output"):
        sys.stdout.flush()


def _report_interrupt(interrupt: InterruptedBySignal) -> int:
    from transforms.runtime.children import attached

    _detach_closed_streams()
    with contextlib.suppress(OSError):
        if not attached():  # the parent reports it
            ended_by = signal.Signals(interrupt.number).name
            _report("interrupted" if interrupt.number == signal.SIGINT else f"ended by {ended_by}", interrupt.exit_code)
    return interrupt.exit_code


def _report(message: str, code: int) -> int:
    if debugging():
        _show_traceback(*sys.exc_info())
    log_error("fma: " + " ".join(line.strip() for line in message.split("\n") if line.strip()))
    return code


def _show_traceback(kind: Any, error: Any, trace: Any) -> None:
    for line in "".join(traceback.format_exception(kind, error, trace)).splitlines():
        log_error(line)


def _open_closed_streams() -> None:
    """Point closed standard streams at /dev/null: the next file opened would get their number, and what is printed."""
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number, which is this one
    for name, descriptor in (("stdout", 1), ("stderr", 2)):
        if getattr(sys, name) is None:
            setattr(sys, name, open(descriptor, "w", encoding="utf-8", closefd=False))  # noqa: SIM115


def _detach_closed_streams() -> bool:
    """Redirect output whose reader is gone to nothing, so that Python's last flush raises no error."""
    poll = select.poll()
    for descriptor in (1, 2):
        poll.register(descriptor, 0)
    closed = [descriptor for descriptor, event in poll.poll(0) if event & (select.POLLERR | select.POLLHUP)]
    for descriptor in closed:
        os.dup2(os.open(os.devnull, os.O_WRONLY), descriptor)
    return bool(closed)


def _detach_full_output() -> None:
    """Redirect standard output to nothing where it takes no more, for the same reason."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
