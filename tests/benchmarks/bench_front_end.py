"""One 30 s clip, from the bytes of the file to serialized mel records: CPU time against the usual way and the floor.

The usual way is librosa.load, melspectrogram, power_to_db and a tf.train.Example of float lists. The floor is decoding
alone, by mpg123 as a program (where it is installed) and by libsndfile.
"""

import io
import resource
import shutil
import subprocess
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from tests.benchmarks import clips
from tests.benchmarks.harness import Row, interleave, median_ratio, own_process, spread
from transforms.audio.extract import extract
from transforms.config import DatasetConfig
from transforms.records import Record, frame, serialize
from transforms.tracks import Track

CONFIG = DatasetConfig(features=("mel",))


def ours(path: Path) -> int:
    """What a worker does for a track; returns the bytes written."""
    written = 0

    def write(_: str, record: Record) -> None:
        nonlocal written
        written += len(frame(serialize(record)))

    extract(Track(1, "Rock", "training", str(path)), io.BytesIO(path.read_bytes()), (0, ()), CONFIG, write)
    return written


def usual(path: Path) -> int:
    """The way of most tutorials."""
    import librosa
    import tensorflow as tf

    samples, rate = librosa.load(path, sr=CONFIG.sample_rate)
    mel = librosa.feature.melspectrogram(
        y=samples, sr=rate, n_fft=CONFIG.n_fft, hop_length=CONFIG.hop_length, n_mels=CONFIG.n_mels
    )
    values = tf.train.Feature(float_list=tf.train.FloatList(value=librosa.power_to_db(mel).ravel()))
    return len(tf.train.Example(features=tf.train.Features(feature={"mel": values})).SerializeToString())


def decode_only(path: Path) -> np.ndarray:
    """libsndfile alone, float32 [n, channels]."""
    import soundfile

    return soundfile.read(io.BytesIO(path.read_bytes()), dtype="float32", always_2d=True)[0]


def mpg123_ms(path: Path) -> float:
    """CPU ms of `mpg123 -q -t`, its start included."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(["mpg123", "-q", "-t", str(path)], check=True, stderr=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return 1000 * (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)


def measure(folder: Path, *, count: int = 12, repeats: int = 3) -> list[Row]:
    """The rows for clips of 256 kb/s, and for real ones."""
    rows = measure_clips("256 kb/s", clips.made(folder, count), repeats, targets=(0.45, 1.5))
    sample = clips.real(count)
    return rows + (measure_clips("real, 128 kb/s", sample, repeats, targets=(0.45, None)) if sample else [])


def measure_clips(name: str, paths: list[Path], repeats: int, targets: tuple[float, float | None]) -> list[Row]:
    """The rows for some clips; targets are against the usual way and against the floor."""
    with ExitStack() as stack:
        ways = {
            "usual way": stack.enter_context(own_process(usual, as_decoder=False)),
            "ours": stack.enter_context(own_process(ours, as_decoder=True)),
            "libsndfile alone": stack.enter_context(own_process(decode_only, as_decoder=True)),
        }
        if shutil.which("mpg123"):
            ways["mpg123 alone"] = mpg123_ms
        turns = {way: lambda i, run=run: run(paths[i]) for way, run in ways.items()}
        found = interleave(turns, len(paths), repeats)
    rows = [spread(f"front end, {name}: {way}", values, "ms") for way, values in found.items()]
    against_usual = median_ratio(found, "ours", "usual way")
    rows.append(Row(f"front end, {name}: ours / usual way", against_usual, "ratio", target=targets[0]))
    for floor in ("mpg123 alone", "libsndfile alone"):
        if floor in found:
            ratio = median_ratio(found, "ours", floor)
            rows.append(Row(f"front end, {name}: ours / {floor}", ratio, "ratio", target=targets[1]))
    return rows
