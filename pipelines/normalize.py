"""What is analysed of each kind and how its values are normalised: one tensorflow_transform preprocessing_fn each.

Statistics are computed in float64, so that they are those of numpy whatever the size of the dataset. A column that
never varies is divided by 1: it becomes 0. All analyzers work in one pass, and TFT can keep their sums in its cache.
"""

from collections.abc import Callable

import tensorflow as tf

from pipelines.moments import analyze_columns
from pipelines.tft_import import tft
from transforms.config import DatasetConfig

Features = dict[str, tf.Tensor]
Preprocess = Callable[[Features], Features]

PCA_DIMENSIONS = 64
"""Principal components that are kept of the statistics; fewer where there are not more training tracks than that."""


def normalize_mel(config: DatasetConfig, records: int) -> Preprocess:
    """For {"mel": uint8 [batch, n_mels, frames]}: z-scores of the dB values, with the mean and deviation of each band.

    Args:
      config: the dataset's.
      records: of the kind in the training split.

    Returns:
      a preprocessing_fn whose result is {"mel": float32 [batch, n_mels, frames]}.
    """

    def preprocess(inputs: Features) -> Features:
        frames_last = _decibels(inputs["mel"], config, tf.float64)
        mean, deviation = _moments(tf.reshape(tf.transpose(frames_last, [0, 2, 1]), [-1, config.n_mels]))
        decibels = _decibels(inputs["mel"], config, tf.float32)
        mean, deviation = (tf.cast(value, tf.float32)[:, tf.newaxis] for value in (mean, deviation))
        return {"mel": (decibels - mean) / deviation}

    return preprocess


def normalize_stats(config: DatasetConfig, records: int) -> Preprocess:
    """For {"stats": float32 [batch, 518]}: z-scores of each column, and their first principal components.

    Args:
      config: the dataset's.
      records: of the kind in the training split; n tracks span n - 1 dimensions.

    Returns:
      a preprocessing_fn whose result is {"stats": float32 [batch, 518], "stats_pca": float32 [batch, k]} with
      k = min(PCA_DIMENSIONS, records - 1), at least 1.
    """
    dimensions = max(1, min(PCA_DIMENSIONS, records - 1))

    def preprocess(inputs: Features) -> Features:
        values = tf.cast(inputs["stats"], tf.float64)
        mean, deviation, axes = analyze_columns(values, PCA_DIMENSIONS)
        scores = (values - mean) / deviation
        components = axes[:, :dimensions]
        return {"stats": tf.cast(scores, tf.float32), "stats_pca": tf.cast(scores @ components, tf.float32)}

    return preprocess


NORMALIZERS: dict[str, Callable[[DatasetConfig, int], Preprocess]] = {"mel": normalize_mel, "stats": normalize_stats}
"""By kind. A kind without a row here has no statistics."""


def _decibels(steps: tf.Tensor, config: DatasetConfig, dtype: tf.DType) -> tf.Tensor:
    """As `transforms.audio.mel.dequantize`, in the graph."""
    return tf.cast(steps, dtype) * config.db_step + config.db_min


def _moments(values: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Mean and standard deviation (1 where it is 0) of each column of float64 [rows, columns] over the whole split."""
    mean = tft.mean(values, reduce_instance_dims=False)
    variance = tft.var(values, reduce_instance_dims=False)
    return mean, tf.where(variance > 0, tf.sqrt(variance), tf.ones_like(variance))
