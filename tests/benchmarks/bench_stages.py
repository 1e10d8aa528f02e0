"""Where the time of one clip goes, stage by stage: the usual way before, ours after; CPU time of one thread.

Each stage gets what the stage before it made, so that it is measured alone; the sum is what both cost without the
little that lies between.
"""

import hashlib
import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from threadpoolctl import threadpool_limits

from tests.benchmarks import clips
from tests.benchmarks.bench_front_end import CONFIG
from tests.benchmarks.harness import Row, allocate_as_decoders_do, cpu_ms, interleave, spread
from transforms.audio.decode import BLOCK_VALUES, AudioFacts, find_peak, mix_to_mono, resample
from transforms.audio.dropouts import DropoutDetector
from transforms.audio.features import KINDS, Feature, to_pcm16
from transforms.records import Record, frame, serialize

Stage = tuple[str, Callable[[Any], Any]]
"""Its name, and what it makes of what the stage before it made; the first one gets a file's bytes."""


def usual_stages() -> list[Stage]:
    """What librosa.load, melspectrogram, power_to_db and an Example of float lists do, one after the other."""
    import librosa
    import tensorflow as tf

    rate, into = 44_100, CONFIG.sample_rate

    def example(values: np.ndarray) -> bytes:
        feature = tf.train.Feature(float_list=tf.train.FloatList(value=values.ravel()))
        return tf.train.Example(features=tf.train.Features(feature={"mel": feature})).SerializeToString()

    def mel(samples: np.ndarray) -> np.ndarray:
        sizes = {"n_fft": CONFIG.n_fft, "hop_length": CONFIG.hop_length, "n_mels": CONFIG.n_mels}
        return librosa.power_to_db(librosa.feature.melspectrogram(y=samples, sr=into, **sizes))

    return [
        ("decode", lambda data: librosa.load(io.BytesIO(data), sr=None, mono=False)[0]),
        ("mix to mono", librosa.to_mono),
        ("resample", lambda samples: librosa.resample(samples, orig_sr=rate, target_sr=into)),
        ("log-mel", mel),
        ("records", example),
    ]


def our_stages() -> list[Stage]:
    """What `transforms.audio.extract` does; its checks, which the usual way has none of, are stages of their own."""

    def checked(blocks: list[np.ndarray]) -> list[np.ndarray]:
        facts = AudioFacts()
        for mono in blocks:
            facts.peak = max(facts.peak, find_peak(mono, facts))
        return blocks

    def searched(blocks: list[np.ndarray]) -> list[np.ndarray]:
        stretches = DropoutDetector(44_100)
        for mono in blocks:
            stretches.push(mono)
        return blocks

    def hashed(blocks: list[np.ndarray]) -> list[np.ndarray]:
        sha256 = hashlib.sha256()
        for block in blocks:
            sha256.update(to_pcm16(block).data)
        return blocks

    return [
        ("decode", lambda data: list(decoded(data))),
        ("mix to mono", lambda blocks: [mix_to_mono(block) for block in blocks]),
        ("peak, and check for NaN", checked),
        ("stretches of zeros", searched),
        ("resample", lambda blocks: list(resample(iter(blocks), AudioFacts(44_100), CONFIG.sample_rate, "HQ"))),
        ("sha256 of the audio", hashed),
        ("log-mel", lambda blocks: list(features(blocks))),
        ("records", lambda found: [framed(feature) for feature in found]),
    ]


def decoded(data: bytes) -> Iterator[np.ndarray]:
    """float32 [n, channels], block by block."""
    with soundfile.SoundFile(io.BytesIO(data)) as sound:
        while len(block := sound.read(BLOCK_VALUES // sound.channels, dtype="float32", always_2d=True)):
            yield block


def features(blocks: list[np.ndarray]) -> Iterator[Feature]:
    """Mel features of samples at the dataset's rate; windows are cut and values quantised on the way."""
    extractor = KINDS["mel"].extractor(CONFIG)
    for block in blocks:
        yield from extractor.push(block)
    yield from extractor.finish()


def framed(feature: Feature) -> bytes:
    """The record as it stands in a file."""
    return frame(serialize(Record(1, feature.window, feature.start, 0, feature.payload)))


def measure(folder: Path, *, count: int = 12, repeats: int = 3) -> list[Row]:
    """A row for each stage of each way, and their sums."""
    paths = clips.made(folder, count)
    ways = {"usual way": usual_stages(), "ours": our_stages()}
    taken: dict[tuple[str, str], list[float]] = {}

    def run(way: str, path: Path) -> float:
        value: Any = path.read_bytes()
        total = 0.0
        for name, stage in ways[way]:
            made = []
            ms = cpu_ms(lambda stage=stage, value=value, made=made: made.append(stage(value)))
            (value,) = made
            taken.setdefault((way, name), []).append(ms)
            total += ms
        return total

    allocate_as_decoders_do()
    with threadpool_limits(1):
        sums = interleave({way: lambda i, way=way: run(way, paths[i]) for way in ways}, len(paths), repeats)
    rows = [spread(f"{name}: {way}", values[1:], "ms") for (way, name), values in taken.items()]  # the first warms up
    return [*rows, *(spread(f"all stages: {way}", values, "ms") for way, values in sums.items())]
