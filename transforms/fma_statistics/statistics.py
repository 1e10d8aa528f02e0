"""The 518 statistics of a stream of samples, in bounded memory: 74 features of each frame, seven moments of each."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from transforms.audio.mel import banded, mel_filters
from transforms.errors import CONVERT, TrackError
from transforms.fma_statistics import FEATURE_SIZES, FRAME_COLUMNS, MOMENTS, N_FRAME_FEATURES, chroma, spectral
from transforms.fma_statistics.chroma import SpectralPeaks, constant_q
from transforms.fma_statistics.spectral import (
    ASSUMED_RATE,
    Framing,
    chroma_filters,
    cosine_transform,
    zero_crossing_rate,
)

N_MELS = 128

BLOCK_VALUES = 1 << 18
# A feature whose standard deviation is below this share of its mean is constant but for rounding: it has no shape.
CONSTANT_BELOW = 1e-6
SEGMENT_SECONDS = 60
# What is left of a track after its last whole segment belongs to that segment if it is shorter than this.
SHORTEST_SECONDS = 1
MAX_FRAMES = 65_536


@dataclass(frozen=True, slots=True)
class Tables:
    """Constants that depend on the framing alone."""

    frequencies: np.ndarray
    frequency_powers: np.ndarray
    contrast_bands: list[tuple[slice, int]]
    mel_blocks: list[tuple[slice, slice, np.ndarray]]
    cosines: np.ndarray


@lru_cache(maxsize=4)
def tables(framing: Framing) -> Tables:
    """Return the tables of a framing; computed once in each process."""
    frequencies = np.fft.rfftfreq(framing.n_fft, 1 / ASSUMED_RATE)
    return Tables(
        frequencies,
        spectral.frequency_powers(frequencies),
        spectral.contrast_bands(frequencies),
        banded(mel_filters(framing.sample_rate, framing.n_fft, N_MELS)),
        cosine_transform(FEATURE_SIZES["mfcc"], N_MELS),
    )


def frame_features(samples: np.ndarray, framing: Framing) -> np.ndarray:
    """Compute all frame features of a segment, tuned by its own spectrum.

    Args:
      samples: float32 [n], n >= 1.

    Returns:
      float32 [1 + n // hop_length, 74], columns as in `FRAME_COLUMNS`.
    """
    features = np.empty((framing.n_frames(len(samples)), N_FRAME_FEATURES), np.float32)
    tuning = add_spectral(features, samples, framing)
    add_tonal(features, constant_q(samples, framing, tuning))
    features[:, FRAME_COLUMNS["zcr"]] = zero_crossing_rate(samples, framing)[:, np.newaxis]
    return features


def add_spectral(features: np.ndarray, samples: np.ndarray, framing: Framing) -> float:
    """Fill in the features of the short-time spectrum; return the tuning for the constant-Q transform."""
    constants = tables(framing)
    power = np.empty((len(features), framing.n_fft // 2 + 1), np.float32)
    mel = np.empty((len(features), N_MELS), np.float32)
    extremes = np.empty((2, len(features), FEATURE_SIZES["spectral_contrast"]), np.float32)
    peaks = SpectralPeaks(framing.n_fft, (framing.sample_rate, ASSUMED_RATE))
    for rows, magnitude in spectral.magnitudes(samples, framing):
        np.multiply(magnitude, magnitude, out=power[rows])
        peaks.push(magnitude)
        for bands, bins, weights in constants.mel_blocks:
            np.matmul(power[rows, bins], weights, out=mel[rows, bands])
        extremes[:, rows] = spectral.peaks_and_valleys(magnitude, constants.contrast_bands)
        add_moments_of_frequency(features[rows], magnitude, power[rows], constants)
    classes = power @ chroma_filters(ASSUMED_RATE, framing.n_fft, peaks.tuning(ASSUMED_RATE, power=True))
    features[:, FRAME_COLUMNS["chroma_stft"]] = chroma.peak_scaled(classes)
    features[:, FRAME_COLUMNS["mfcc"]] = spectral.mel_cepstrum(mel, constants.cosines)
    high, low = extremes.astype(np.float64)
    features[:, FRAME_COLUMNS["spectral_contrast"]] = spectral.decibels(high) - spectral.decibels(low)
    return peaks.tuning(framing.sample_rate, power=False)


def add_moments_of_frequency(features: np.ndarray, magnitude: np.ndarray, power: np.ndarray, constants: Tables) -> None:
    """Fill in the features of a chunk that have one number for each frame."""
    centroid, bandwidth = spectral.centroid_and_bandwidth(magnitude, constants.frequency_powers)
    for name, values in {
        "rmse": spectral.root_mean_square(power),
        "spectral_centroid": centroid,
        "spectral_bandwidth": bandwidth,
        "spectral_rolloff": constants.frequencies[spectral.rolloff_bin(magnitude)],
    }.items():
        features[:, FRAME_COLUMNS[name]] = values[:, np.newaxis]


def add_tonal(features: np.ndarray, magnitudes: np.ndarray) -> None:
    """Fill in the features of constant-Q magnitudes [frames, 12 * octaves]."""
    classes = chroma.pitch_classes(magnitudes)
    cens = chroma.energy_normalized(classes)
    features[:, FRAME_COLUMNS["chroma_cqt"]] = chroma.peak_scaled(classes)
    features[:, FRAME_COLUMNS["chroma_cens"]] = cens
    features[:, FRAME_COLUMNS["tonnetz"]] = chroma.tonnetz(cens)


def frame_statistics(frames: np.ndarray) -> np.ndarray:
    """Return the moments of frame features in the order of `COLUMNS`.

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
    """Return kurtosis, max, mean, median, min, skew, std of each column, as numpy and scipy.stats (biased) have them.

    Skew and (excess) kurtosis of a constant column, such as those of digital silence, are 0 where scipy.stats has nan.

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


class FramePool:
    """The frames of a track, or every 2nd, 4th, ... once there are more than `limit`.

    The kept frames depend on their number alone: their index is a multiple of the smallest power of two that leaves at
    most `limit`.
    """

    def __init__(self, limit: int):
        self._limit = limit
        self._stride = 1
        self._seen = 0
        self._kept: list[np.ndarray] = []

    def push(self, frames: np.ndarray) -> None:
        """Add [frames, features]."""
        self._kept.append(frames[-self._seen % self._stride :: self._stride].copy())  # a view would keep all frames
        self._seen += len(frames)
        while sum(map(len, self._kept)) > self._limit:
            self._kept = [np.concatenate(self._kept)[::2].copy()]
            self._stride *= 2

    def frames(self) -> np.ndarray:
        """Return the kept frames in order, [at most limit, features]."""
        return np.concatenate(self._kept)


class Statistics:
    """The statistics of one track, computed from its samples block by block; the blocks do not change the result.

    A track of up to 61 s is one segment, and its values are those of FMA's features.py on the whole signal. A longer
    one is cut into segments of 60 s, each tuned by itself; a rest of less than 1 s stays with the last. The moments are
    those of all their frames; of more than 65,536 frames (25 minutes at the default settings) every 2nd, 4th, ... is
    kept.

    Where FMA's script gives nan or fails, this does not: skew and kurtosis of a feature that never changes are 0, so
    digital silence is 0 in every column but mfcc number 01 (-100 dB in each band); below 8,486 Hz the seventh octave of
    the constant-Q transform lies beyond Nyquist, and its chroma add up six.

    Args:
      sample_rate: Hz, 8,000 to 96,000.
      n_fft: samples in a frame of the short-time spectrum and of the zero-crossing rate, even.
      hop_length: samples from one frame to the next.
    """

    def __init__(self, sample_rate: int, n_fft: int = 2048, hop_length: int = 512):
        self._framing = Framing(sample_rate, n_fft, hop_length)
        self._segment = SEGMENT_SECONDS * sample_rate
        self._longest = self._segment + SHORTEST_SECONDS * sample_rate
        self._pool = FramePool(MAX_FRAMES)
        self._waiting: list[np.ndarray] = []

    def push(self, samples: np.ndarray) -> None:
        """Add mono float32 samples [n] in [-1, 1]; they must not be written to afterwards."""
        self._waiting.append(samples)
        if sum(map(len, self._waiting)) < self._longest:
            return
        waiting = np.concatenate(self._waiting)
        while len(waiting) >= self._longest:
            self._add(waiting[: self._segment])
            waiting = waiting[self._segment :]
        self._waiting = [waiting.copy()]

    def finish(self) -> np.ndarray:
        """Return the statistics of all samples.

        Returns:
          float32 [518], in the order of `COLUMNS`; finite.

        Raises:
          TrackError: empty_audio or corrupt_audio.
        """
        samples = np.concatenate([np.empty(0, np.float32), *self._waiting])
        if not len(samples):
            raise TrackError("empty_audio", "no samples to compute statistics of: get the file again")
        self._waiting = []
        self._add(samples)
        found = frame_statistics(self._pool.frames())
        if not np.isfinite(found).all():
            raise TrackError("corrupt_audio", f"samples too large for statistics: {CONVERT}")
        return found

    def _add(self, samples: np.ndarray) -> None:
        self._pool.push(frame_features(samples, self._framing))
