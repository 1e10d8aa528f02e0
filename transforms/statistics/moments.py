"""Seven moments of each frame feature over a track."""

import numpy as np

from transforms.statistics.columns import FEATURE_SIZES, FRAME_COLUMNS, MOMENTS

BLOCK_VALUES = 1 << 18
# A feature whose standard deviation is below this share of its mean is constant but for rounding: no shape to speak of.
CONSTANT_BELOW = 1e-6


def statistics(frames: np.ndarray) -> np.ndarray:
    """Moments of frame features in the order of `COLUMNS`.

    Args:
      frames: float32 [frames, 74], at least one frame.

    Returns:
      float32 [518].
    """
    columns = max(1, BLOCK_VALUES // len(frames))
    blocks = [moments(frames[:, start : start + columns]) for start in range(0, frames.shape[1], columns)]
    table = np.concatenate(blocks, axis=1)
    return np.concatenate([table[:, FRAME_COLUMNS[name]].ravel() for name in FEATURE_SIZES]).astype(np.float32)


def moments(frames: np.ndarray) -> np.ndarray:
    """Kurtosis, max, mean, median, min, skew, std of each column, as numpy and scipy.stats (biased) define them.

    Skew and kurtosis (excess) of a constant column are 0, where scipy.stats gives nan: digital silence has a shape
    too, the flat one.

    Args:
      frames: float32 [frames, columns].

    Returns:
      float64 [7, columns], rows as in `MOMENTS`.
    """
    values = np.ascontiguousarray(frames.T)
    mean = values.mean(axis=1, dtype=np.float64)
    deviation = values - mean[:, np.newaxis]
    squares = deviation * deviation
    variance = squares.mean(axis=1)
    constant = np.sqrt(variance) <= CONSTANT_BELOW * np.abs(mean)
    third = np.einsum("ij,ij->i", squares, deviation) / len(frames)
    fourth = np.einsum("ij,ij->i", squares, squares) / len(frames)
    scale = np.where(constant, 1.0, variance)
    found = {
        "mean": mean,
        "std": np.sqrt(variance),
        "skew": np.where(constant, 0.0, third / scale**1.5),
        "kurtosis": np.where(constant, 0.0, fourth / scale**2 - 3),
        "median": np.median(values, axis=1),
        "min": values.min(axis=1),
        "max": values.max(axis=1),
    }
    return np.stack([found[name] for name in MOMENTS])
