"""Time and peak memory of commands at the size of fma_full, whole songs: real counts, synthetic bytes.

Each step is measured at several numbers of tracks, in a process of its own; the exponent of growth is the slope of its
seconds of CPU, start-up included, over the tracks, both as logarithms: 1 where twice the tracks take twice the time.

A song has as many windows as one of fma_full has on average, of 128 bytes, and 518 statistics; a shard has as many
tracks. What a decoder or a network costs for each window is measured elsewhere.
"""

import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from tests.benchmarks import bench_nothing_new
from tests.benchmarks.bench_whole import add_generation
from tests.benchmarks.harness import Row, Usage, run_measured
from tests.trainers.synthetic import write_dataset
from transforms.config import DatasetConfig
from transforms.dataset.near_duplicates import SAME, Fingerprints, distance, find_candidates
from transforms.runtime import console

SIZES = (8000, 25_000, 106_574)
MOST_MB = {"baselines": 16_000.0}
MOST_MB_ELSE = 4000.0
WORDS = 11_973  # of a song's fingerprint, on average: 278 s, as those of fma_full have
ONES = 0.656  # share of ones among the bits with which songs have keys in common as often as real ones have
WINDOWS = 52  # of a song of 270 s
CONFIG = DatasetConfig(n_mels=8, window_frames=16, window_hop_frames=16)
GENRES = tuple(f"Genre {number:02d}" for number in range(16))
TRACKS_PER_SHARD = 25
QUICK = ("--width", 0.1, "--batch-size", 512, "--epochs", 1)  # what an epoch reads and writes, little of its network


def measure(_: Path, *, sizes: Sequence[int] = SIZES, words: int = WORDS, windows: int = WINDOWS) -> list[Row]:
    """Measures every step at every size."""
    rows: list[Row] = []
    seconds: dict[str, list[float]] = {}
    for tracks in sizes:
        for name, used in _measure_size(tracks, words, windows):
            seconds.setdefault(name, []).append(used.cpu_s)
            rows.append(Row(f"{name}, {tracks:,} tracks: time", used.wall_s, "s"))
            rows.append(Row(f"{name}, {tracks:,} tracks: CPU", used.cpu_s, "s"))
            peak, most = max(used.peak_mb.values()), MOST_MB.get(name, MOST_MB_ELSE)
            rows.append(Row(f"{name}, {tracks:,} tracks: memory", peak, "MB", target=most))
            console.log(f"{name}, {tracks:,} tracks: {used.wall_s:.1f} s, {used.cpu_s:.1f} s of CPU, {peak:,.0f} MB")
    for name, took in seconds.items():
        exponent = float(np.polyfit(np.log(sizes), np.log(took), 1)[0])
        rows.append(Row(f"{name}: exponent of growth", exponent, ""))
    return rows


def _measure_size(tracks: int, words: int, windows: int) -> Iterator[tuple[str, Usage]]:
    steps: Mapping[str, Callable[[Path, int], Usage]] = {
        "show": _show,
        "nothing new": _nothing_new,
        "plan and commit": _plan_and_commit,
        "near duplicates": lambda folder, tracks: _near_duplicates(folder, tracks, words),
    }
    for name, step in steps.items():
        with _new_folder() as folder:
            yield name, step(Path(folder), tracks)
    with _new_folder() as folder:
        yield from _walk(Path(folder), tracks, windows)


def _new_folder() -> tempfile.TemporaryDirectory:
    return tempfile.TemporaryDirectory(prefix="fma-bench-")


def _walk(folder: Path, tracks: int, windows: int) -> Iterator[tuple[str, Usage]]:
    """Measures what is done with a dataset, from its verification to the report."""
    data, runs = folder / "data", folder / "runs"
    parts = {"training": tracks - 2 * (tracks // 10), "validation": tracks // 10, "test": tracks // 10}
    shards = max(1, tracks // (3 * TRACKS_PER_SHARD))
    write_dataset(data, ("mel", "stats"), GENRES, parts, windows, config=CONFIG, shards=shards)
    trained, fitted = runs / "mel_cnn", runs / "baselines"
    commands: Mapping[str, Sequence[object]] = {
        "verify": ("verify", data),
        "statistics": ("statistics", data),
        "baselines": ("baselines", "--data", data, "--run", fitted),
        "train, 1 epoch": ("train", "mel_cnn", *QUICK, "--data", data, "--run", trained),
        "evaluate": ("evaluate", trained, "--data", data, "--split", "test"),
        "report": ("report", fitted, trained, "--out", folder / "report.html"),
        "compact": ("compact", data),
    }
    for name, words in commands.items():
        if name == "compact":
            add_generation(data)
        yield name, _run(folder, "fma", *map(str, words))


def _run(folder: Path, *words: str) -> Usage:
    return run_measured([sys.executable, "-m", *words], folder / "output")


def _show(folder: Path, tracks: int) -> Usage:
    bench_nothing_new.write_dataset(str(folder / "data"), list(bench_nothing_new.tracks_of(tracks)))
    return _run(folder, "fma", "show", str(folder / "data"))


def _nothing_new(folder: Path, tracks: int) -> Usage:
    listed = list(bench_nothing_new.tracks_of(tracks))
    audio = bench_nothing_new.write_corpus(folder, listed, as_folder=False)
    bench_nothing_new.write_dataset(str(folder / "data"), listed)
    return bench_nothing_new.run(folder, audio)


def _plan_and_commit(folder: Path, tracks: int) -> Usage:
    """An ingestion of files that are no audio: all but the decoding, batch by batch."""
    audio = bench_nothing_new.write_corpus(folder, list(bench_nothing_new.tracks_of(tracks)), as_folder=False)
    where = ["--audio", audio, "--metadata", folder / "tracks.csv", "--subset", "large", "--out", folder / "data"]
    return _run(folder, "fma", "ingest", *map(str, where), "--max-failures", "100")


def _near_duplicates(folder: Path, tracks: int, words: int) -> Usage:
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
