"""What is kept of each frame of a track: onset strength, power, chroma, and harmonic and percussive energy.

A frame takes 80 bytes, so an hour takes 12 MB; samples are let go block by block.
"""

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from librosa.util import softmask
from scipy.ndimage import median_filter

from transforms.audio.mel import band_edges, banded, mel_filters
from transforms.fma_statistics.chroma import SpectralPeaks, constant_q, pitch_classes
from transforms.fma_statistics.spectral import Framing, magnitudes, root_mean_square

FRAMING = Framing(sample_rate=22_050, n_fft=2048, hop_length=512)
FRAMES_PER_SECOND = FRAMING.sample_rate / FRAMING.hop_length
CONTEXT = 18
"""Frames that a block needs on each side: half a median filter, and half a spectrum's window beside it. The longest
filter of the constant-Q transform reaches 12 frames far."""

N_MELS = 128
FLOOR = 10**-4.5  # power of a mel band: about 80 dB below that of a sine at full scale
MEDIAN_FRAMES, MEDIAN_BANDS = 31, 17
BAND_EDGES = (250.0, 2000.0)  # Hz, between bass, middle and treble
HANN_POWER = 3 / 8  # mean square of the window
HALF_SECOND = 21  # frames


class Frames(NamedTuple):
    """Features by frame, float32."""

    onset: np.ndarray  # [n], mean rise of the mel bands' levels since the frame before, in dB
    power: np.ndarray  # [n], mean square of the samples
    chroma: np.ndarray  # [n, 12], C first: constant-Q energy, summed over octaves
    harmonic: np.ndarray  # [n, 3], mel energy that goes on in time: bass, middle, treble
    percussive: np.ndarray  # [n, 3], mel energy that is spread over frequency


def join(blocks: list[Frames]) -> Frames:
    """Return the frames of a track from those of its blocks, in order."""
    return Frames(*map(np.concatenate, zip(*blocks, strict=True)))


def add_blocks(frames: np.ndarray) -> np.ndarray:
    """Add up what belongs to each half second: [n, ...] to [ceil(n / HALF_SECOND), ...]; the last may be shorter."""
    return np.add.reduceat(frames, np.arange(0, len(frames), HALF_SECOND), axis=0)


def analyse(samples: np.ndarray) -> Frames:
    """Compute the frames of a block.

    Args:
      samples: float32 [(n + 2 * CONTEXT) * hop_length], those of the block between those of its context.

    Returns:
      n frames, centred on samples CONTEXT * hop_length, (CONTEXT + 1) * hop_length, ...
    """
    inside = slice(CONTEXT, len(samples) // FRAMING.hop_length - CONTEXT)
    power, mel, tuning = _spectra(samples)
    level = 10 * np.log10(np.maximum(mel[inside.start - 1 : inside.stop], np.float32(FLOOR)))
    harmonic = _harmonic_share(mel)[inside]
    chroma = pitch_classes(np.square(constant_q(samples, FRAMING, tuning)))
    energy = mel[inside]
    return Frames(
        onset=np.maximum(np.diff(level, axis=0), 0).mean(axis=1),
        power=power[inside],
        chroma=chroma[inside],
        harmonic=_by_band(energy * harmonic),
        percussive=_by_band(energy * (1 - harmonic)),
    )


def _spectra(samples: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """Return each frame's mean square [n], its mel bands [n, N_MELS], and the tuning of all in semitones from A440."""
    count = FRAMING.n_frames(len(samples))
    square, mel = np.empty(count, np.float32), np.empty((count, N_MELS), np.float32)
    peaks = SpectralPeaks(FRAMING.n_fft, (FRAMING.sample_rate,))
    for rows, magnitude in magnitudes(samples, FRAMING):
        peaks.push(magnitude)
        power = magnitude * magnitude
        square[rows] = root_mean_square(power) ** 2 / np.float32(HANN_POWER)
        for bands, bins, weights in _mel_blocks():
            np.matmul(power[:, bins], weights, out=mel[rows, bands])
    return square, mel, peaks.tuning(FRAMING.sample_rate, power=False)


@lru_cache(maxsize=1)
def _mel_blocks() -> list[tuple[slice, slice, np.ndarray]]:
    return banded(mel_filters(FRAMING.sample_rate, FRAMING.n_fft, N_MELS))


def _harmonic_share(mel: np.ndarray) -> np.ndarray:
    """Return how much of each value goes on in time rather than over frequency, 0 to 1 (Fitzgerald, 2010).

    It is the mask of librosa.decompose.hpss, whose module would load scikit-learn.
    """
    magnitude = np.sqrt(mel)
    across_time = median_filter(magnitude, size=(MEDIAN_FRAMES, 1))
    across_frequency = median_filter(magnitude, size=(1, MEDIAN_BANDS))
    return softmask(across_time, across_frequency, power=2, split_zeros=True)


def _by_band(energy: np.ndarray) -> np.ndarray:
    """Add up mel bands [n, N_MELS]: float32 [n, 3]."""
    centres = band_edges(FRAMING.sample_rate, N_MELS)[1:-1]
    return np.add.reduceat(energy, [0, *np.searchsorted(centres, BAND_EDGES)], axis=1)
