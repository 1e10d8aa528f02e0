"""Recipes for audio as other programs and years of handling leave it; `seconds` is the music that a listener hears."""

import io
import struct
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import av
import numpy as np

from tests.conftest import encoded
from tests.faults.mp3 import frames_of
from transforms.corpus.writer import render_mp3

LENGTH = 3.0


@dataclass(frozen=True)
class Recipe:
    """How to make a file, and what is to come of it."""

    make: Callable[[], bytes]
    seconds: float = LENGTH
    decoder: str = ""  # that reads it; "" where either may
    flags: tuple[str, ...] = ()  # beside ffmpeg


@cache
def music(seconds: float = LENGTH, rate: int = 44_100, channels: int = 2, hz: float = 440.0) -> np.ndarray:
    """A tone that swells, with a second one; float32 [n, channels]."""
    t = np.arange(round(seconds * rate)) / rate
    tone = 0.3 * np.sin(2 * np.pi * hz * t) * (1 + 0.5 * np.sin(4 * np.pi * t)) + 0.1 * np.sin(2 * np.pi * 2.5 * hz * t)
    return np.repeat(tone.astype(np.float32)[:, None], channels, axis=1)


def by_sndfile(
    file_format: str, subtype: str | None = None, samples: np.ndarray | None = None, rate: int = 44_100
) -> bytes:
    """A file that libsndfile writes."""
    return encoded(music(rate=rate) if samples is None else samples, rate, file_format, subtype).getvalue()


def by_ffmpeg(
    codec: str, container: str, rate: int = 44_100, *, seconds: float = LENGTH, channels: int = 2, **options: str
) -> bytes:
    """A file that FFmpeg writes."""
    file = io.BytesIO()
    with av.open(file, "w", format=container, options=options) as output:
        stream = output.add_stream(codec, rate=rate, layout="stereo" if channels == 2 else "mono")
        stream.bit_rate = 128_000 if rate > 24_000 else 32_000
        frame = av.AudioFrame.from_ndarray(music(seconds, rate, channels).reshape(1, -1), "flt", stream.layout.name)
        frame.sample_rate = rate
        resampler = av.AudioResampler(stream.format, stream.layout, rate, frame_size=stream.codec_context.frame_size)
        for piece in (*resampler.resample(frame), *resampler.resample(None), None):
            output.mux([packet for packet in stream.encode(piece) if packet.size])
    return file.getvalue()


def mp3(seconds: float = LENGTH, rate: int = 44_100, bitrate: int = 128) -> bytes:
    """An mp3 with an Info header and a constant bit rate."""
    return render_mp3(music(seconds), rate, 2, bitrate)


def bare_vbr_mp3(quiet: bool, seconds: float = 8.0) -> bytes:
    """An mp3 of variable bit rate, without a header that says how long it is, whose first second is different."""
    noise = np.random.default_rng(0).standard_normal((round(seconds * 44_100), 2)).astype(np.float32)
    samples = 0.2 * noise if quiet else 0.02 * music(seconds)
    samples[:44_100] = 0 if quiet else 0.2 * noise[:44_100]
    data = by_sndfile("MP3", samples=samples)
    return data[frames_of(data)[1].start :]


def id3(payload: bytes) -> bytes:
    """An ID3v2 tag around some bytes."""
    size = bytes((len(payload) >> shift) & 127 for shift in (21, 14, 7, 0))
    return b"ID3\x04\x00\x00" + size + payload


def wav_of_size(size: int) -> bytes:
    """A wav whose header says that its data has that many bytes."""
    wav = bytearray(by_sndfile("WAV"))
    at = wav.find(b"data")
    wav[at + 4 : at + 8] = struct.pack("<I", size)
    wav[4:8] = struct.pack("<I", min(size + 36, 0xFFFFFFFF) if size else 0)
    return bytes(wav)


def cut(data: bytes, share: float = 2 / 3) -> bytes:
    """The first part of a file."""
    return data[: int(len(data) * share)]


