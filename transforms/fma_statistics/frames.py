"""The 74 features of each frame of a segment of audio."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from transforms.audio.mel import banded, mel_filters
from transforms.fma_statistics import chroma, spectral
from transforms.fma_statistics.chroma import SpectralPeaks, constant_q
from transforms.fma_statistics.columns import FEATURE_SIZES, FRAME_COLUMNS, N_FRAME_FEATURES
from transforms.fma_statistics.spectral import (
    ASSUMED_RATE,
    Framing,
    chroma_filters,
    cosine_transform,
    zero_crossing_rate,
)

N_MELS = 128


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
