"""How audio is cut into frames: the settings that every frame feature shares, and the frames themselves."""

from dataclasses import dataclass

import numpy as np

# FMA's features.py passes the sample rate to zcr, cqt and mel only; every other feature takes librosa's default, so the
# published columns (most clips are 44.1 kHz) are in units of this rate. We keep that: at 22,050 Hz both are the same.
ASSUMED_RATE = 22_050


@dataclass(frozen=True, slots=True)
class Framing:
    """Sample rate (Hz), FFT length (even) and hop, both in samples; `transforms.config.validate` checks them."""

    sample_rate: int = 22_050
    n_fft: int = 2048
    hop_length: int = 512

    def n_frames(self, n_samples: int) -> int:
        """Frames centred on samples 0, hop, 2 hop, ... up to and with n_samples."""
        return 1 + n_samples // self.hop_length


def centred_frames(samples: np.ndarray, length: int, hop: int) -> np.ndarray:
    """Frames of zero-padded audio, each centred on a multiple of `hop`.

    Returns:
      view [1 + n // hop, length] of a padded copy of `samples` [n]; the rows overlap in memory.
    """
    padded = np.zeros(len(samples) + length, samples.dtype)
    padded[length // 2 : length // 2 + len(samples)] = samples
    return np.lib.stride_tricks.sliding_window_view(padded, length)[: len(samples) + 1 : hop]
