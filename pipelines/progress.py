"""Progress of a run on this machine: workers append a byte for all that they finish, the launcher counts them."""

import os
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from transforms.runtime import console

POLL_SECONDS = 0.5


def count_ticks(folder: str) -> tuple[int, int]:
    """(finished, failed) bytes in a folder of tick files."""
    finished = failed = 0
    for entry in os.scandir(folder):
        with open(entry.path, "rb") as file:
            ticks = file.read()
        finished += len(ticks)
        failed += ticks.count(b"x")
    return finished, failed


@contextmanager
def ticking(folder: str, shard: str) -> Iterator[Callable[[bytes], object]]:
    """Gives a worker a function that notes what it finished: a `.` for each track or record, an `x` if it failed.

    Args:
      folder: as `watched` gives it; where it is "" or not on this machine, nothing is noted.
      shard: a name that no other has. A runner that builds it again, after a failure, counts afresh.
    """
    if not (folder and os.path.isdir(folder)):
        yield lambda ticks: None
        return
    with open(os.path.join(folder, shard.replace("/", "-")), "wb", buffering=0) as file:
        yield file.write


@contextmanager
def watched(label: str, total: int, unit: str) -> Iterator[str]:
    """Shows progress while the body runs; gives it the folder that workers note what they finished in.

    Args:
      label: what is being done.
      total: how much there is to do.
      unit: what is counted, in the plural.
    """
    with (
        tempfile.TemporaryDirectory(prefix="fma-ticks-") as folder,
        console.progress(label, total, unit) as progress,
    ):
        stop = threading.Event()

        def show() -> None:
            finished, failed = count_ticks(folder)
            progress.update(min(finished, total), f"{failed:,} failed" if failed else "")

        def watch() -> None:
            while not stop.wait(POLL_SECONDS):
                show()

        watcher = threading.Thread(target=watch, daemon=True)
        watcher.start()
        try:
            yield folder
        finally:
            stop.set()
            watcher.join()
            show()
