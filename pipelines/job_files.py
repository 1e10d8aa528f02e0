"""A job's small files: lines of its plan and its results, and ticks that count its progress.

Lines are read and written by `transforms.storage`, like everything else: Beam's own file systems would bring another
client of cloud storage, with other credentials, retries and errors.
"""

import os
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

import apache_beam as beam

from transforms import storage
from transforms.runtime import console, temporary

POLL_SECONDS = 0.5


class ReadLines(beam.PTransform):
    """The lines of a file, each an element of its own that may go to any worker."""

    def __init__(self, path: str):
        super().__init__()
        self._path = path

    def expand(self, begin: beam.pvalue.PBegin) -> beam.PCollection:
        return begin | "Path" >> beam.Create([self._path]) | "Lines" >> beam.FlatMap(read_lines) | beam.Reshuffle()


class WriteLines(beam.PTransform):
    """Writes one file, sorted, also where there are no lines."""

    def __init__(self, path: str):
        super().__init__()
        self._path = path

    def expand(self, lines: beam.PCollection) -> beam.PCollection:
        whole = lines | "Gather" >> beam.CombineGlobally(beam.combiners.ToListCombineFn())
        return whole | "Write" >> beam.Map(write_lines, self._path)


def read_lines(path: str) -> Iterator[str]:
    """Read the lines of a UTF-8 file, without their ends."""
    yield from storage.read_bytes(path).decode().split("\n")[:-1]


def write_lines(lines: Iterable[str], path: str) -> None:
    """Write lines, sorted; they hold no line ends themselves."""
    storage.write_bytes(path, "".join(f"{line}\n" for line in sorted(lines)).encode())


@contextmanager
def count_progress(folder: str, shard: str) -> Iterator[Callable[[bytes], object]]:
    """Give a worker a function that notes what it finished: `.` for each track or record, `x` for one that failed.

    Args:
      folder: as `watch_progress` gives it; where it is "" or not on this machine, nothing is noted.
      shard: a name that no other has. A runner that builds it again, after a failure, counts afresh.
    """
    if not (folder and os.path.isdir(folder)):
        yield lambda ticks: None
        return
    with open(os.path.join(folder, shard.replace("/", "-")), "wb", buffering=0) as file:
        yield file.write


def read_progress(folder: str) -> tuple[int, int]:
    """Return how many of what workers noted are (finished, failed)."""
    finished = failed = 0
    for entry in os.scandir(folder):
        with open(entry.path, "rb") as file:
            ticks = file.read()
        finished += len(ticks)
        failed += ticks.count(b"x")
    return finished, failed


@contextmanager
def watch_progress(label: str, total: int, unit: str, initial: int = 0) -> Iterator[str]:
    """Show progress, counted in `unit` (a plural), while the body runs; yield a folder for `count_progress`.

    `initial` of the total were done before.
    """
    with (
        temporary.new_folder() as folder,
        console.progress(label, total, unit, initial=initial) as progress,
    ):
        stop = threading.Event()

        def show() -> None:
            finished, failed = read_progress(folder)
            progress.update(min(initial + finished, total), f"{failed:,} failed" if failed else "")

        def poll() -> None:
            while not stop.wait(POLL_SECONDS):
                show()

        thread = threading.Thread(target=poll, daemon=True)
        thread.start()
        try:
            yield folder
        finally:
            stop.set()
            thread.join()
            show()
