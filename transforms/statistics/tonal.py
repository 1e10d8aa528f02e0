"""Chroma, CENS and tonal centroids, as in librosa 0.11; rows are frames."""

import numpy as np
import scipy.ndimage

from transforms.statistics.filters import N_CHROMA, tonal_centroids

CENS_LEVELS = (0.4, 0.2, 0.1, 0.05)
CENS_SMOOTHING = 41


def scaled(rows: np.ndarray, length: np.ndarray) -> np.ndarray:
    """Rows divided by their length [frames]; as they are where it is nothing."""
    length = np.where(length < np.finfo(rows.dtype).tiny, 1.0, length)
    return (rows / length[:, np.newaxis]).astype(rows.dtype)


def peak_scaled(rows: np.ndarray) -> np.ndarray:
    """Non-negative rows with a maximum of 1."""
    return scaled(rows, rows.max(axis=1).astype(np.float64))


def pitch_classes(constant_q: np.ndarray) -> np.ndarray:
    """Adds up the octaves of [frames, 12 * octaves]: [frames, 12], C first."""
    return constant_q.reshape(len(constant_q), -1, N_CHROMA).sum(axis=1)


def energy_normalized(chroma: np.ndarray) -> np.ndarray:
    """CENS: shares of a frame's chroma, quantized, smoothed over 41 frames, of unit length (Mueller and Ewert, 2011).

    Args:
      chroma: float32 [frames, 12], not negative.

    Returns:
      float32 [frames, 12].
    """
    shares = scaled(chroma, chroma.sum(axis=1, dtype=np.float64))
    steps = sum((shares > np.float32(level)).astype(np.float32) for level in CENS_LEVELS) / np.float32(len(CENS_LEVELS))
    window = np.hanning(CENS_SMOOTHING + 2)
    smooth = scipy.ndimage.convolve1d(steps, window / window.sum(), axis=0, mode="constant")
    return scaled(smooth, np.sqrt((smooth.astype(np.float64) ** 2).sum(axis=1)))


def tonnetz(chroma: np.ndarray) -> np.ndarray:
    """Tonal centroids (Harte et al., 2006) of chroma [frames, 12]: float64 [frames, 6]."""
    return scaled(chroma, np.abs(chroma).sum(axis=1, dtype=np.float64)) @ tonal_centroids()