def noise(count: int) -> bytes:
    """Bytes without the sync word of an mp3."""
    return np.random.default_rng(1).integers(0, 255, count, np.uint8).tobytes()


def inserted(data: bytes, piece: bytes) -> bytes:
    """An mp3 with other bytes between two frames in its middle."""
    frames = frames_of(data)
    at = frames[len(frames) // 2].start
    return data[:at] + piece + data[at:]


def antiphase(file_format: str, right: float = -1.0, rate: int = 44_100) -> bytes:
    """A file whose right channel is the left one times `right`."""
    return by_sndfile(file_format, samples=music(rate=rate) * np.float32([1, right]), rate=rate)


def without_total(flac: bytes) -> bytes:
    """A flac that was written as a stream: STREAMINFO says 0 samples, which means unknown."""
    return flac[:21] + bytes((flac[21] & 0xF0, 0, 0, 0, 0)) + flac[26:]


SURROUND = np.concatenate([music(rate=96_000, channels=1), np.zeros((288_000, 5), np.float32)], axis=1)
OGG = lambda rate=44_100: by_sndfile("OGG", rate=rate)  # noqa: E731
OPUS = lambda: by_sndfile("OGG", "OPUS", rate=48_000)  # noqa: E731

FAMILIAR = {
    "vbr mp3 without a header, quiet start": Recipe(lambda: bare_vbr_mp3(True), 8),
    "vbr mp3 without a header, loud start": Recipe(lambda: bare_vbr_mp3(False), 8, "ffmpeg"),
    "mp3": Recipe(mp3, decoder="sndfile"),
    "vbr mp3": Recipe(lambda: by_sndfile("MP3"), decoder="sndfile"),
    "two mp3s": Recipe(lambda: 2 * by_sndfile("MP3"), 6, "ffmpeg"),
    "mp3, 22,050 Hz": Recipe(lambda: mp3(rate=22_050, bitrate=64), decoder="sndfile"),
    "two mp3s of two rates": Recipe(lambda: mp3() + mp3(rate=22_050, bitrate=64), 6, "ffmpeg"),
    "mp3, ID3 tag shorter than what follows": Recipe(lambda: id3(bytes(50)) + bytes(400) + mp3(), decoder="ffmpeg"),
    "mp3, 200 kB before it": Recipe(lambda: noise(200_000) + mp3(), decoder="ffmpeg"),
    "mp3, 3 MB of cover art": Recipe(lambda: id3(b"APIC" + noise(3_000_000)) + mp3(), decoder="sndfile"),
    "mp3, lyrics and tag behind it": Recipe(
        lambda: mp3() + b"LYRICSBEGIN" + b"la " * 500 + b"TAG" + bytes(125), decoder="sndfile"
    ),
    "ogg": Recipe(OGG, decoder="sndfile"),
    "ogg, 22,050 Hz": Recipe(lambda: OGG(22_050), decoder="sndfile"),
    "chained ogg": Recipe(lambda: 2 * OGG(), 6, "ffmpeg"),
    "chained ogg of two rates": Recipe(lambda: OGG() + OGG(22_050), 6, "ffmpeg"),
    "wav": Recipe(lambda: by_sndfile("WAV"), decoder="sndfile"),
    "wav that says 0 bytes": Recipe(lambda: wav_of_size(0), decoder="ffmpeg"),
    "wav that says 2^32 - 1 bytes": Recipe(lambda: wav_of_size(0xFFFFFFFF), decoder="ffmpeg"),
    "wav, 95% there": Recipe(lambda: cut(by_sndfile("WAV"), 0.95), 2.85, "sndfile", ("truncated",)),
    "aac under the name mp3": Recipe(lambda: by_ffmpeg("aac", "adts"), decoder="ffmpeg"),
    "aac in m4a": Recipe(lambda: by_ffmpeg("aac", "mp4"), decoder="ffmpeg"),
    "alac in m4a": Recipe(lambda: by_ffmpeg("alac", "mp4"), decoder="ffmpeg"),
    "wma": Recipe(lambda: by_ffmpeg("wmav2", "asf"), decoder="ffmpeg"),
    "mp3 in wav": Recipe(lambda: by_ffmpeg("libmp3lame", "wav"), decoder="ffmpeg"),
    "antiphase flac": Recipe(lambda: antiphase("FLAC"), decoder="sndfile", flags=("antiphase",)),
    "5.1 channels at 96,000 Hz": Recipe(lambda: by_sndfile("FLAC", samples=SURROUND, rate=96_000), decoder="sndfile"),
}
"""The kinds of oddity that people have reported."""

VARIANTS = {
    "three mp3s": Recipe(lambda: mp3() + mp3(2.0) + mp3(1.0), 6, "ffmpeg"),
    "two mp3s, mono after stereo": Recipe(lambda: mp3() + render_mp3(music(), 44_100, 1, 64), 6, "ffmpeg"),
    "two mp3s without headers": Recipe(lambda: 2 * bare_vbr_mp3(True, 3.0), 6),
    "two mp3s with tags": Recipe(lambda: 2 * (id3(bytes(300)) + mp3() + b"TAG" + bytes(125)), 6, "ffmpeg"),
    "mp3 without a header, one bit rate": Recipe(lambda: mp3()[frames_of(mp3())[1].start :], decoder="sndfile"),
    "mp3, 8,000 Hz": Recipe(lambda: mp3(rate=8000, bitrate=16), decoder="sndfile"),
    "mp3, 48,000 Hz at 320 kb/s": Recipe(lambda: mp3(rate=48_000, bitrate=320), decoder="sndfile"),
    "mp3, two tags before it": Recipe(lambda: id3(bytes(90)) + id3(bytes(20)) + mp3(), decoder="sndfile"),
    "mp3, 3 kB of noise inside": Recipe(lambda: inserted(mp3(), noise(3000)), decoder="ffmpeg"),
    "mp3, 70 kB of zeros inside": Recipe(lambda: inserted(mp3(), bytes(70_000)), decoder="ffmpeg"),
    "mp3, 95% there": Recipe(lambda: cut(mp3(), 0.95), 2.85, "sndfile", ("truncated",)),
    "mp2": Recipe(lambda: by_ffmpeg("mp2", "mp2")),
    "mp2, 48,000 Hz mono": Recipe(lambda: by_ffmpeg("mp2", "mp2", 48_000, channels=1)),
    "three chained oggs of three rates": Recipe(lambda: OGG() + OGG(48_000) + OGG(8000), 9, "ffmpeg"),
    "chained opus": Recipe(lambda: 3 * OPUS(), 9, "ffmpeg"),
    "opus after vorbis": Recipe(lambda: OGG() + OPUS(), 6, "ffmpeg"),
    "opus": Recipe(OPUS, decoder="sndfile"),
    "ogg cut off": Recipe(lambda: cut(by_sndfile("OGG", samples=music(9.0))), 4.9, "sndfile", ("truncated",)),
    "flac in ogg": Recipe(lambda: by_ffmpeg("flac", "ogg")),
    "three wavs": Recipe(lambda: 3 * by_sndfile("WAV"), 9, "ffmpeg"),
    "wav that says 2^31 - 1 bytes": Recipe(lambda: wav_of_size(0x7FFFFFFF), decoder="ffmpeg"),
    "wav that says a third of its bytes": Recipe(lambda: wav_of_size(176_400), decoder="ffmpeg"),
    "wav, float": Recipe(lambda: by_sndfile("WAV", "FLOAT"), decoder="sndfile"),
    "wav, ADPCM": Recipe(lambda: by_sndfile("WAV", "MS_ADPCM"), decoder="sndfile"),
    "wav, mu-law, 8000 Hz": Recipe(lambda: by_sndfile("WAV", "ULAW", rate=8000), decoder="sndfile"),
    "wav, 24 bits at 96,000 Hz": Recipe(lambda: by_sndfile("WAV", "PCM_24", rate=96_000), decoder="sndfile"),
    "rf64": Recipe(lambda: by_sndfile("RF64"), decoder="sndfile"),
    "w64": Recipe(lambda: by_sndfile("W64"), decoder="sndfile"),
    "ac3 in wav": Recipe(lambda: by_ffmpeg("ac3", "wav"), decoder="ffmpeg"),
    "aiff": Recipe(lambda: by_sndfile("AIFF"), decoder="sndfile"),
    "aiff, 95% there": Recipe(lambda: cut(by_sndfile("AIFF"), 0.95), 2.85, "sndfile", ("truncated",)),
    "au, 95% there": Recipe(lambda: cut(by_sndfile("AU"), 0.95), 2.85, "sndfile", ("truncated",)),
    "caf": Recipe(lambda: by_sndfile("CAF"), decoder="sndfile"),
    "alac in caf": Recipe(lambda: by_ffmpeg("alac", "caf"), decoder="ffmpeg"),
    "two flacs": Recipe(lambda: 2 * by_sndfile("FLAC"), 6, "ffmpeg"),
    "two flacs, each of a whole block": Recipe(
        lambda: 2 * by_sndfile("FLAC", samples=music((1 << 18) / 44_100)), (1 << 19) / 44_100, "ffmpeg"
    ),
    "flac written as a stream": Recipe(lambda: without_total(by_sndfile("FLAC"))),
    "flac behind an ID3 tag": Recipe(lambda: id3(bytes(99)) + by_sndfile("FLAC"), decoder="sndfile"),
    "aac, 16,000 Hz": Recipe(lambda: by_ffmpeg("aac", "adts", 16_000), decoder="ffmpeg"),
    "two aacs": Recipe(lambda: 2 * by_ffmpeg("aac", "adts"), 6, "ffmpeg"),
    "aac in m4a, 48,000 Hz mono": Recipe(lambda: by_ffmpeg("aac", "mp4", 48_000, channels=1), decoder="ffmpeg"),
    "m4a in pieces": Recipe(lambda: by_ffmpeg("aac", "mp4", movflags="frag_keyframe+empty_moov"), decoder="ffmpeg"),
    "aac in m4a, 22,050 Hz": Recipe(lambda: by_ffmpeg("aac", "mp4", 22_050), decoder="ffmpeg"),
    "two m4as": Recipe(lambda: 2 * by_ffmpeg("aac", "mp4"), 6, "ffmpeg"),
    "alac in m4a, 96,000 Hz": Recipe(lambda: by_ffmpeg("alac", "mp4", 96_000), decoder="ffmpeg"),
    "mp3 in mp4": Recipe(lambda: by_ffmpeg("libmp3lame", "mp4"), decoder="ffmpeg"),
    "wma 1, 22,050 Hz mono": Recipe(lambda: by_ffmpeg("wmav1", "asf", 22_050, channels=1), decoder="ffmpeg"),
    "two wmas": Recipe(lambda: 2 * by_ffmpeg("wmav2", "asf"), 6, "ffmpeg"),
    "opus in webm": Recipe(lambda: by_ffmpeg("libopus", "webm", 48_000), decoder="ffmpeg"),
    "flac in matroska": Recipe(lambda: by_ffmpeg("flac", "matroska"), decoder="ffmpeg"),
    "ac3": Recipe(lambda: by_ffmpeg("ac3", "ac3", 48_000), decoder="ffmpeg"),
    "wavpack": Recipe(lambda: by_ffmpeg("wavpack", "wv"), decoder="ffmpeg"),
    "tta": Recipe(lambda: by_ffmpeg("tta", "tta"), decoder="ffmpeg"),
    "antiphase mp3": Recipe(lambda: antiphase("MP3"), decoder="sndfile", flags=("antiphase",)),
    "antiphase, left louder": Recipe(lambda: antiphase("WAV", -0.85), decoder="sndfile", flags=("antiphase",)),
    "side louder than middle": Recipe(lambda: antiphase("WAV", -0.7), decoder="sndfile"),
}
"""The same kinds in other rates, lengths and codecs."""
