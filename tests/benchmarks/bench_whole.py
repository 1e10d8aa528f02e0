"""What reads a whole dataset, `fma verify` and `fma compact`, as processes: bytes a second with one worker and two."""

import shutil
import sys
from pathlib import Path

from tests.benchmarks.harness import Row, Usage, run_measured, spread
from tests.trainers.synthetic import write_dataset
from transforms.config import DatasetConfig
from transforms.dataset.generation import Generation
from transforms.dataset.manifest import commit, load

SIZES = (200, 1000)
WORKERS = (1, 2)
COMMANDS = ("verify", "compact")
WINDOWS = 5  # of a clip of 30 s


def make_dataset(folder: Path, clips: int) -> Path:
    """A dataset of mel images and raw windows, of two generations, so that it can be compacted; made once."""
    path = folder / f"whole-{clips}"
    if not (path / "dataset.json").exists():
        tracks = {"training": clips}
        write_dataset(path, ("mel", "raw"), tracks=tracks, windows=WINDOWS, config=DatasetConfig(), shards=16)
        add_generation(path)
    return path


def add_generation(dataset: Path) -> None:
    """Adds an empty generation, without which there is nothing to compact."""
    manifest = load(str(dataset))
    manifest.generations.append(Generation("0002-empty", ""))
    commit(str(dataset), manifest)


def run(folder: Path, command: str, dataset: Path, workers: int) -> Usage:
    """Runs a command on a copy of the dataset, whose files are links."""
    copy = folder / "copy"
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(dataset, copy, copy_function=lambda source, target: Path(target).hardlink_to(source))
    words = [sys.executable, "-m", "fma", command, str(copy), "--workers", str(workers)]
    return run_measured(words, folder / f"{command}.log")


def measure(folder: Path, *, repeats: int = 5) -> list[Row]:
    """The rows: MB a second with one worker and two, start-up subtracted, and two against one."""
    datasets = [make_dataset(folder, size) for size in SIZES]
    few, many = (sum(file.bytes for file in load(str(dataset)).files()) / 1e6 for dataset in datasets)
    rows = []
    for command in COMMANDS:
        rates: dict[int, list[float]] = {workers: [] for workers in WORKERS}
        for _ in range(repeats):
            for workers in WORKERS:
                times = [run(folder, command, dataset, workers).wall_s for dataset in datasets]
                rates[workers].append((many - few) / (times[1] - times[0]))
        one, two = WORKERS
        gained = [both / alone for both, alone in zip(rates[two], rates[one], strict=True)]
        rows += [spread(f"{command}: {n} worker{'s' * (n > 1)}", rates[n], "MB/s") for n in WORKERS]
        rows.append(spread(f"{command}: 2 workers / 1 worker", gained, "ratio", target=1.7, at_least=True))
    shutil.rmtree(folder / "copy", ignore_errors=True)
    return rows
