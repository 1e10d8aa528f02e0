"""The whole of `fma ingest --features mel` as a process: CPU a clip without start-up, throughput, memory.

Two sizes are run; the slope between them is what a clip costs, start-up subtracted. The floor is decoding the same
clips, measured by turns with the runs.
"""

import statistics
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from shutil import rmtree, which

from tests.benchmarks import clips
from tests.benchmarks.bench_front_end import decode_only, mpg123_ms
from tests.benchmarks.harness import Row, Usage, cpu_ms, run_measured, spread

SIZES = (100, 700)
WORKERS = (1, 2)
LONG_MINUTES = 60
LONG_TRACKS = 8
IN_PROCESSES = ("--direct_running_mode", "multi_processing")
"""Worker processes even for one worker: what is compared is the same work in one process and in two."""


def ingest(folder: Path, music: Path, workers: int) -> Usage:
    """Runs it into a new dataset."""
    out = folder / "dataset"
    rmtree(out, ignore_errors=True)
    options = ["--features", "mel", "--workers", str(workers), "--commit-every", "100000", *IN_PROCESSES]
    paths = ["--audio", str(music), "--metadata", str(music / "tracks.csv"), "--out", str(out)]
    return run_measured([sys.executable, "-m", "fma", "ingest", *paths, *options], folder / "ingest.log")


def measure(folder: Path, *, repeats: int = 5, many: int = 2000) -> list[Row]:
    """The rows: slope against the floor, two workers against one, and peak memory."""
    made = clips.made(folder, 40)
    slopes = Slopes()
    for _ in range(repeats):
        slopes.measure(folder, made)
    return [*slopes.rows(), *measure_memory(folder, made, many)]


@dataclass
class Slopes:
    """What a clip more costs, a value for each round.

    Attributes:
      cpu: ms of CPU by number of workers.
      rate: clips a second by number of workers.
      floor: ms of CPU to decode one.
    """

    cpu: dict[int, list[float]] = field(default_factory=lambda: {workers: [] for workers in WORKERS})
    rate: dict[int, list[float]] = field(default_factory=lambda: {workers: [] for workers in WORKERS})
    floor: list[float] = field(default_factory=list)

    def measure(self, folder: Path, made: list[Path]) -> None:
        """One round: each size with each number of workers, and the floor."""
        floor = _floor()
        more = SIZES[1] - SIZES[0]
        for workers in WORKERS:
            few, many = (ingest(folder, clips.linked(folder, made, size), workers) for size in SIZES)
            self.cpu[workers].append(1000 * (many.cpu_s - few.cpu_s) / more)
            self.rate[workers].append(more / (many.wall_s - few.wall_s))
        self.floor.append(statistics.mean(floor(path) for path in made))

    def rows(self) -> list[Row]:
        """Medians over the rounds; ratios are taken within each round."""
        one, two = WORKERS
        against = [ours / least for ours, least in zip(self.cpu[one], self.floor, strict=True)]
        gained = [both / alone for both, alone in zip(self.rate[two], self.rate[one], strict=True)]
        return [
            spread("ingest: CPU a clip, start-up subtracted, 1 worker", self.cpu[one], "ms"),
            spread("ingest: CPU a clip, start-up subtracted, 2 workers", self.cpu[two], "ms"),
            spread("ingest: decoding alone", self.floor, "ms"),
            spread("ingest: ours / decoding alone", against, "ratio", target=1.6),
            spread("ingest: clips a second, 1 worker", self.rate[one], "clips/s"),
            spread("ingest: clips a second, 2 workers", self.rate[two], "clips/s"),
            spread("ingest: 2 workers / 1 worker", gained, "ratio", target=1.8, at_least=True),
        ]


def _floor() -> Callable[[Path], float]:
    if which("mpg123"):
        return mpg123_ms
    return lambda path: cpu_ms(lambda: decode_only(path))


def measure_memory(folder: Path, made: list[Path], many: int) -> list[Row]:
    """Peak memory with few clips and with many, and with tracks of an hour."""
    long = folder / "long.mp3"
    if not long.exists():
        # mp3 frames stand for themselves: clips one behind the other are a long song.
        frames = b"".join(path.read_bytes() for path in made)
        long.write_bytes(frames * (LONG_MINUTES * 2 // len(made)))
    songs = {
        f"{SIZES[0]:,} clips of 30 s": clips.linked(folder, made, SIZES[0]),
        f"{many:,} clips of 30 s": clips.linked(folder, made, many),
        f"{LONG_TRACKS} tracks of {LONG_MINUTES} min": clips.linked(folder, [long], LONG_TRACKS, "hours"),
    }
    return [row for what, music in songs.items() for row in _memory_rows(what, ingest(folder, music, 2).peak_mb)]


def _memory_rows(what: str, peaks: dict[str, float]) -> list[Row]:
    # A worker decodes in a child process of its own: the two together are what a machine has to hold for it.
    worker = peaks.get("worker", 0) + peaks.get("decoder", 0)
    return [
        Row(f"memory, {what}: worker and its decoder", worker, "MB", target=600),
        Row(f"memory, {what}: launcher", peaks["launcher"], "MB", target=400),
    ]
