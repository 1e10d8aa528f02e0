"""Worker processes of Beam's local runner: they end with this one, and one that dies ends the command.

Beam's own are shells that import from the current folder and outlive their parent, and it waits for ever for one that
died, or for the others at the end of a job that failed.
"""

import contextlib
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from apache_beam.portability import python_urns
from apache_beam.portability.api import endpoints_pb2
from apache_beam.runners.portability.fn_api_runner.worker_handlers import GrpcWorkerHandler, WorkerHandler
from google.protobuf import json_format, text_format

from transforms.errors import FmaError
from transforms.runtime import children
from transforms.runtime.interrupts import SIGNALS, ignore

WORKER = (
    # It would note that no folder was staged for it, and Beam shows that in the launcher.
    "import logging, sys; logging.getLogger('apache_beam.runners.worker.sdk_worker_main').setLevel('ERROR'); "
    "from transforms.runtime.temporary import use_for_libraries; use_for_libraries(); "
    "from apache_beam.runners.worker.sdk_worker_main import main; main(sys.argv)"
)
SIGNAL_SECONDS = 0.5  # in which a signal that a terminal or a system sends to all processes has reached this one
DIED = "a worker process died (out of memory?); run the command again, it carries on"


class Workers:
    """The worker processes of the job that runs; once they are killed, none is started."""

    def __init__(self, on_death: Callable[[], None]):
        self._on_death = on_death
        self._running: set[subprocess.Popen] = set()
        self._killed = False
        self._lock = threading.RLock()  # a signal may come while it is held

    def start(self, variables: dict[str, str]) -> threading.Thread:
        """Start a worker; the thread ends when it does."""
        thread = threading.Thread(target=self._run, args=(variables,), name="worker")
        thread.start()
        return thread

    def kill(self) -> None:
        """Kill all workers, now and from now on."""
        with self._lock:
            self._killed = True
            for process in self._running:
                process.kill()

    def _run(self, variables: dict[str, str]) -> None:
        with self._lock:
            if self._killed:
                return
            with children.signals_blocked():
                process = subprocess.Popen(children.command(WORKER), env=children.environment() | variables)
            self._running.add(process)
        code = process.wait()
        with self._lock:
            self._running.remove(process)
            first = code and not self._killed
            if first:
                self.kill()
        if first:
            time.sleep(SIGNAL_SECONDS)
            self._on_death()


_workers = Workers(lambda: None)  # of `watch_workers`


@WorkerHandler.register_environment(python_urns.SUBPROCESS_SDK, bytes)
class LocalWorker(GrpcWorkerHandler):
    """A worker process, in place of the one that Beam starts by its command."""

    def __init__(self, command: bytes, *others: Any):
        super().__init__(*others)

    def start_worker(self) -> None:
        """Start it; Beam calls this."""
        control = endpoints_pb2.ApiServiceDescriptor(url=self.control_address)
        variables = {
            "CONTROL_API_SERVICE_DESCRIPTOR": text_format.MessageToString(control),
            "LOGGING_API_SERVICE_DESCRIPTOR": text_format.MessageToString(self.logging_api_service_descriptor()),
            "PIPELINE_OPTIONS": json_format.MessageToJson(self.provision_info.provision_info.pipeline_options),
            "WORKER_ID": self.worker_id,
        }
        self._thread = _workers.start(variables)

    def stop_worker(self) -> None:
        """Wait for its end; Beam calls this when it has closed the connection."""
        self._thread.join()


@contextlib.contextmanager
def watch_workers() -> Iterator[None]:
    """Kill the worker processes that the body starts when one of them dies or a signal ends this process.

    In the main thread only, where signals arrive.

    Raises:
      FmaError: a worker died.
    """
    global _workers  # noqa: PLW0603 - Beam makes the handlers
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    # A signal, since it wakes a main thread that waits for a lock.
    wake = partial(signal.pthread_kill, threading.get_ident(), signal.SIGUSR1)
    _workers = workers = Workers(wake)
    before: dict[int, Any] = {number: signal.getsignal(number) for number in (signal.SIGUSR1, *SIGNALS)}

    def on_signal(number: int, frame: Any) -> None:
        for other in before:
            signal.signal(other, ignore)  # a second exception would keep Beam from ending what it has begun
        workers.kill()  # else Beam waits for what they are doing
        if number == signal.SIGUSR1:
            raise FmaError(DIED)
        before[number](number, frame)

    for number, handler in before.items():
        if callable(handler) or number == signal.SIGUSR1:
            signal.signal(number, on_signal)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
