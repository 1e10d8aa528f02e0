"""Local worker processes: noticing that one died, since Beam's local runner would wait for it for ever."""

import contextlib
import logging
import os
import signal
import threading
from collections.abc import Iterator
from typing import Any

from transforms.errors import FmaError
from transforms.library_errors import WORKER_DIED

WORKER = b"apache_beam.runners.worker.sdk_worker_main"


@contextlib.contextmanager
def watch_workers() -> Iterator[None]:
    """Interrupt the body when a worker process dies; only in the main thread, where signals arrive.

    Raises:
      FmaError: a worker died.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    hook, handler = threading.excepthook, signal.getsignal(signal.SIGUSR1)
    died = threading.Event()

    def on_thread_failure(failed: threading.ExceptHookArgs) -> None:
        # Beam has a thread wait for each worker; it fails, unheard, when the worker does not end by itself.
        if not WORKER_DIED.search(str(failed.exc_value)):
            hook(failed)
        elif not died.is_set():
            died.set()
            logging.getLogger("apache_beam").setLevel(logging.CRITICAL)  # the runner's own failures that follow
            os.kill(os.getpid(), signal.SIGUSR1)  # a signal, since it wakes a main thread that waits for a lock

    def stop(*_: Any) -> None:
        kill_workers()  # their threads would keep this process from ending
        raise FmaError(WORKER_DIED.meaning)

    threading.excepthook = on_thread_failure
    signal.signal(signal.SIGUSR1, stop)
    try:
        yield
    except FmaError:
        kill_workers()  # also those that Beam has started since
        raise
    finally:
        threading.excepthook = hook
        signal.signal(signal.SIGUSR1, handler)


def kill_workers() -> None:
    """Kill Beam's worker processes below this one."""
    for pid in descendants(os.getpid()):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError, PermissionError):
            with open(f"/proc/{pid}/cmdline", "rb") as file:
                is_worker = WORKER in file.read()
            if is_worker:
                os.kill(pid, signal.SIGKILL)


def descendants(pid: int) -> list[int]:
    """Return the ids of the processes below a process, parents before children; [] on systems without /proc."""
    parents: dict[int, int] = {}
    for entry in os.listdir("/proc") if os.path.isdir("/proc") else ():
        with contextlib.suppress(FileNotFoundError, ProcessLookupError, ValueError):
            child = int(entry)
            with open(f"/proc/{child}/stat", "rb") as file:
                parents[child] = int(file.read().rpartition(b")")[2].split()[1])
    found: list[int] = []
    front = [pid]
    while front:
        front = sorted(child for child, parent in parents.items() if parent in front)
        found += front
    return found
