"""Noticing that a local worker process died: Beam's local runner would wait for it for ever."""

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from typing import Any

from transforms.errors import FmaError

WORKER = b"apache_beam.runners.worker.sdk_worker_main"


def worker_pids() -> set[int]:
    """Beam's worker processes that are children of this one and alive; none on systems without /proc."""
    found: set[int] = set()
    try:
        entries = [int(entry) for entry in os.listdir("/proc") if entry.isdigit()]
    except FileNotFoundError:
        return found
    for pid in entries:
        with contextlib.suppress(FileNotFoundError, ProcessLookupError, PermissionError):
            with open(f"/proc/{pid}/stat", "rb") as file:
                state, parent = file.read().rpartition(b")")[2].split()[:2]
            if int(parent) != os.getpid() or state == b"Z":
                continue
            with open(f"/proc/{pid}/cmdline", "rb") as file:
                if WORKER in file.read():
                    found.add(pid)
    return found


@contextlib.contextmanager
def watched_workers() -> Iterator[None]:
    """Interrupts the body when a worker process dies under it; only in the main thread, where signals arrive.

    Raises:
      FmaError: a worker died.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    hook, handler = threading.excepthook, signal.signal(signal.SIGUSR1, _stop)
    threading.excepthook = lambda failed: _stop_main_thread() if _tells_of_death(failed) else hook(failed)
    try:
        yield
    except FmaError:
        kill_workers()  # also those that Beam has started since
        raise
    finally:
        threading.excepthook = hook
        signal.signal(signal.SIGUSR1, handler)


def _tells_of_death(failed: threading.ExceptHookArgs) -> bool:
    """Beam has a thread wait for each worker; it fails, unheard, when the worker does not end by itself."""
    return "Worker subprocess exited" in str(failed.exc_value)


def _stop_main_thread() -> None:
    kill_workers()  # their threads would keep this process from ending
    os.kill(os.getpid(), signal.SIGUSR1)  # a signal, since it wakes a main thread that waits for a lock


def _stop(*_: Any) -> None:
    raise FmaError("a worker process died (out of memory?); run the command again, it carries on")


def kill_workers() -> None:
    """Kills Beam's workers of this process."""
    for pid in worker_pids():
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
