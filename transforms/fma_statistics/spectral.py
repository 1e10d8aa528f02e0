"""Short-time spectra: frames, constant matrices, and the features of one spectrum.

The features are mel bands, energy, centroid, bandwidth, contrast, roll-off and zero crossings.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import scipy.fft

# FMA's features.py passes the sample rate to zcr, cqt and mel only; every other feature takes librosa's default, so the
# published columns (most clips are 44.1 kHz) are in units of this rate. We keep that: at 22,050 Hz both are the same.
ASSUMED_RATE = 22_050

N_CHROMA = 12
CHUNK = 64
ROLL_PERCENT = 0.85
CONTRAST_BANDS = 6
CONTRAST_FMIN = 200.0
CONTRAST_QUANTILE = 0.02


@dataclass(frozen=True, slots=True)
class Framing:
    """Sample rate (Hz), FFT length (even) and hop, both in samples; `transforms.config.validate` checks them."""

    sample_rate: int = 22_050
    n_fft: int = 2048
    hop_length: int = 512

    def n_frames(self, n_samples: int) -> int:
        """Return frames centred on samples 0, hop, 2 hop, ... up to and with n_samples."""
        return 1 + n_samples // self.hop_length


def centred_frames(samples: np.ndarray, length: int, hop: int) -> np.ndarray:
    """Cut zero-padded audio into frames, each centred on a multiple of `hop`.

    Returns:
      view [1 + n // hop, length] of a padded copy of `samples` [n]; the rows overlap in memory.
    """
    padded = np.zeros(len(samples) + length, samples.dtype)
    padded[length // 2 : length // 2 + len(samples)] = samples
    return np.lib.stride_tricks.sliding_window_view(padded, length)[: len(samples) + 1 : hop]


def periodic_hann(length: int) -> np.ndarray:
    """Return the periodic Hann window, float64 [length]: w[n] = (1 - cos(2 pi n / length)) / 2."""
    return 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(length) / length)


@lru_cache(maxsize=128)
def chroma_filters(sample_rate: int, n_fft: int, tuning: float) -> np.ndarray:
    """Return the weights of each FFT bin in the 12 pitch classes, C first (D. Ellis, chroma feature analysis, 2007).

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
    """Return the orthonormal DCT-II as a matrix: float32 [n_in, n_out]."""
    angles = np.pi / n_in * np.outer(np.arange(n_in) + 0.5, np.arange(n_out))
    matrix = np.cos(angles) * np.sqrt(2 / n_in)
    matrix[:, 0] /= np.sqrt(2)
    return matrix.astype(np.float32)


def tonal_centroids() -> np.ndarray:
    """Return the matrix from chroma to coordinates on the circles of fifths, minor and major thirds: float64 [12, 6]
    (Harte et al., 2006).
    """
    turns = np.array([7 / 6, 3 / 2, 2 / 3])  # of pi, for a semitone
    radius = np.array([1.0, 1.0, 0.5])
    angles = np.pi * np.outer(np.arange(N_CHROMA), turns)
    matrix = np.empty((N_CHROMA, 6))
    matrix[:, 0::2] = radius * np.sin(angles)
    matrix[:, 1::2] = radius * np.cos(angles)
    return matrix


def zero_crossing_rate(samples: np.ndarray, framing: Framing) -> np.ndarray:
    """Return the share of the samples of each centred frame of n_fft at which the sign changes.

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


def magnitudes(samples: np.ndarray, framing: Framing) -> Iterator[tuple[slice, np.ndarray]]:
    """Compute the magnitudes of short-time spectra of float32 audio [n], in chunks of frames.

    The transform is in float64, as in librosa: the spectral contrast depends on quiet bands of loud frames, where
    float32 has noise of its own. It costs 15% more.

    Yields:
      (rows of the chunk, float32 [rows, n_fft // 2 + 1]).
    """
    window = periodic_hann(framing.n_fft)
    frames = centred_frames(samples, framing.n_fft, framing.hop_length)
    for start in range(0, len(frames), CHUNK):
        spectrum = scipy.fft.rfft(frames[start : start + CHUNK] * window, axis=1)
        yield slice(start, start + len(spectrum)), np.abs(spectrum.astype(np.complex64))


def root_mean_square(power: np.ndarray) -> np.ndarray:
    """Return each windowed frame's root mean square by Parseval's theorem: power [frames, bins] to float32 [frames]."""
    n_fft = 2 * (power.shape[1] - 1)
    total = power.sum(axis=1) - (power[:, 0] + power[:, -1]) / 2
    return np.sqrt(2 * total / np.float32(n_fft) ** 2)


def centroid_and_bandwidth(magnitude: np.ndarray, powers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean and standard deviation of frequency, weighted by magnitude; both 0 where a frame is silent.

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
    """Return the columns 1, f, f squared of frequencies [bins]: float64 [bins, 3]."""
    return frequencies[:, np.newaxis] ** np.arange(3)


def rolloff_bin(magnitude: np.ndarray) -> np.ndarray:
    """Return the first bin by which 85% of a frame's magnitude is reached: int [frames]."""
    reached = np.cumsum(magnitude, axis=1)
    return np.count_nonzero(reached < np.float32(ROLL_PERCENT) * reached[:, -1:], axis=1)


def contrast_bands(frequencies: np.ndarray) -> list[tuple[slice, int]]:
    """Return octave bands from 200 Hz and one below, as (bins, number of them that make a peak or a valley).

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
    """Return the means of the loudest and of the quietest bins of each band: float32 [2, frames, bands]."""
    found = np.empty((2, len(magnitude), len(bands)), np.float32)
    for k, (bins, ends) in enumerate(bands):
        ordered = np.sort(magnitude[:, bins], axis=1)
        np.add.reduce(ordered[:, -ends:], axis=1, out=found[0, :, k])
        np.add.reduce(ordered[:, :ends], axis=1, out=found[1, :, k])
    return found / np.array([ends for _, ends in bands], np.float32)


def decibels(power: np.ndarray) -> np.ndarray:
    """Return 10 log10 with a floor of 1e-10, clipped to 80 dB below the maximum of the whole array."""
    level = 10 * np.log10(np.maximum(power, power.dtype.type(1e-10)))
    return np.maximum(level, level.max() - 80)


def mel_cepstrum(mel_power: np.ndarray, cosines: np.ndarray) -> np.ndarray:
    """Compute the cosine transform of log-mel levels.

    Args:
      mel_power: float32 [frames, bands], of the whole segment.
      cosines: float32 [bands, coefficients], see `cosine_transform`.

    Returns:
      float32 [frames, coefficients].
    """
    level = decibels(mel_power)
    # A constant only moves the first coefficient: without it silence is exactly 0 in the others.
    floor = level.min()
    cepstrum = (level - floor) @ cosines
    cepstrum[:, 0] += floor * np.float32(np.sqrt(len(cosines)))
    return cepstrum
