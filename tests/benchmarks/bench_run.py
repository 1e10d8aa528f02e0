"""`fma run` on as many clips as fma_small has: real ones, of which each copy begins later and is louder or softer."""

import csv
import shutil
import sys
from pathlib import Path

import numpy as np

from tests.benchmarks import clips
from tests.benchmarks.harness import Row, run_measured
from tests.conftest import DATA
from transforms.catalog.metadata import read_catalog
from transforms.runtime import console

CLIPS = 8000
EPOCHS = 3  # of mel_cnn, which is left to train for as long as it gains else
GAINS = (0, -1, 1, -2)  # steps of 1.5 dB
SAMPLE_RATE, BITRATE = 44_100, 128_000
HEADER, SIDE_INFO = 4, 32  # bytes of a stereo frame of MPEG-1
GAIN_BITS = np.array([[20 + 59 * block + 21 + bit for bit in range(8)] for block in range(4)])
"""Where the global_gain of each granule and channel is in the side information: ISO/IEC 11172-3, 2.4.1.7."""


def vary(data: bytes, frames: int, gain: int) -> bytes:
    """A constant-rate stereo mp3 without its tags and its first frames, all gains moved by steps of 1.5 dB."""
    at = data.index(b"Info") - HEADER - SIDE_INFO
    kept = []
    while data[at : at + 2] == b"\xff\xfb" and len(data) >= at + HEADER + SIDE_INFO:
        size = 144 * BITRATE // SAMPLE_RATE + (data[at + 2] >> 1 & 1)
        kept.append(data[at : at + size])
        at += size
    kept = kept[1 + frames :]  # the first describes the file
    begins = np.array([np.frombuffer(frame[: HEADER + SIDE_INFO], np.uint8) for frame in kept])
    bits = np.unpackbits(begins[:, HEADER:], axis=1)
    gains = np.packbits(bits[:, GAIN_BITS], axis=2)[..., 0].astype(int)
    moved = np.where(gains > 0, np.clip(gains + gain, 1, 255), 0).astype(np.uint8)  # 0: the granule is empty
    bits[:, GAIN_BITS] = np.unpackbits(moved[..., None], axis=2)
    begins[:, HEADER:] = np.packbits(bits, axis=1)
    return b"".join(begin.tobytes() + frame[len(begin) :] for begin, frame in zip(begins, kept, strict=True))


def write_corpus(folder: Path, count: int) -> Path:
    """A folder of so many variants of the real sample's clips, with a csv that keeps each artist in one split."""
    metadata = read_catalog(str(DATA / "fma_sample/fma_metadata"), "full")
    about = {track.track_id: track for track in metadata.tracks if track.genre}
    named = [path for path in clips.real(sys.maxsize) if int(path.stem) in about]
    sources = [(about[int(path.stem)], path.read_bytes()) for path in named]
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    with (folder / "tracks.csv").open("w", newline="") as file:
        lines = csv.writer(file)
        lines.writerow(("track_id", "path", "genre", "artist", "split"))
        for number in range(count):
            copy, track = divmod(number, len(sources))
            of, data = sources[track]
            (folder / f"{number}.mp3").write_bytes(vary(data, copy, GAINS[copy % len(GAINS)]))
            lines.writerow((number, f"{number}.mp3", of.genre, of.artist, of.split))
    return folder


def measure(folder: Path, *, count: int = CLIPS, epochs: int = EPOCHS) -> list[Row]:
    """Time and memory of the whole; how long each step took is in the command's own table, which is shown."""
    if not clips.real(1):
        console.log("run: left out, the real sample is not here")
        return []
    music, log = write_corpus(folder / f"varied-{count}", count), folder / "run.log"
    words = ["--audio", music, "--metadata", music / "tracks.csv", "--out", folder / "run"]
    options = ["--models", "mel_cnn,baselines", "--options", f"mel_cnn=--epochs {epochs}"]
    shutil.rmtree(folder / "run", ignore_errors=True)
    used = run_measured([sys.executable, "-m", "fma", "run", *map(str, words), *options], log, every=0.5)
    for line in log.read_text().partition("step ")[2].splitlines():
        console.say(line)
    rows = [Row(f"fma run, {count:,} clips: time", used.wall_s, "s"), Row("CPU", used.cpu_s, "s")]
    return rows + [Row(f"memory: {role}", peak, "MB") for role, peak in sorted(used.peak_mb.items())]
