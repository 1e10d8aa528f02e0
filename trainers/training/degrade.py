"""Degradation of training batches: what lossy codecs, low sample rates and bad recordings do to sound. Imports Keras.

It is drawn for each record whether its bandwidth is limited, whether what is quiet is cut off, as encoders do that have
too few bits for it, and whether there is noise.
"""

import keras
import numpy as np
from keras import ops

from trainers.models.normalize import DB, NormalizeMel
from transforms.audio.mel import band_edges

CHANCE = 0.6  # of each of the three, that a record has it
CUTOFF = (3_400.0, 16_000.0)  # Hz, of what is left of the bandwidth; each octave between these is as likely
QUIET_DB = (-60.0, -25.0)  # of a window's loudness: what is below a number between these is cut off
NOISE_DB = (-65.0, -25.0)  # likewise, the noise in each band
RAW_NOISE_DB = (-60.0, -20.0)  # of a window's power: that of the noise


class MelDegradation:
    """Degrades normalised log-mel.

    Args:
      mean, deviation: of each band in dB, [bands], and floor: as `NormalizeMel.spectrum` gives them.
      centres: of the bands in Hz, [bands].
    """

    def __init__(self, mean: np.ndarray, deviation: np.ndarray, floor: float, centres: np.ndarray):
        self._mean, self._deviation = mean[:, None], deviation[:, None]
        self._floor, self._centres = floor, centres.astype(np.float32)
        self._highest = float(centres[-1])

    def __call__(self, values, random: keras.random.SeedGenerator):
        """Return float32 [batch, bands, frames] for the same."""
        batch = ops.shape(values)[0]
        decibels = values * self._deviation + self._mean
        noise = _sometimes(NOISE_DB, 2 * self._floor, batch, random)[:, None, None]
        decibels = ops.logaddexp(decibels / DB, noise / DB) * DB
        quiet = _sometimes(QUIET_DB, self._floor, batch, random)[:, None, None]
        cutoff = _cutoffs(batch, self._highest, random)
        lost = ops.logical_or(decibels < quiet, (self._centres > cutoff[:, None])[:, :, None])
        decibels = ops.where(lost, self._floor, decibels)
        return (ops.maximum(decibels, self._floor) - self._mean) / self._deviation


class RawDegradation:
    """Degrades raw records: bandwidth and noise.

    Args:
      sample_rate: Hz.
    """

    def __init__(self, sample_rate: int):
        self._highest = sample_rate / 2

    def __call__(self, values, random: keras.random.SeedGenerator):
        """Return float32 [batch, samples] for the same."""
        batch, samples = ops.shape(values)[0], values.shape[1]
        power = ops.mean(ops.square(values), axis=1)
        noise = ops.sqrt(power * ops.exp(_sometimes(RAW_NOISE_DB, -np.inf, batch, random) / DB))[:, None]
        values = values + noise * keras.random.normal(ops.shape(values), dtype="float32", seed=random)
        cutoff = _cutoffs(batch, self._highest, random)
        kept = np.linspace(0, self._highest, samples // 2 + 1, dtype=np.float32) <= cutoff[:, None]
        real, imaginary = ops.rfft(values)
        return ops.irfft((ops.where(kept, real, 0.0), ops.where(kept, imaginary, 0.0)), fft_length=samples)


def choose_degradation(normalize: keras.layers.Layer, sample_rate: int) -> MelDegradation | RawDegradation:
    """Return that of the values that a layer gives, of sound at a sample rate in Hz."""
    if not isinstance(normalize, NormalizeMel):
        return RawDegradation(sample_rate)
    mean, deviation, floor = normalize.spectrum()
    return MelDegradation(mean, deviation, floor, band_edges(sample_rate, len(mean))[1:-1])


def _cutoffs(batch, highest: float, random: keras.random.SeedGenerator):
    """Return the frequency in Hz above which each record has nothing, [batch]: above the highest where it has all."""
    low, high = (float(np.log(min(end, highest))) for end in CUTOFF)
    return ops.exp(_sometimes((low, high), float(np.log(2 * highest)), batch, random))


def _sometimes(ends: tuple[float, float], otherwise: float, batch, random: keras.random.SeedGenerator):
    """Return a number between two for each record that is to have one, and another for the rest, float32 [batch]."""
    drawn = ends[0] + (ends[1] - ends[0]) * _draw(batch, random)
    return ops.where(_draw(batch, random) < CHANCE, drawn, otherwise)


def _draw(batch, random: keras.random.SeedGenerator):
    return keras.random.uniform((batch,), dtype="float32", seed=random)
