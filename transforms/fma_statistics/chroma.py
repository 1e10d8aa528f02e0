"""Pitch, as in librosa 0.11: tuning, constant-Q magnitudes, chroma, CENS and tonal centroids."""

from functools import lru_cache

import numpy as np
import scipy.ndimage
import soxr

from transforms.fma_statistics.spectral import N_CHROMA, Framing, centred_frames, periodic_hann, tonal_centroids

THRESHOLD = 0.1
FMIN, FMAX = 150.0, 4000.0

BINS_PER_OCTAVE = 12
MAX_OCTAVES = 7
C1 = 440.0 * 2 ** (-45 / 12)
SPARSITY = 0.01
# Bandwidth of a filter over its frequency: neighbours but one touch (librosa's `_relative_bandwidth`).
ALPHA = (2 ** (2 / BINS_PER_OCTAVE) - 1) / (2 ** (2 / BINS_PER_OCTAVE) + 1)
HANN_BANDWIDTH = 1.5
CHUNK_VALUES = 1 << 18
CENS_LEVELS = (0.4, 0.2, 0.1, 0.05)
CENS_SMOOTHING = 41


class SpectralPeaks:
    """The peaks of a magnitude spectrogram, collected chunk by chunk.

    Args:
      n_fft: FFT length.
      rates: sample rates in Hz of later estimates; they set the range of bins.
    """

    def __init__(self, n_fft: int, rates: tuple[int, ...]):
        self._n_fft = n_fft
        ranges = [pitch_range(n_fft, rate) for rate in rates]
        self._low, self._high = min(low for low, _ in ranges), max(high for _, high in ranges)
        self._found: list[np.ndarray] = []

    def push(self, magnitude: np.ndarray) -> None:
        """Add float32 [frames, n_fft // 2 + 1]."""
        loudest = magnitude.max(axis=1)
        inside = magnitude[:, self._low : self._high]
        is_peak = inside > (np.float32(THRESHOLD) * loudest)[:, np.newaxis]
        is_peak &= inside > magnitude[:, self._low - 1 : self._high - 1]
        is_peak &= inside >= magnitude[:, self._low + 1 : self._high + 1]
        frame, column = np.divmod(np.flatnonzero(is_peak), self._high - self._low)
        column += self._low
        at = frame * magnitude.shape[1] + column
        flat = magnitude.reshape(-1)
        self._found.append(np.stack([column.astype(np.float32), flat[at - 1], flat[at], flat[at + 1], loudest[frame]]))

    def tuning(self, rate: int, power: bool) -> float:
        """Estimate the tuning: the deviation in semitones, -0.5 to 0.49 in steps of 0.01; 0 where there are no peaks.

        Args:
          rate: sample rate in Hz by which bins are given a pitch.
          power: use squared magnitudes, which have the same peaks, but fewer of them above a tenth of the maximum.
        """
        found = np.concatenate(self._found, axis=1)
        low, high = pitch_range(self._n_fft, rate)
        found = found[:, (found[0] >= low) & (found[0] < high)]
        if power:
            found[1:] *= found[1:]
            found = found[:, found[2] > np.float32(THRESHOLD) * found[4]]
        if not found.shape[1]:
            return 0.0
        column, below, peak, above, _ = found
        shift = parabola_shift(below, peak, above)
        pitch = ((column.astype(np.float64) + shift) * float(rate) / self._n_fft).astype(np.float32)
        strength = peak + np.float32(0.5) * ((above - below) / np.float32(2)) * shift
        return fullest_deviation(pitch[strength >= np.median(strength)])


def pitch_range(n_fft: int, rate: int) -> tuple[int, int]:
    """Return the first bin that counts as a pitch, and the one after the last."""
    bins = np.fft.rfftfreq(n_fft, 1 / rate)
    inside = np.flatnonzero((bins >= FMIN) & (bins < min(FMAX, rate / 2)))
    return int(inside[0]), int(inside[-1]) + 1


def parabola_shift(below: np.ndarray, peak: np.ndarray, above: np.ndarray) -> np.ndarray:
    """Return the offset of the top of the parabola through three bins from the middle one: float32.

    In float64 where librosa is, so that a pitch at the edge of a histogram bin falls on the same side; 0 where rounding
    leaves too little curvature.
    """
    slope = (above - below).astype(np.float64) / 2
    curvature = (above + below) - 2 * peak.astype(np.float64)
    flat = np.abs(slope) >= np.abs(curvature)
    return np.where(flat, 0.0, -slope / np.where(flat, 1.0, curvature)).astype(np.float32)


