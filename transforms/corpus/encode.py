"""Samples to the bytes of an mp3 file, through libsndfile's LAME."""

import io
import os
from typing import Any

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from transforms.corpus.options import bitrate_range
from transforms.corpus.voices import SAMPLE_RATE
from transforms.errors import FmaError


def encode_mp3(samples: NDArray[np.float32], sample_rate: int, channels: int, bitrate: int) -> bytes:
    """An mp3 file with a constant bit rate.

    Args:
      samples: [n, 2] float32 at 44.1 kHz.
      sample_rate: of the file, Hz; another one than 44.1 kHz is resampled to.
      channels: 1 for the mean of both, 2.
      bitrate: kb/s, one that `transforms.corpus.options.fit_bitrate` returns.

    Raises:
      FmaError: libsndfile has no LAME, or no room.
    """
    if channels == 1:
        samples = samples.mean(axis=1, keepdims=True)
    if sample_rate != SAMPLE_RATE:
        samples = soxr.resample(samples, SAMPLE_RATE, sample_rate, "HQ")
    try:
        return _encode(np.clip(samples, -1, 1), sample_rate, bitrate)
    except soundfile.LibsndfileError as error:
        raise FmaError(f"libsndfile writes no mp3 here ({error.error_string}): soundfile's own wheels can") from error


def _encode(samples: NDArray[np.float32], sample_rate: int, bitrate: int) -> bytes:
    options: dict[str, Any] = {
        "format": "MP3",
        "subtype": "MPEG_LAYER_III",
        "compression_level": _compression_level(bitrate, sample_rate),
        "bitrate_mode": "CONSTANT",
    }
    if not hasattr(os, "memfd_create"):
        file = io.BytesIO()
        soundfile.write(file, samples, sample_rate, **options)
        return file.getvalue()
    # A file in memory, where there is such a thing: LAME's thousand small writes then need not wait for Python's lock.
    with open(os.memfd_create("mp3"), "w+b") as memory:
        soundfile.write(memory.fileno(), samples, sample_rate, closefd=False, **options)
        memory.seek(0)
        return memory.read()


def _compression_level(bitrate: int, sample_rate: int) -> float:
    """What libsndfile turns into that bit rate: the whole part of a line from the highest (0) to the lowest (1).

    So in mpeg_l3_encode.c of libsndfile 1.1 and later; aiming half a kb/s higher keeps the whole part where it belongs.
    """
    lowest, highest = bitrate_range(sample_rate)
    return max(0.0, (highest - bitrate - 0.5) / (highest - lowest))
