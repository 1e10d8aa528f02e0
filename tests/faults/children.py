"""Children forked from a process that has imported everything: a command in a fraction of a second."""

import importlib
import os
import select
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

POLL = 0.01
HEAVY = (
    "tensorflow",
    "keras",
    "sklearn.linear_model",
    "apache_beam",
    "tensorflow_transform",
    "tests.trainers.tiny",
    "trainers.training.loop",
    "trainers.classical.baselines",
    "trainers.serving.saved_model",
    "trainers.serving.engine",
    "trainers.report.page",
    "pipelines.ingest.ingest",
    "pipelines.statistics.analyze",
    "fma",
)


@dataclass(frozen=True)
class Ended:
    """How a child ended: its exit code, or minus the signal; None where it was stopped at its time limit."""

    code: int | None
    stdout: str
    stderr: str
    seconds: float
    megabytes: int  # resident at most


class Child:
    """A forked child that runs `body` with its output in files; an exception has the exit code 70.

    Args:
      folder: what it is about; the output goes to files beside it.
    """

    def __init__(self, body: Callable[[], object], folder: Path):
        self._files = [folder.parent / f"{folder.name}.{name}" for name in ("stdout", "stderr")]
        self._started = time.monotonic()
        sys.stdout.flush()
        sys.stderr.flush()
        self.pid = os.fork()
        if not self.pid:
            self._run(body)

    def _run(self, body: Callable[[], object]) -> None:
        code = 70
        try:
            os.setsid()
            for number, path in enumerate(self._files, 1):
                os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), number)
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            body()
            code = 0
        except SystemExit as error:
            code = error.code if isinstance(error.code, int) else 1
        except BaseException:  # noqa: BLE001 - as Python would print it
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)

    def poll(self, limit: float) -> Ended | None:
        """Return how the child ended, None while it runs; it is killed after `limit` seconds."""
        seconds = time.monotonic() - self._started
        pid, status, usage = os.wait4(self.pid, os.WNOHANG)
        late = not pid and seconds > limit
        if late:
            os.killpg(self.pid, signal.SIGKILL)
            _, status, usage = os.wait4(self.pid, 0)
        elif not pid:
            return None
        code = None if late else os.waitstatus_to_exitcode(status)
        stdout, stderr = (path.read_text(errors="replace") for path in self._files)
        return Ended(code, stdout, stderr, seconds, usage.ru_maxrss >> 10)


def wait_for(child: Child, limit: float) -> Ended:
    """Wait for one child."""
    while True:
        ended = child.poll(limit)
        if ended:
            return ended
        select.select([], [], [], POLL)


def run_all(tasks: Sequence[tuple[Callable[[], object], Path]], jobs: int, limit: float) -> Iterator[tuple[int, Ended]]:
    """Run tasks (body, folder) in so many children at a time; yield (index, how it ended) as they end."""
    waiting = list(range(len(tasks)))[::-1]
    running: dict[int, Child] = {}
    while waiting or running:
        while waiting and len(running) < jobs:
            index = waiting.pop()
            running[index] = Child(*tasks[index])
        for index, child in list(running.items()):
            ended = child.poll(limit)
            if ended:
                del running[index]
                yield index, ended
        select.select([], [], [], POLL)


def warm_up() -> None:
    """Import what commands import, and make `fma train` know the small models; no child does it again."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    for name in HEAVY:
        importlib.import_module(name)
    from tests.trainers import tiny

    tiny.register()
