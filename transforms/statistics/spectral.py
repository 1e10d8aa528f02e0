"""Features of one short-time spectrum: mel bands, energy, centroid, bandwidth, contrast, roll-off.

Each function takes float32 magnitudes [frames, n_fft // 2 + 1], a chunk of frames that stays in the cache, and follows
the function of the same name in librosa 0.11. Frequencies are in Hz at `ASSUMED_RATE`, see framing.py.
"""

from collections.abc import Iterator

import numpy as np
import scipy.fft

from transforms.statistics.filters import periodic_hann
from transforms.statistics.framing import Framing, centred_frames

CHUNK = 64
ROLL_PERCENT = 0.85
CONTRAST_BANDS = 6
CONTRAST_FMIN = 200.0
CONTRAST_QUANTILE = 0.02


def magnitudes(samples: np.ndarray, framing: Framing) -> Iterator[tuple[slice, np.ndarray]]:
    """Short-time spectra of float32 audio [n], in chunks of frames.

    The transform is in float64, as in librosa: quiet bands of loud frames set the spectral contrast, and float32 would
    put its own noise there. It costs 15% more.

    Yields:
      (rows of the chunk, float32 [rows, n_fft // 2 + 1]).
    """
    window = periodic_hann(framing.n_fft)
    frames = centred_frames(samples, framing.n_fft, framing.hop_length)
    for start in range(0, len(frames), CHUNK):
        spectrum = scipy.fft.rfft(frames[start : start + CHUNK] * window, axis=1)
        yield slice(start, start + len(spectrum)), np.abs(spectrum.astype(np.complex64))


def root_mean_square(power: np.ndarray) -> np.ndarray:
    """Root mean square of each windowed frame by Parseval's theorem, from power [frames, bins]: float32 [frames]."""
    n_fft = 2 * (power.shape[1] - 1)
    total = power.sum(axis=1) - (power[:, 0] + power[:, -1]) / 2
    return np.sqrt(2 * total / np.float32(n_fft) ** 2)


def centroid_and_bandwidth(magnitude: np.ndarray, powers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of frequency, weighted by magnitude; both 0 where a frame is silent.

    Args:
      powers: float64 [bins, 3], 1, f and f squared; in float64 the variance is safe as a difference of moments.

    Returns:
      float64 [frames] and [frames].
    """
    total, first, second = (magnitude.astype(np.float64) @ powers).T
    total = np.where(total > np.finfo(np.float32).tiny, total, 1.0)
    centroid = first / total
    return centroid, np.sqrt(np.maximum(second / total - centroid**2, 0.0))


def frequency_powers(frequencies: np.ndarray) -> np.ndarray:
    """[bins] to the columns 1, f, f squared: float64 [bins, 3]."""
    return frequencies[:, np.newaxis] ** np.arange(3)


def rolloff_bin(magnitude: np.ndarray) -> np.ndarray:
    """First bin by which 85% of a frame's magnitude is reached: int [frames]."""
    reached = np.cumsum(magnitude, axis=1)
    return np.count_nonzero(reached < np.float32(ROLL_PERCENT) * reached[:, -1:], axis=1)


def contrast_bands(frequencies: np.ndarray) -> list[tuple[slice, int]]:
    """Octave bands from 200 Hz and what lies below, as (bins, how many of them make a peak or a valley).

    As in librosa, a band takes in one bin below it and leaves its last one to the next, except the highest, which runs
    to Nyquist; a peak is the mean of the loudest 2% of its bins, at least one.
    """
    edges = np.append(0.0, CONTRAST_FMIN * 2.0 ** np.arange(CONTRAST_BANDS + 1))
    bands = []
    for k in range(CONTRAST_BANDS + 1):
        inside = np.flatnonzero((frequencies >= edges[k]) & (frequencies <= edges[k + 1]))
        first = inside[0] - (k > 0)
        last = len(frequencies) if k == CONTRAST_BANDS else inside[-1] + 1
        ends = max(1, int(np.rint(CONTRAST_QUANTILE * (last - first))))
        bands.append((slice(first, last if k == CONTRAST_BANDS else max(last - 1, first + 1)), ends))
    return bands


def peaks_and_valleys(magnitude: np.ndarray, bands: list[tuple[slice, int]]) -> np.ndarray:
    """Mean of the loudest and of the quietest bins of each band: float32 [2, frames, bands]."""
    found = np.empty((2, len(magnitude), len(bands)), np.float32)
    for k, (bins, ends) in enumerate(bands):
        ordered = np.sort(magnitude[:, bins], axis=1)
        np.add.reduce(ordered[:, -ends:], axis=1, out=found[0, :, k])
        np.add.reduce(ordered[:, :ends], axis=1, out=found[1, :, k])
    return found / np.array([ends for _, ends in bands], np.float32)


def decibels(power: np.ndarray) -> np.ndarray:
    """10 log10 with a floor of 1e-10, cut 80 dB below the maximum of the whole array."""
    level = 10 * np.log10(np.maximum(power, power.dtype.type(1e-10)))
    return np.maximum(level, level.max() - 80)


def mel_cepstrum(mel_power: np.ndarray, cosines: np.ndarray) -> np.ndarray:
    """Cosine transform of log-mel levels.

    Args:
      mel_power: float32 [frames, bands], of the whole segment.
      cosines: float32 [bands, coefficients], see `filters.cosine_transform`.

    Returns:
      float32 [frames, coefficients].
    """
    level = decibels(mel_power)
    # A constant only moves the first coefficient: without it silence is exactly 0 in the others.
    floor = level.min()
    cepstrum = (level - floor) @ cosines
    cepstrum[:, 0] += floor * np.float32(np.sqrt(len(cosines)))
    return cepstrum
