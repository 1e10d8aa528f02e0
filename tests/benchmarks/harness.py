"""What the benchmarks share: interleaved measurement, the row of the table, CPU time and memory of whole processes."""

import ctypes
import multiprocessing
import os
import resource
import statistics
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from unittest.mock import patch

from tests.processes import descendants
from transforms.audio.decoder_process import BLAS_THREADS, HEAP_KEPT, SAME_KERNELS

PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table.

    Attributes:
      what: was measured.
      value: of it, in `unit`.
      unit: `ms`, `MB`, `records/s`, ... or `ratio`.
      low, high: 10th and 90th percentile, or None for a single figure.
      target: what the value should be at most, or at least where `at_least`; None for a figure that has none.
      at_least: see `target`.
    """

    what: str
    value: float
    unit: str
    low: float | None = None
    high: float | None = None
    target: float | None = None
    at_least: bool = False

    @property
    def kept(self) -> bool | None:
        """Whether the target is met; None where there is none."""
        if self.target is None:
            return None
        return self.value >= self.target if self.at_least else self.value <= self.target


def spread(
    what: str, values: Sequence[float], unit: str, *, target: float | None = None, at_least: bool = False
) -> Row:
    """The median of some values, with the 10th and 90th percentile."""
    if len(values) < 2:
        return Row(what, values[0], unit, target=target, at_least=at_least)
    low, *_, high = statistics.quantiles(values, n=10, method="inclusive")  # within what was seen, however few
    return Row(what, statistics.median(values), unit, low, high, target, at_least)


def allocate_as_decoders_do() -> None:
    """Gives this process the allocator's settings of the processes that decode; on Linux with glibc."""
    names = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_TOP_PAD_", "MALLOC_MMAP_THRESHOLD_")  # -1 to -3 in malloc.h
    for number, name in enumerate(names, 1):
        ctypes.CDLL(None).mallopt(-number, int(HEAP_KEPT[name]))


def cpu_ms(function: Callable[[], object]) -> float:
    """CPU time of one call in this process, ms."""
    start = time.process_time()
    function()
    return 1000 * (time.process_time() - start)


@contextmanager
def own_process(function: Callable[[Path], object], *, as_decoder: bool) -> Iterator[Callable[[Path], float]]:
    """Gives what measures CPU ms of `function` with a path, in a process that does nothing else, on one thread.

    In one process, what one way leaves in the heap and the caches is at the other ways' cost. Each call is made twice,
    and the second one counts: between two turns, another process has had the core.

    Args:
      function: of a module's top level.
      as_decoder: whether the process has the environment of those that decode.
    """
    wanted = BLAS_THREADS | (SAME_KERNELS | HEAP_KEPT if as_decoder else {})
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        with patch.dict(os.environ, wanted):
            pool.submit(os.getpid).result()  # starts the process
        yield lambda path: pool.submit(_second_cpu_ms, function, path).result()


def _second_cpu_ms(function: Callable[[Path], object], path: Path) -> float:
    function(path)
    return cpu_ms(lambda: function(path))


def interleave(ways: Mapping[str, Callable[[int], float]], cases: int, repeats: int) -> dict[str, list[float]]:
    """Measures each way on each case by turns, so that what else the machine does falls on all alike.

    Args:
      ways: by name; each is called with the number of a case and returns its figure.
      cases: how many there are.
      repeats: of the whole; a first round over case 0 warms up and is left out.
    """
    for way in ways.values():
        way(0)
    found: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(repeats):
        for case in range(cases):
            for name, way in ways.items():
                found[name].append(way(case))
    return found


def median_ratio(found: Mapping[str, Sequence[float]], one: str, other: str) -> float:
    """Median of one way over another in the same turn, where each turn is another case."""
    return statistics.median(a / b for a, b in zip(found[one], found[other], strict=True))


def ratio_of_medians(found: Mapping[str, Sequence[float]], one: str, other: str) -> float:
    """Median of one way over the median of another."""
    return statistics.median(found[one]) / statistics.median(found[other])


@dataclass(slots=True)
class Usage:
    """What a command took, with every process below it.

    Attributes:
      cpu_s: user and system time of all of them.
      wall_s: seconds.
      peak_mb: highest resident memory of a process, by what it is: launcher, worker, decoder.
    """

    cpu_s: float = 0.0
    wall_s: float = 0.0
    peak_mb: dict[str, float] = field(default_factory=dict)


def run_measured(arguments: Sequence[str], log: Path, *, every: float = 0.1) -> Usage:
    """Runs a command and measures it; Linux only.

    Processes whose parent ends before them become ours, so that their time is counted too.

    Raises:
      subprocess.CalledProcessError: it failed; its output is in `log`.
    """
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    others = set(descendants(os.getpid()))
    before, started = _children_cpu(), time.monotonic()
    usage = Usage()
    with log.open("wb") as output:
        process = subprocess.Popen(arguments, stdout=output, stderr=output)
        done = threading.Event()
        watcher = threading.Thread(target=_watch_memory, args=(process.pid, usage.peak_mb, done, every))
        watcher.start()
        code = process.wait()
        usage.wall_s = time.monotonic() - started
        done.set()
        watcher.join()
    while left := set(descendants(os.getpid())) - others:
        for pid in left:
            with suppress(ChildProcessError):  # of a child's child, until that has ended
                os.waitpid(pid, 0)
    usage.cpu_s = _children_cpu() - before
    if code:
        raise subprocess.CalledProcessError(code, list(arguments), output=log.read_bytes()[-2000:])
    return usage


def _children_cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _watch_memory(root: int, peaks: dict[str, float], done: threading.Event, every: float) -> None:
    while not done.wait(every):
        for pid, role in _processes_below(root):
            peaks[role] = max(peaks.get(role, 0.0), _high_water_mb(pid))


def _processes_below(root: int) -> list[tuple[int, str]]:
    """(pid, role) of a process and all below it."""
    found = []
    for pid in (root, *descendants(root)):
        with suppress(OSError):
            command = Path(f"/proc/{pid}/cmdline").read_bytes()
            role = "decoder" if b"decoder_main" in command else "worker" if b"sdk_worker" in command else "launcher"
            found.append((pid, "launcher" if pid == root else role))
    return found


def _high_water_mb(pid: int) -> float:
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    return 0.0
