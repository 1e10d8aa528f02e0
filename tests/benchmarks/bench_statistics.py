"""The 518 statistics: ours against FMA's own way in plain librosa, CPU time of one thread, on the same samples.

Run from the repository's root: python -m tests.benchmarks.bench_statistics [--clips 12] [--repeats 5]
"""

import argparse
import statistics as stats
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_limits

from tests.conftest import DATA
from tests.transforms.test_statistics import computed, music, reference_statistics
from transforms.audio import AudioFacts, read_mono, resample

SAMPLE_RATE = 22_050
SMALLEST = 400_000  # bytes of 25 s at 128 kb/s


def clips(count: int) -> list[np.ndarray]:
    """Real 30 s clips where the sample is at hand, synthetic music otherwise: float32 [n] at 22,050 Hz."""
    paths = [path for path in sorted(DATA.glob("fma_sample/audio/000/*.mp3")) if path.stat().st_size > SMALLEST]
    if not paths:
        return [music(30, SAMPLE_RATE, cents=7 * seed, seed=seed) for seed in range(count)]
    return [decoded(path) for path in paths[:: max(1, len(paths) // count)][:count]]


def decoded(path: Path) -> np.ndarray:
    """The whole clip."""
    facts = AudioFacts()
    with path.open("rb") as file:
        return np.concatenate(list(resample(read_mono(file, facts), facts, SAMPLE_RATE, "HQ")))


def cpu_ms(function: Callable[[np.ndarray, int], np.ndarray], samples: np.ndarray) -> float:
    """CPU time of one call in this process, in ms."""
    start = time.process_time()
    function(samples, SAMPLE_RATE)
    return 1000 * (time.process_time() - start)


def measure(count: int, repeats: int) -> dict[str, list[float]]:
    """CPU ms of each way for each clip and repeat, interleaved; the first call of each is left out."""
    ways = {"fma": reference_statistics, "ours": computed}
    found: dict[str, list[float]] = {name: [] for name in ways}
    samples = clips(count)
    with threadpool_limits(1):
        for function in ways.values():
            cpu_ms(function, samples[0])
        for _ in range(repeats):
            for clip in samples:
                for name, function in ways.items():
                    found[name].append(cpu_ms(function, clip))
    return found


def main() -> None:
    """Prints the table: median and 10th to 90th percentile of CPU time a clip, and the ratio."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clips", type=int, default=12)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    found = measure(options.clips, options.repeats)
    usual = stats.median(found["fma"])
    print(f"{'statistics of one 30 s clip':<30}{'CPU ms':>8}{'10-90%':>16}{'ratio':>8}{'target':>8}")
    for name, title, target in (("fma", "FMA's way, plain librosa", ""), ("ours", "transforms.statistics", ".30")):
        low, *_, high = stats.quantiles(found[name], n=10)
        middle = stats.median(found[name])
        print(f"{title:<30}{middle:>8.1f}{low:>9.1f} -{high:>5.1f}{middle / usual:>8.2f}{target:>8}")


if __name__ == "__main__":
    main()
