"""The whole of `fma ingest --features mel` as a process: CPU a clip without start-up, throughput, memory.

Two sizes are run; the slope between them is what a clip costs, start-up subtracted. The floor is decoding the same
clips, measured by turns with the runs.
"""

import statistics
import sys
from collections.abc import Callable
from pathlib import Path
from shutil import rmtree, which

from tests.benchmarks import clips
from tests.benchmarks.bench_front_end import decode_only, mpg123_ms
from tests.benchmarks.harness import Row, Usage, cpu_ms, run_measured

SIZES = (100, 400)
LONG_MINUTES = 60


def ingest(folder: Path, music: Path, workers: int, *more: str) -> Usage:
    """Runs it into a new dataset."""
    out = folder / "dataset"
    rmtree(out, ignore_errors=True)
    options = ["--features", "mel", "--workers", str(workers), "--commit-every", "100000", *more]
    paths = ["--audio", str(music), "--metadata", str(music / "tracks.csv"), "--out", str(out)]
    return run_measured([sys.executable, "-m", "fma", "ingest", *paths, *options], folder / "ingest.log")


def measure(folder: Path, *, repeats: int = 3, memory_clips: int = 2000) -> list[Row]:
    """The rows: slope against the floor, two workers against one, and peak memory."""
    made = clips.made(folder, 40)
    music = {}
    for size in SIZES:
        music[size] = folder / f"music-{size}"
        clips.as_csv(music[size], made, size)
    cpu: dict[str, list[float]] = {"ours": [], "floor": []}
    wall: dict[int, list[float]] = {1: [], 2: []}
    peaks: dict[str, float] = {}
    floor = _floor()
    for _ in range(repeats):
        for workers in (1, 2):
            # Worker processes even for one: what is compared is the same work in one process and in two.
            runs = [ingest(folder, music[size], workers, "--direct_running_mode", "multi_processing") for size in SIZES]
            cpu["ours"].append(1000 * (runs[1].cpu_s - runs[0].cpu_s) / (SIZES[1] - SIZES[0]))
            wall[workers].append((SIZES[1] - SIZES[0]) / (runs[1].wall_s - runs[0].wall_s))
            for usage in runs:
                peaks = {role: max(peaks.get(role, 0), mb) for role, mb in (peaks | usage.peak_mb).items()}
        cpu["floor"].append(statistics.mean(floor(path) for path in made))
    ours, least = statistics.median(cpu["ours"]), statistics.median(cpu["floor"])
    one, two = statistics.median(wall[1]), statistics.median(wall[2])
    return [
        Row("ingest: CPU a clip, start-up subtracted", ours, "ms"),
        Row("ingest: decoding alone", least, "ms"),
        Row("ingest: ours / decoding alone", ours / least, "ratio", target=1.6),
        Row("ingest: clips a second, 1 worker", one, "clips/s"),
        Row("ingest: clips a second, 2 workers", two, "clips/s"),
        Row("ingest: 2 workers / 1 worker", two / one, "ratio", target=1.8, at_least=True),
        *_memory_rows("400 clips of 30 s", peaks),
        *measure_memory(folder, made, memory_clips),
    ]


def _floor() -> Callable[[Path], float]:
    if which("mpg123"):
        return mpg123_ms
    return lambda path: cpu_ms(lambda: decode_only(path))


def measure_memory(folder: Path, made: list[Path], count: int) -> list[Row]:
    """Peak memory with many clips, and with tracks of an hour."""
    many, songs = folder / f"music-{count}", folder / "music-long"
    clips.as_csv(many, made, count)
    rows = _memory_rows(f"{count:,} clips of 30 s", ingest(folder, many, 2).peak_mb)
    songs.mkdir(exist_ok=True)
    long = folder / "long.mp3"
    if not long.exists():
        # mp3 frames stand for themselves: clips one behind the other are a long song.
        frames = b"".join(path.read_bytes() for path in made)
        long.write_bytes(frames * (LONG_MINUTES * 2 // len(made)))
    clips.as_csv(songs, [long], 8)
    options = ("--direct_running_mode", "multi_processing")
    return rows + _memory_rows(f"8 tracks of {LONG_MINUTES} min", ingest(folder, songs, 2, *options).peak_mb)


def _memory_rows(what: str, peaks: dict[str, float]) -> list[Row]:
    # A worker decodes in a child process of its own: the two together are what a machine has to hold for it.
    worker = peaks.get("worker", 0) + peaks.get("decoder", 0)
    return [
        Row(f"memory, {what}: worker and its decoder", worker, "MB", target=600),
        Row(f"memory, {what}: launcher", peaks["launcher"], "MB", target=400),
    ]