def fullest_deviation(pitches: np.ndarray) -> float:
    """Return the most frequent deviation of pitches (Hz, float32 [n]) from the semitones of A440, in semitones."""
    deviation = np.mod(12 * np.log2(pitches / 27.5), 1.0)
    deviation[deviation >= 0.5] -= 1.0
    counts, edges = np.histogram(deviation, np.linspace(-0.5, 0.5, 101))
    return float(edges[np.argmax(counts)])


def octave_count(sample_rate: int) -> int:
    """Return the octaves below Nyquist at any tuning: 7 from 8,486 Hz, 6 below (where FMA's own script fails)."""
    highest = C1 * 2 ** ((BINS_PER_OCTAVE - 0.5) / BINS_PER_OCTAVE) * (1 + 0.5 * HANN_BANDWIDTH * ALPHA)
    return min(MAX_OCTAVES, 1 + int(np.floor(np.log2(sample_rate / 2 / highest))))


def constant_q(samples: np.ndarray, framing: Framing, tuning: float) -> np.ndarray:
    """Compute the constant-Q transform of float32 audio [n] at `tuning` semitones from A440; see librosa's `cqt`.

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
    """Return how often the rate can be halved before the top octave, as librosa counts it."""
    cutoff = lowest * 2 ** ((BINS_PER_OCTAVE - 1) / BINS_PER_OCTAVE) * (1 + 0.5 * HANN_BANDWIDTH * ALPHA)
    spare = int(np.ceil(np.log2(rate / 2 / cutoff))) - 2
    twos = (hop & -hop).bit_length() - 1
    return max(0, min(spare, twos - octaves + 1))


def decimate(samples: np.ndarray, factor: int) -> np.ndarray:
    """Return every `factor`-th sample after a low-pass, scaled to the same energy: float32 [ceil(n / factor)]."""
    size = -(-len(samples) // factor)
    kept = np.zeros(size, np.float32)
    resampled = soxr.resample(samples, factor, 1, quality="HQ")[:size]
    kept[: len(resampled)] = resampled * np.float32(np.sqrt(factor))
    return kept


def filter_octave(samples: np.ndarray, hop: int, filters: np.ndarray) -> np.ndarray:
    """Apply 12 complex filters [length, 24] to float32 audio [n]; return magnitudes, float32 [1 + n // hop, 12]."""
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
    """Return the 12 filters of one octave as librosa applies them, in time.

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
    """Set to 0, in each row, the smallest values that make up 1% of its magnitude (librosa's `sparsify_rows`)."""
    size = np.abs(spectra)
    ordered = np.sort(size, axis=1)
    share = np.cumsum(ordered / size.sum(axis=1, keepdims=True), axis=1)
    first_kept = np.argmin(share < SPARSITY, axis=1)
    return np.where(size >= np.take_along_axis(ordered, first_kept[:, np.newaxis], axis=1), spectra, 0)


def scaled(rows: np.ndarray, length: np.ndarray) -> np.ndarray:
    """Divide rows by their length [frames]; those of no length stay."""
    length = np.where(length < np.finfo(rows.dtype).tiny, 1.0, length)
    return (rows / length[:, np.newaxis]).astype(rows.dtype)


def peak_scaled(rows: np.ndarray) -> np.ndarray:
    """Scale non-negative rows to a maximum of 1."""
    return scaled(rows, rows.max(axis=1).astype(np.float64))


def pitch_classes(constant_q: np.ndarray) -> np.ndarray:
    """Add up the octaves of [frames, 12 * octaves]: [frames, 12], C first."""
    return constant_q.reshape(len(constant_q), -1, N_CHROMA).sum(axis=1)


def energy_normalized(chroma: np.ndarray) -> np.ndarray:
    """Compute CENS: a frame's chroma shares, quantized, smoothed over 41 frames, of unit length (Mueller, Ewert 2011).

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
    """Compute the tonal centroids (Harte et al., 2006) of chroma [frames, 12]: float64 [frames, 6]."""
    return scaled(chroma, np.abs(chroma).sum(axis=1, dtype=np.float64)) @ tonal_centroids()
