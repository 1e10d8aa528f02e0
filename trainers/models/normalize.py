"""The first layers of whole models: records as they are stored become normalised values. Imports Keras."""

import math

import keras
import numpy as np
from keras import layers, ops

from transforms.audio.features import PCM_SCALE
from transforms.dataset.normalization import Normalization

DB = 10 / math.log(10)  # dB of a factor e in power
QUIETEST_DB = 20.0  # of a mel window, in dB above the least value of records: what is quieter stays quieter
RAW_LEVEL = 0.1  # root mean square of a window of samples, -20 dB of full scale
QUIETEST = 1e-4  # likewise, of a window below which there is only silence and the noise of 16 bits


@keras.saving.register_keras_serializable(package="fma")
class NormalizeMel(layers.Layer):
    """Normalises log-mel records: uint8 [batch, n_mels, frames] -> float32, mean 0 and deviation 1 in each band.

    It computes what tensorflow_transform's graph of `fma statistics` does, in the same steps. Mean and deviation are
    weights: a division by a constant would become a product, with another last bit.

    With a range, a window is moved to the loudness of the mean spectrum first, and what lies further below its own
    loudness is cut off: a gain then changes nothing, unless a record's own ends cut it off before.

    Args:
      db_step: dB of a step of the records.
      db_min: dB of step 0.
      range_db: dB below a window's loudness that are kept; None leaves loudness as it is.
    """

    def __init__(self, db_step: float, db_min: float, range_db: float | None = None, **kwargs):
        super().__init__(**kwargs | {"dtype": "float32"})
        self.db_step, self.db_min, self.range_db = db_step, db_min, range_db

    def build(self, input_shape):
        bands = (input_shape[1],)
        self.mean = self.add_weight(shape=bands, initializer="zeros", trainable=False, name="mean")
        self.deviation = self.add_weight(shape=bands, initializer="ones", trainable=False, name="deviation")

    def call(self, steps):
        decibels = ops.cast(steps, "float32") * self.db_step + self.db_min
        if self.range_db is not None:
            loudness = ops.maximum(mean_power_db(decibels, (1, 2)), self.db_min + QUIETEST_DB)
            decibels = ops.maximum(decibels - loudness, -self.range_db) + mean_power_db(self.mean, (0,))
        return (decibels - self.mean[:, None]) / self.deviation[:, None]

    def compute_output_shape(self, input_shape):
        return input_shape

    def set_from(self, normalization: Normalization) -> None:
        """Set mean and deviation, in dB, to those of a dataset."""
        self.mean.assign(normalization.mean)
        self.deviation.assign(normalization.deviation)

    def spectrum(self) -> tuple[np.ndarray, np.ndarray, float]:
        """Return what undoes it: mean and deviation of each band, in dB of the mean spectrum's loudness, and the floor.

        Values times deviation plus mean are dB of a window's loudness; none are below the floor.
        """
        mean, deviation = (ops.convert_to_numpy(of) for of in (self.mean, self.deviation))
        loudness = float(ops.convert_to_numpy(mean_power_db(self.mean, (0,)))[0])
        return mean - loudness, deviation, self.db_min - loudness if self.range_db is None else -self.range_db

    def get_config(self):
        config = {"db_step": self.db_step, "db_min": self.db_min}
        return super().get_config() | config | ({} if self.range_db is None else {"range_db": self.range_db})


def mean_power_db(decibels, axes: tuple[int, ...]):
    """Return the dB of the mean power over some axes, which are kept with length 1."""
    return ops.log(ops.mean(ops.exp(decibels / DB), axis=axes, keepdims=True)) * DB


@keras.saving.register_keras_serializable(package="fma")
class NormalizeRaw(layers.Layer):
    """Normalises PCM records: int16 [batch, samples] -> float32 of a root mean square of `RAW_LEVEL`; silence stays."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs | {"dtype": "float32"})

    def call(self, steps):
        return bring_to_level(ops.cast(steps, "float32") * PCM_SCALE)

    def compute_output_shape(self, input_shape):
        return input_shape


def bring_to_level(samples):
    """Scale windows of samples, float32 [batch, samples], to a root mean square of `RAW_LEVEL`; silence stays."""
    level = ops.sqrt(ops.mean(ops.square(samples), axis=1, keepdims=True))
    return samples * (RAW_LEVEL / ops.maximum(level, QUIETEST))
