"""What is analysed of each kind and how its values are normalised: one tensorflow_transform preprocessing_fn each."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import apache_beam as beam
import numpy as np
import tensorflow as tf

from pipelines.statistics.tft_import import tft
from transforms.config import DatasetConfig

NO_VARIANCE = 1e-9
"""Of z-scores along an axis; what rounding leaves is about 1e-13."""


@dataclass(frozen=True)
class Moments:
    """What is known of the rows seen so far.

    Attributes:
      count: of rows.
      mean: float64 [columns].
      scatter: float64 [columns, columns], sum over rows of the outer product of their deviations from the mean.
    """

    count: int
    mean: np.ndarray
    scatter: np.ndarray

    @classmethod
    def of(cls, rows: np.ndarray) -> "Moments":
        """Of float64 [rows, columns], at least one row."""
        mean = rows.mean(axis=0)
        deviations = rows - mean
        return cls(len(rows), mean, deviations.T @ deviations)

    def __add__(self, other: "Moments") -> "Moments":
        count = self.count + other.count
        shift = other.mean - self.mean
        share = other.count / count
        scatter = self.scatter + other.scatter + np.outer(shift, shift) * (self.count * share)
        return Moments(count, self.mean + shift * share, scatter)

    def summary(self, axes: int) -> np.ndarray:
        """float64 [columns, 2 + axes]: mean, deviation (1 where it is 0), principal axes of the z-scores.

        Axes are unit vectors, the one of most variance first; an eigenvector's own sign is arbitrary, so the largest
        entry of each is made positive. Where no variance is left, an axis is arbitrary altogether, and zeros instead.
        """
        deviation = np.sqrt(np.diag(self.scatter) / self.count)
        deviation[deviation == 0] = 1
        correlation = self.scatter / self.count / np.outer(deviation, deviation)
        variances, vectors = np.linalg.eigh(correlation)
        found = (vectors * (variances > NO_VARIANCE))[:, ::-1][:, :axes]
        found = found * np.sign(found[np.abs(found).argmax(axis=0), np.arange(found.shape[1])])
        missing = np.zeros((len(found), axes - found.shape[1]))
        return np.column_stack([self.mean, deviation, found, missing])


def analyze_columns(values: tf.Tensor, axes: int) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Over the whole split, inside a preprocessing_fn.

    Args:
      values: float64 [batch, columns].
      axes: at most so many; beyond the number of columns they are zeros.

    Returns:
      (mean [columns], deviation [columns], principal axes [columns, axes]), float64.
    """
    columns = values.shape[1]
    # One output, since TFT caches no analyzer that has several.
    analyzer = tft.experimental.CacheablePTransformAnalyzer(MakeMoments(), MergeMoments(), Summarize(axes), Coder())
    (summary,) = tft.experimental.ptransform_analyzer([values], analyzer, [tf.float64], [[columns, 2 + axes]])
    return summary[:, 0], summary[:, 1], summary[:, 2:]


class _Stage(beam.PTransform):
    """TFT makes the cache's key of a stage's text, which must not tell where in memory it lies."""

    def __repr__(self) -> str:
        return type(self).__name__


class MakeMoments(_Stage):
    """Batches, as tuples of one array, to their moments."""

    def expand(self, batches: beam.PCollection) -> beam.PCollection:
        return batches | "OfBatch" >> beam.FlatMap(_moments_of)


def _moments_of(batch: tuple[np.ndarray]) -> list[Moments]:
    (rows,) = batch
    return [Moments.of(rows)] if len(rows) else []


class MergeMoments(_Stage):
    """All moments to one, or to None where there are none."""

    def expand(self, moments: beam.PCollection) -> beam.PCollection:
        return moments | "Merge" >> beam.CombineGlobally(MergeFn())


class MergeFn(beam.CombineFn):
    """Adds up moments; None is nothing."""

    def create_accumulator(self) -> Moments | None:
        return None

    def add_input(self, accumulator: Moments | None, moments: Moments | None) -> Moments | None:
        return moments if accumulator is None else accumulator if moments is None else accumulator + moments

    def merge_accumulators(self, accumulators: Iterable[Moments | None]) -> Moments | None:
        merged = None
        for moments in accumulators:
            merged = self.add_input(merged, moments)
        return merged

    def extract_output(self, accumulator: Moments | None) -> Moments | None:
        return accumulator


class Summarize(_Stage):
    """`Moments.summary` of the only element."""

    def __init__(self, axes: int):
        super().__init__()
        self._axes = axes

    def expand(self, moments: beam.PCollection) -> beam.PCollection:
        return moments | "Summary" >> beam.Map(lambda found: found.summary(self._axes))


class Coder(tft.experimental.PTransformAnalyzerCacheCoder):
    """Moments as bytes, exactly: count, mean and the upper triangle of the scatter, little-endian 64-bit."""

    def encode_cache(self, moments: Moments | None) -> bytes:
        if moments is None:
            return b""
        triangle = moments.scatter[np.triu_indices(len(moments.mean))]
        return (
            np.array(moments.count, "<i8").tobytes() + np.concatenate([moments.mean, triangle]).astype("<f8").tobytes()
        )

    def decode_cache(self, data: bytes) -> Moments | None:
        if not data:
            return None
        count, numbers = int(np.frombuffer(data, "<i8", 1)[0]), np.frombuffer(data, "<f8", offset=8)
        columns = int((np.sqrt(9 + 8 * len(numbers)) - 3) / 2)  # numbers = columns + columns (columns + 1) / 2
        scatter = np.zeros((columns, columns))
        scatter[np.triu_indices(columns)] = numbers[columns:]
        return Moments(count, numbers[:columns].copy(), scatter + np.triu(scatter, 1).T)


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
