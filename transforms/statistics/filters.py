"""Constant matrices: window, chroma bands, cosine transform, tonal centroids.

They are rebuilt here rather than taken from librosa, whose import costs a worker a second and 100 MB; the tests hold
them to librosa's.
"""

from functools import lru_cache

import numpy as np

N_CHROMA = 12


def periodic_hann(length: int) -> np.ndarray:
    """Hann window for spectra: float64 [length], w[n] = (1 - cos(2 pi n / length)) / 2."""
    return 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(length) / length)


@lru_cache(maxsize=128)
def chroma_filters(sample_rate: int, n_fft: int, tuning: float) -> np.ndarray:
    """Weights of each FFT bin in the 12 pitch classes, C first (D. Ellis, chroma feature analysis, 2007).

    A bin belongs to the classes around its pitch by a Gaussian, at least a semitone wide; a bin's weights have unit
    length, times a Gaussian over octaves around the fifth, two octaves wide.

    Args:
      tuning: deviation from A440 in semitones.

    Returns:
      float32 [n_fft // 2 + 1, 12], so that power [frames, bins] @ filters is the chroma.
    """
    bins = np.arange(1, n_fft) * (sample_rate / n_fft)
    pitch = N_CHROMA * np.log2(bins / (27.5 * 2 ** (tuning / N_CHROMA)))
    pitch = np.concatenate([pitch[:1] - 1.5 * N_CHROMA, pitch])  # the 0 Hz bin: far below the first, half a turn off
    width = np.append(np.maximum(np.diff(pitch), 1.0), 1.0)
    away = pitch[:, np.newaxis] - np.arange(N_CHROMA)
    distance = (away + N_CHROMA / 2) % N_CHROMA - N_CHROMA / 2
    weights = np.exp(-0.5 * (2 * distance / width[:, np.newaxis]) ** 2)
    weights /= np.sqrt((weights**2).sum(axis=1, keepdims=True))
    weights *= np.exp(-0.5 * ((pitch / N_CHROMA - 5) / 2) ** 2)[:, np.newaxis]
    return np.roll(weights, -3, axis=1)[: n_fft // 2 + 1].astype(np.float32)  # from A first to C first


def cosine_transform(n_out: int, n_in: int) -> np.ndarray:
    """Orthonormal DCT-II as a matrix: float32 [n_in, n_out]."""
    angles = np.pi / n_in * np.outer(np.arange(n_in) + 0.5, np.arange(n_out))
    matrix = np.cos(angles) * np.sqrt(2 / n_in)
    matrix[:, 0] /= np.sqrt(2)
    return matrix.astype(np.float32)


def tonal_centroids() -> np.ndarray:
    """Chroma to coordinates on the circles of fifths, minor and major thirds: float64 [12, 6] (Harte et al., 2006)."""
    turns = np.array([7 / 6, 3 / 2, 2 / 3])  # of pi, for a semitone
    radius = np.array([1.0, 1.0, 0.5])
    angles = np.pi * np.outer(np.arange(N_CHROMA), turns)
    matrix = np.empty((N_CHROMA, 6))
    matrix[:, 0::2] = radius * np.sin(angles)
    matrix[:, 1::2] = radius * np.cos(angles)
    return matrix
