"""Mp3 files, which libsndfile writes with LAME."""

import tempfile
from typing import Any

import numpy as np

from transforms.errors import FmaError

# Bit rates of MPEG-1 layer III (32 kHz and up), kb/s: ISO/IEC 11172-3, table of bit_rate_index.
BITRATES = (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)
# Bit rates of MPEG-2 (16 to 24 kHz; ISO/IEC 13818-3) and of its 8 to 12 kHz extension, which LAME writes up to 64.
LOW_RATE_BITRATES = (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)
SAMPLE_RATES = (8_000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000)


def fit_bitrate(bitrate: int, sample_rate: int) -> int:
    """Return the highest constant bit rate of MPEG layer III at a sample rate (Hz) up to the wanted one, kb/s."""
    rates = BITRATES if sample_rate >= 32_000 else LOW_RATE_BITRATES
    return max(rate for rate in rates if rate <= min(bitrate, _bitrate_range(sample_rate)[1]))


def _bitrate_range(sample_rate: int) -> tuple[int, int]:
    """Return the lowest and highest bit rate, kb/s, that libsndfile and LAME write at a sample rate in Hz."""
    if sample_rate >= 32_000:
        return 32, 320
    return (8, 160) if sample_rate >= 16_000 else (8, 64)


def encode_mp3(samples: np.ndarray, sample_rate: int, bitrate: int) -> bytes:
    """Encode an mp3 file with a constant bit rate.

    Args:
      samples: float32 [n, 1 or 2]; what is beyond [-1, 1] is clipped.
      sample_rate: Hz, one of `SAMPLE_RATES`.
      bitrate: kb/s, as `fit_bitrate` returns it.

    Raises:
      FmaError: libsndfile cannot write mp3 here.
    """
    import soundfile

    try:
        return _encode(np.clip(samples, -1, 1), sample_rate, bitrate)
    except soundfile.LibsndfileError as error:
        raise FmaError(f"libsndfile writes no mp3 here ({error.error_string}): soundfile's own wheels can") from error


def _encode(samples: np.ndarray, sample_rate: int, bitrate: int) -> bytes:
    import soundfile

    lowest, highest = _bitrate_range(sample_rate)
    options: dict[str, Any] = {
        "format": "MP3",
        "subtype": "MPEG_LAYER_III",
        # libsndfile 1.1 and later (mpeg_l3_encode.c) interpolates from the highest rate (0) to the lowest (1) and
        # truncates; half a kb/s more keeps the truncated value right.
        "compression_level": max(0.0, (highest - bitrate - 0.5) / (highest - lowest)),
        "bitrate_mode": "CONSTANT",
    }
    # A file, not a BytesIO: LAME's many small writes then need not wait for Python's lock.
    with tempfile.TemporaryFile() as file:
        try:
            soundfile.write(file.fileno(), samples, sample_rate, closefd=False, **options)
        except soundfile.LibsndfileError:
            file.write(bytes(1 << 16))  # a full disk is a "System error." of libsndfile's, and an OSError here
            file.flush()
            raise
        file.seek(0)
        return file.read()
