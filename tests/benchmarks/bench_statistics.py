"""The 518 statistics: ours against FMA's own way in plain librosa, CPU time of one thread, on the same samples."""

from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_limits

from tests.benchmarks.clips import real
from tests.benchmarks.harness import Row, allocate_as_decoders_do, cpu_ms, interleave, ratio_of_medians, spread
from tests.transforms.fma_statistics.test_statistics import computed, music, reference_statistics
from transforms.audio.decode import AudioFacts, read_mono, resample

SAMPLE_RATE = 22_050


def clips(count: int) -> list[np.ndarray]:
    """Real 30 s clips where the sample is at hand, synthetic music otherwise: float32 [n] at 22,050 Hz."""
    paths = real(count)
    if not paths:
        return [music(30, SAMPLE_RATE, cents=7 * seed, seed=seed) for seed in range(count)]
    return [decoded(path) for path in paths]


def decoded(path: Path) -> np.ndarray:
    """The whole clip."""
    facts = AudioFacts()
    with path.open("rb") as file:
        return np.concatenate(list(resample(read_mono(file, facts), facts, SAMPLE_RATE, "HQ")))


def measure(folder: Path, *, count: int = 12, repeats: int = 3) -> list[Row]:
    """The rows."""
    samples = clips(count)
    ways = {
        "FMA's way, plain librosa": lambda i: cpu_ms(lambda: reference_statistics(samples[i], SAMPLE_RATE)),
        "ours": lambda i: cpu_ms(lambda: computed(samples[i], SAMPLE_RATE)),
    }
    allocate_as_decoders_do()
    with threadpool_limits(1):
        found = interleave(ways, len(samples), repeats)
    rows = [spread(f"518 statistics of a clip: {way}", values, "ms") for way, values in found.items()]
    ratio = ratio_of_medians(found, "ours", "FMA's way, plain librosa")
    return [*rows, Row("518 statistics: ours / FMA's way", ratio, "ratio", target=0.3)]
