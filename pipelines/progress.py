"""Progress of a local run: workers append a byte for each finished track, the launcher counts them."""

import os
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from transforms import console

POLL_SECONDS = 0.5


def count_ticks(folder: str) -> tuple[int, int]:
    """(finished, failed) tracks noted in a folder of tick files."""
    finished = failed = 0
    for entry in os.scandir(folder):
        with open(entry.path, "rb") as file:
            ticks = file.read()
        finished += len(ticks)
        failed += ticks.count(b"x")
    return finished, failed


@contextmanager
def watched(tracks: int) -> Iterator[str]:
    """Shows progress while the body runs; gives it the folder that workers note finished tracks in."""
    with tempfile.TemporaryDirectory(prefix="fma-ticks-") as folder:
        stop = threading.Event()
        with console.progress("ingest", tracks, "tracks") as progress:

            def watch() -> None:
                while not stop.wait(POLL_SECONDS):
                    show()

            def show() -> None:
                finished, failed = count_ticks(folder)
                progress.update(min(finished, tracks), f"{failed:,} failed" if failed else "")

            watcher = threading.Thread(target=watch, daemon=True)
            watcher.start()
            try:
                yield folder
            finally:
                stop.set()
                watcher.join()
                show()
