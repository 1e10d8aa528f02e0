"""The whole of `fma embed` as a process: clips a second with one worker and two, start-up subtracted, and memory.

The encoder is YAMNet, with random weights where the published ones are not here: they cost the same.
"""

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np

from tests.benchmarks.harness import Row, Usage, run_measured, spread
from tests.conftest import DATA
from tests.trainers.models.published_yamnet import published_yamnet, write_h5
from tests.trainers.synthetic import write_dataset
from transforms.config import DatasetConfig

SIZES = (100, 500)
WORKERS = (1, 2)
WINDOWS = 5  # of a clip of 30 s
WEIGHTS = DATA / "models" / "yamnet" / "yamnet_float_from_tflite.keras"


def make_dataset(folder: Path, clips: int) -> Path:
    """A dataset of raw windows, with shards enough for two workers; made once."""
    path = folder / f"raw-{clips}"
    if not (path / "dataset.json").exists():
        shards = max(16, clips // 50)
        tracks = {"training": clips}
        write_dataset(path, ("raw",), tracks=tracks, windows=WINDOWS, config=DatasetConfig(), shards=shards)
    return path


def make_encoder(folder: Path, dataset: Path) -> Path:
    """YAMNet for such a dataset; made once."""
    out = folder / "yamnet"
    if not out.exists():
        weights = WEIGHTS if WEIGHTS.exists() else write_h5(published_yamnet(np.random.default_rng(0)), folder / "y.h5")
        words = ["export", "--encoder", "yamnet", "--weights", str(weights), "--data", str(dataset), "--out", str(out)]
        subprocess.run([sys.executable, "-m", "fma", *words], check=True, stdout=subprocess.DEVNULL)
    return out


def embed(folder: Path, dataset: Path, encoder: Path, workers: int) -> Usage:
    """Runs it on a copy of the dataset, whose files are links."""
    copy = folder / "embedded"
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(dataset, copy, copy_function=lambda source, target: Path(target).hardlink_to(source))
    words = ["embed", str(copy), "--encoder", str(encoder), "--workers", str(workers)]
    return run_measured([sys.executable, "-m", "fma", *words], folder / "embed.log")


def measure(folder: Path, *, repeats: int = 3, many: int = 8000) -> list[Row]:
    """The rows: clips a second, two workers against one, and peak memory with few clips and with many."""
    few, some = (make_dataset(folder, size) for size in SIZES)
    encoder = make_encoder(folder, few)
    rates: dict[int, list[float]] = {workers: [] for workers in WORKERS}
    for _ in range(repeats):
        for workers in WORKERS:
            times = [embed(folder, dataset, encoder, workers).wall_s for dataset in (few, some)]
            rates[workers].append((SIZES[1] - SIZES[0]) / (times[1] - times[0]))
    one, two = WORKERS
    gained = [both / alone for both, alone in zip(rates[two], rates[one], strict=True)]
    rows = [spread(f"embed: clips a second, {n} worker{'s' * (n > 1)}", rates[n], "clips/s") for n in WORKERS]
    rows.append(spread("embed: 2 workers / 1 worker", gained, "ratio", target=1.8, at_least=True))
    for size in (SIZES[0], many):
        peaks = embed(folder, make_dataset(folder, size), encoder, two).peak_mb
        rows += [Row(f"embed: memory, {size:,} clips: {role}", peaks[role], "MB") for role in ("worker", "launcher")]
    return rows
