"""Zero-crossing rate."""

import numpy as np

from transforms.statistics.framing import Framing


def zero_crossing_rate(samples: np.ndarray, framing: Framing) -> np.ndarray:
    """Share of the samples of each centred frame of n_fft at which the sign changes.

    Samples above -1e-10 count as positive; the frame's own first sample is no crossing; there are none outside the
    signal. One pass over the signal, where frames would look at each sample n_fft / hop times.

    Returns:
      float64 [1 + n // hop_length].
    """
    negative = samples < np.float32(-1e-10)
    crossings = 1 + np.flatnonzero(negative[1:] != negative[:-1])
    starts = np.arange(framing.n_frames(len(samples))) * framing.hop_length - framing.n_fft // 2
    inside = np.searchsorted(crossings, starts + framing.n_fft) - np.searchsorted(crossings, starts, side="right")
    return inside / framing.n_fft
