"""Time and peak memory of commands at the size of fma_full, whole songs: real counts, synthetic bytes.

Each step is measured at several numbers of tracks, in a process of its own; the exponent of growth is the slope of its
seconds over the tracks, both as logarithms: 1 where twice the tracks take twice the time.
"""

import os
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from tests.benchmarks import bench_nothing_new
from tests.benchmarks.harness import Row, run_measured
from transforms.dataset.near_duplicates import SAME, Fingerprints, distance, find_candidates

SIZES = (8000, 25_000, 106_574)
MOST_MB = 4000.0
WORDS = 11_973  # of a song's fingerprint, on average: 278 s, as those of fma_full have
ONES = 0.656  # share of ones among the bits with which songs have keys in common as often as real ones have

Step = Callable[[Path, int], tuple[float, float]]
"""Called with a new folder and a number of tracks, returns seconds and MB."""


def measure(_: Path, *, sizes: Sequence[int] = SIZES, words: int = WORDS) -> list[Row]:
    """Measures every step at every size."""
    steps: Mapping[str, Step] = {
        "show": _show,
        "nothing new": _nothing_new,
        "near duplicates": lambda folder, tracks: _near_duplicates(folder, tracks, words),
    }
    rows = []
    for name, step in steps.items():
        seconds = []
        for tracks in sizes:
            with tempfile.TemporaryDirectory(prefix="fma-bench-") as folder:
                took, memory = step(Path(folder), tracks)
            seconds.append(took)
            rows.append(Row(f"{name}, {tracks:,} tracks: time", took, "s"))
            rows.append(Row(f"{name}, {tracks:,} tracks: memory", memory, "MB", target=MOST_MB))
        exponent = float(np.polyfit(np.log(sizes), np.log(seconds), 1)[0])
        rows.append(Row(f"{name}: exponent of growth", exponent, ""))
    return rows


def _run(folder: Path, *words: str) -> tuple[float, float]:
    used = run_measured([sys.executable, "-m", *words], folder / "output", every=0.02)
    return used.wall_s, used.peak_mb["launcher"]


def _show(folder: Path, tracks: int) -> tuple[float, float]:
    bench_nothing_new.write_dataset(str(folder / "data"), list(bench_nothing_new.tracks_of(tracks)))
    return _run(folder, "fma", "show", str(folder / "data"))


def _nothing_new(folder: Path, tracks: int) -> tuple[float, float]:
    listed = list(bench_nothing_new.tracks_of(tracks))
    audio = bench_nothing_new.write_corpus(folder, listed, as_folder=False)
    bench_nothing_new.write_dataset(str(folder / "data"), listed)
    seconds, memory, _ = bench_nothing_new.run(folder, audio)
    return seconds, memory


def _near_duplicates(folder: Path, tracks: int, words: int) -> tuple[float, float]:
    lengths = write_fingerprints(folder / "words", tracks, words)
    np.save(folder / "starts.npy", np.cumsum([0, *lengths]))
    return _run(folder, "tests.benchmarks.bench_full_scale", str(folder))


def write_fingerprints(path: Path, tracks: int, words: int) -> list[int]:
    """Writes fingerprints of so many words on average, the last a copy of the first; returns their lengths."""
    random = np.random.default_rng(0)
    table = ((random.random((1 << 16, 16)) < ONES) @ (1 << np.arange(16))).astype(np.uint16)
    lengths = []
    first = np.empty(0, np.uint16)
    with path.open("wb") as file:
        for track in range(tracks):
            length = int(words * random.uniform(0.4, 1.6))
            song = np.repeat(table[random.integers(0, 1 << 16, length // 4 + 1)], 4)[:length]
            first = song if track == 0 else first
            song = first if track == tracks - 1 else song
            file.write(song.data)
            lengths.append(len(song))
    return lengths


def find_copies(folder: Path) -> list[tuple[int, int]]:
    """Searches a folder's fingerprints for copies of every fifth track and the last one."""
    starts = np.load(folder / "starts.npy")
    tracks = len(starts) - 1
    prints = Fingerprints(str(folder / "words"), np.arange(tracks), starts)
    asked = np.union1d(np.arange(4, tracks, 5), [tracks - 1])
    os.mkdir(folder / "index")
    pairs = find_candidates(prints, asked, str(folder / "index"))
    return [pair for pair in pairs if distance(prints.words(pair[0]), prints.words(pair[1])) <= SAME]


if __name__ == "__main__":
    found = find_copies(Path(sys.argv[1]))
    last = len(np.load(Path(sys.argv[1]) / "starts.npy")) - 2
    if found != [(last, 0)]:
        sys.exit(f"found {found}, not the copy")
