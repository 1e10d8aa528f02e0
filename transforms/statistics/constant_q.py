"""Constant-Q magnitudes: 12 bins an octave from C1, as librosa's `cqt(y, n_bins=84, tuning=...)`.

The top octave is filtered at the full rate; each lower one is the same 12 filters after halving the rate again
(Schoerkhuber and Klapuri, 2010). librosa multiplies the spectrum of each 256-sample frame by the spectra of the
filters, less their smallest 1%. The frame has no window, so that is an inner product in time: here the same filters,
transformed back once for each tuning, are one small matrix for all octaves, and no transform is needed at all.
"""

from functools import lru_cache

import numpy as np
import soxr

from transforms.statistics.filters import periodic_hann
from transforms.statistics.framing import Framing, centred_frames

BINS_PER_OCTAVE = 12
MAX_OCTAVES = 7
C1 = 440.0 * 2 ** (-45 / 12)
SPARSITY = 0.01
# Bandwidth of a filter over its frequency: neighbours but one touch (librosa's `_relative_bandwidth`).
ALPHA = (2 ** (2 / BINS_PER_OCTAVE) - 1) / (2 ** (2 / BINS_PER_OCTAVE) + 1)
HANN_BANDWIDTH = 1.5
CHUNK_VALUES = 1 << 18


def octave_count(sample_rate: int) -> int:
    """Octaves that fit below Nyquist at any tuning: 7 from 8,486 Hz, 6 below (FMA's own script fails there)."""
    highest = C1 * 2 ** ((BINS_PER_OCTAVE - 0.5) / BINS_PER_OCTAVE) * (1 + 0.5 * HANN_BANDWIDTH * ALPHA)
    return min(MAX_OCTAVES, 1 + int(np.floor(np.log2(sample_rate / 2 / highest))))


def constant_q(samples: np.ndarray, framing: Framing, tuning: float) -> np.ndarray:
    """Magnitudes of float32 audio [n] at `tuning` semitones from A440.

    Returns:
      float32 [frames, 12 * octaves], lowest pitch first; frames = 1 + n // hop_length.
    """
    octaves = octave_count(framing.sample_rate)
    lowest = C1 * 2 ** (tuning / BINS_PER_OCTAVE + octaves - 1)
    n_frames = framing.n_frames(len(samples))
    rate, hop = float(framing.sample_rate), framing.hop_length
    halvings = early_halvings(rate, hop, lowest, octaves)
    if halvings:
        samples, rate, hop = decimate(samples, 2**halvings), rate / 2**halvings, hop // 2**halvings
    result = np.zeros((n_frames, octaves * BINS_PER_OCTAVE), np.float32)
    for octave in reversed(range(octaves)):
        response = filter_octave(samples, hop, filters_in_time(lowest / rate))[:n_frames]
        result[: len(response), octave * BINS_PER_OCTAVE : (octave + 1) * BINS_PER_OCTAVE] = response
        lowest /= 2
        if octave and hop % 2 == 0:
            samples, rate, hop = decimate(samples, 2), rate / 2, hop // 2
    return result


def early_halvings(rate: float, hop: int, lowest: float, octaves: int) -> int:
    """How often the rate can be halved before the top octave, as librosa counts it."""
    cutoff = lowest * 2 ** ((BINS_PER_OCTAVE - 1) / BINS_PER_OCTAVE) * (1 + 0.5 * HANN_BANDWIDTH * ALPHA)
    spare = int(np.ceil(np.log2(rate / 2 / cutoff))) - 2
    twos = (hop & -hop).bit_length() - 1
    return max(0, min(spare, twos - octaves + 1))


def decimate(samples: np.ndarray, factor: int) -> np.ndarray:
    """Every `factor`-th sample after a low-pass, scaled to the same energy: float32 [ceil(n / factor)]."""
    size = -(-len(samples) // factor)
    kept = np.zeros(size, np.float32)
    resampled = soxr.resample(samples, factor, 1, quality="HQ")[:size]
    kept[: len(resampled)] = resampled * np.float32(np.sqrt(factor))
    return kept


def filter_octave(samples: np.ndarray, hop: int, filters: np.ndarray) -> np.ndarray:
    """Magnitudes of 12 complex filters [length, 24] on float32 audio [n]: float32 [1 + n // hop, 12]."""
    length = len(filters)
    frames = centred_frames(samples, length, hop)
    response = np.empty((len(frames), 2 * BINS_PER_OCTAVE), np.float32)
    chunk = max(1, CHUNK_VALUES // length)
    for start in range(0, len(frames), chunk):
        # A contiguous copy: matmul leaves BLAS for a slow loop where rows overlap.
        np.matmul(np.ascontiguousarray(frames[start : start + chunk]), filters, out=response[start : start + chunk])
    return np.hypot(response[:, :BINS_PER_OCTAVE], response[:, BINS_PER_OCTAVE:])


@lru_cache(maxsize=128)
def filters_in_time(relative_frequency: float) -> np.ndarray:
    """The 12 filters of one octave as librosa applies them, in time.

    Args:
      relative_frequency: of the lowest filter, in cycles a sample.

    Returns:
      float32 [length, 24], 12 real parts, then 12 imaginary parts; length is a power of two.
    """
    frequencies = relative_frequency * 2 ** (np.arange(BINS_PER_OCTAVE) / BINS_PER_OCTAVE)
    lengths = 1 / (ALPHA * frequencies)
    size = 1 << int(np.ceil(np.log2(lengths[0])))
    wavelets = np.zeros((BINS_PER_OCTAVE, size), np.complex64)
    for wavelet, frequency, length in zip(wavelets, frequencies, lengths, strict=True):
        times = np.arange(-length // 2, length // 2)
        window = periodic_hann(len(times))
        start = (size - len(times)) // 2
        # Unit sum; the square root undoes the filter's length, as librosa's scale=True does.
        wave = window / window.sum() * np.exp(2j * np.pi * frequency * times)
        wavelet[start : start + len(times)] = wave * np.sqrt(length) / size
    spectra = without_smallest(np.fft.fft(wavelets, axis=1)[:, : size // 2 + 1])
    responses = np.fft.fft(spectra, n=size, axis=1).T
    return np.concatenate([responses.real, responses.imag], axis=1).astype(np.float32)


def without_smallest(spectra: np.ndarray) -> np.ndarray:
    """Sets to 0, in each row, the smallest values that make up 1% of its magnitude (librosa's `sparsify_rows`)."""
    size = np.abs(spectra)
    ordered = np.sort(size, axis=1)
    share = np.cumsum(ordered / size.sum(axis=1, keepdims=True), axis=1)
    first_kept = np.argmin(share < SPARSITY, axis=1)
    return np.where(size >= np.take_along_axis(ordered, first_kept[:, np.newaxis], axis=1), spectra, 0)
