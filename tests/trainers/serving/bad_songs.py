"""Files that people send: nothing in them, text, half a song, odd rates and channels, numbers that are none."""

import struct
from pathlib import Path

import numpy as np
import soundfile

from tests.conftest import encoded, tone

RATE = 22_050


def write_bad_songs(folder: Path) -> dict[str, str]:
    """Writes one of each into a folder; returns {file name: the reason why it has no answer, or "" where it has}."""
    song, flac = tone(4, RATE), encoded(tone(4, RATE), RATE, "FLAC").getvalue()
    broken = song.copy()
    broken[5000] = np.nan
    endless = song.copy()
    endless[7000] = np.inf
    data = {
        "empty.mp3": (b"", "empty_audio"),
        "text.mp3": (b"These are words.\n" * 500, "corrupt_audio"),
        "noise.mp3": (np.random.default_rng(0).bytes(50_000), "corrupt_audio"),
        "tag.mp3": (b"ID3\x03\x00\x00\x00\x00\x00\x0a" + bytes(10), "empty_audio"),
        "cut.flac": (flac[: len(flac) // 3], "truncated_audio"),
        "cut.mp3": (encoded(song, RATE).getvalue()[:9_000], "truncated_audio"),
        "short.wav": (encoded(tone(0.5, RATE), RATE, "WAV").getvalue(), "too_short"),
        "nan.wav": (encoded(broken, RATE, "WAV", "FLOAT").getvalue(), "corrupt_audio"),
        "inf.wav": (encoded(endless, RATE, "WAV", "FLOAT").getvalue(), "corrupt_audio"),
        "huge.wav": (encoded(song.astype(np.float64) * 1e300, RATE, "WAV", "DOUBLE").getvalue(), "corrupt_audio"),
        "rate.wav": (_with_rate(encoded(song, RATE, "WAV").getvalue(), 2**31 - 1), "corrupt_audio"),
        "192k.flac": (encoded(tone(4, 192_000), 192_000, "FLAC").getvalue(), ""),
        "8-channels.wav": (encoded(tone(4, RATE, 8), RATE, "WAV").getvalue(), ""),
        "8k.wav": (encoded(tone(4, 8_000), 8_000, "WAV").getvalue(), ""),
    }
    for name, (content, _) in data.items():
        (folder / name).write_bytes(content)
    return {name: reason for name, (_, reason) in data.items()}


def _with_rate(wav: bytes, rate: int) -> bytes:
    return wav[:24] + struct.pack("<I", rate) + wav[28:]


def write_ten_hours(path: Path) -> None:
    """A wav of ten hours that takes no space: all that follows the header is a hole."""
    soundfile.write(path, np.zeros(0), 8_000, subtype="PCM_U8")
    header, size = bytearray(path.read_bytes()), 36_000 * 8_000
    at = header.index(b"data") + 4
    header[at : at + 4], header[4:8] = struct.pack("<I", size), struct.pack("<I", size + at - 4)
    with open(path, "wb") as file:
        file.write(header)
        file.truncate(at + 4 + size)
