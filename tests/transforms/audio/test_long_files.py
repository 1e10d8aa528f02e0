"""Hour-long songs are decoded in as little memory as short ones, whatever their format."""

import io
from collections.abc import Callable
from pathlib import Path

import av
import pytest
import soundfile

from tests.faults.mp3 import frames_of
from tests.transforms.audio.odd_files import by_ffmpeg, by_sndfile, music
from transforms.audio.decoder_process import Limits, TrackProcess
from transforms.config import DatasetConfig
from transforms.tracks import Track

RATE, PIECE, HOUR = 8_000, 10.0, 3600.0
OF_OPUS = HOUR / 6  # which is decoded at 48 kHz, so that this has as many samples
CONFIG = DatasetConfig(features=("raw",), sample_rate=RATE)
LIMITS = Limits(megabytes=64)
"""Little more than a decoder's buffers, and half of an hour's samples at this rate as float32."""


def written(file_format: str) -> Callable[[Path], None]:
    """A recipe by libsndfile, for formats that it encodes in no time."""

    def write(path: Path) -> None:
        piece = music(PIECE, RATE, 1)
        with soundfile.SoundFile(path, "w", RATE, 1, format=file_format) as file:
            for _ in range(round(HOUR / PIECE)):
                file.write(piece)

    return write


def repeated(make: Callable[[], bytes], container: str, seconds: float = HOUR) -> Callable[[Path], None]:
    """A recipe that encodes a piece and writes its packets again and again."""

    def write(path: Path) -> None:
        with av.open(io.BytesIO(make())) as source, av.open(path, "w", format=container) as output:
            stream = source.streams.audio[0]
            packets = [(bytes(packet), packet.duration) for packet in source.demux(stream) if packet.size]
            target = output.add_stream_from_template(stream)
            time, last = 0, float(seconds / stream.time_base)
            while time < last:
                for data, duration in packets:
                    packet = av.Packet(data)
                    packet.stream, packet.time_base = target, stream.time_base
                    packet.pts = packet.dts = time
                    packet.duration = duration
                    time += duration
                    output.mux(packet)

    return write


def mp3(path: Path) -> None:
    """Frames without a header that counts them."""
    data = by_sndfile("MP3", samples=music(PIECE, RATE, 1), rate=RATE)
    path.write_bytes(data[frames_of(data)[1].start :] * round(HOUR / PIECE))


def m4a() -> bytes:
    return by_ffmpeg("aac", "ipod", RATE, seconds=PIECE, channels=1)


RECIPES = {
    "mp3": mp3,
    "wav": written("WAV"),
    "flac": written("FLAC"),
    "ogg": repeated(lambda: by_sndfile("OGG", samples=music(PIECE, RATE, 1), rate=RATE), "ogg"),
    "opus": repeated(lambda: by_ffmpeg("libopus", "ogg", 48_000, seconds=PIECE, channels=1), "ogg", OF_OPUS),
    "m4a": repeated(m4a, "ipod"),
    "aac": repeated(m4a, "adts"),
    "mka": repeated(m4a, "matroska"),
    "wma": repeated(lambda: by_ffmpeg("wmav2", "asf", RATE, seconds=PIECE, channels=1), "asf"),
}


@pytest.mark.parametrize("name", RECIPES)
def test_an_hour_takes_no_more_memory_than_a_decoders_buffers(tmp_path, name):
    path = tmp_path / f"hour.{name}"
    RECIPES[name](path)
    track = Track(1, "Rock", "training", str(path), size=path.stat().st_size)
    process = TrackProcess(CONFIG, LIMITS)
    try:
        facts, _ = process.extract(track, (0, ()), lambda *_: None, restart=lambda: None)
    finally:
        process.close()
    assert facts.seconds == pytest.approx(OF_OPUS if name == "opus" else HOUR, rel=0.1)
    assert facts.windows == CONFIG.count_windows(round(facts.seconds * RATE))
