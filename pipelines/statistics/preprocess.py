"""How the values of each kind are analysed and normalised: a tensorflow_transform preprocessing_fn for each."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import apache_beam as beam
import numpy as np
import tensorflow as tf

from pipelines.statistics.tft_import import tft
from transforms.config import DatasetConfig

NO_VARIANCE = 1e-9  # largest variance of z-scores along an axis that counts as none; rounding leaves about 1e-13


@dataclass(frozen=True)
class Moments:
    """Count, mean and scatter of the rows seen so far."""

    count: int  # rows
    mean: np.ndarray  # float64 [columns]
    # float64 [columns, columns], sum over rows of the outer product of their deviations from the mean
    scatter: np.ndarray

    @classmethod
    def of(cls, rows: np.ndarray) -> "Moments":
        """Return the moments of float64 [rows, columns], at least one row."""
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
        """Return float64 [columns, 2 + axes]: mean, deviation (1 where it is 0), principal axes of the z-scores.

        Axes are unit vectors, the one of most variance first. An eigenvector's sign is arbitrary, so the largest entry
        of each is made positive. Where no variance is left, the axis would be arbitrary, and is zeros instead.
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
    """Analyse float64 [batch, columns] over the whole split, inside a preprocessing_fn.

    Returns:
      float64 mean [columns], deviation [columns], principal axes [columns, axes]; zeros beyond the number of columns.
    """
    columns = values.shape[1]
    # One output, since TFT caches no analyzer that has several.
    analyzer = tft.experimental.CacheablePTransformAnalyzer(MakeMoments(), MergeMoments(), Summarize(axes), Coder())
    (summary,) = tft.experimental.ptransform_analyzer([values], analyzer, [tf.float64], [[columns, 2 + axes]])
    return summary[:, 0], summary[:, 1], summary[:, 2:]


class _Stage(beam.PTransform):
    """A stage whose text holds no memory address: TFT makes the cache's key from it."""

    def __repr__(self) -> str:
        return type(self).__name__


class MakeMoments(_Stage):
    """Turns batches, as tuples of one array, into their moments."""

    def expand(self, batches: beam.PCollection) -> beam.PCollection:
        return batches | "OfBatch" >> beam.FlatMap(_moments_of)


def _moments_of(batch: tuple[np.ndarray]) -> list[Moments]:
    (rows,) = batch
    return [Moments.of(rows)] if len(rows) else []


class MergeMoments(_Stage):
    """Adds all moments to one; None where there are none."""

    def expand(self, moments: beam.PCollection) -> beam.PCollection:
        return moments | "Merge" >> beam.CombineGlobally(MergeFn())


class MergeFn(beam.CombineFn):
    """Adds moments; None stands for no rows."""

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
    """Turns the moments, the only element, into their `summary`."""

    def __init__(self, axes: int):
        super().__init__()
        self._axes = axes

    def expand(self, moments: beam.PCollection) -> beam.PCollection:
        return moments | "Summary" >> beam.Map(lambda found: found.summary(self._axes))


class Coder(tft.experimental.PTransformAnalyzerCacheCoder):
    """Writes moments exactly: count, mean and the upper triangle of the scatter, little-endian 64-bit."""

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

PCA_DIMENSIONS = 64  # principal components of the statistics; fewer where there are fewer training tracks


def count_axes(records: int) -> int:
    """Return how many principal components training records have: n of them span n - 1 dimensions; at least 1."""
    return max(1, min(PCA_DIMENSIONS, records - 1))


def normalize_mel(config: DatasetConfig, records: int) -> Preprocess:
    """Return a preprocessing_fn: dB values to z-scores, with the mean and deviation of each band.

    It takes {"mel": uint8 [batch, n_mels, frames]} and gives {"mel": float32 [batch, n_mels, frames]}.
    """

    def preprocess(inputs: Features) -> Features:
        frames_last = _decibels(inputs["mel"], config, tf.float64)
        mean, deviation = _moments(tf.reshape(tf.transpose(frames_last, [0, 2, 1]), [-1, config.n_mels]))
        decibels = _decibels(inputs["mel"], config, tf.float32)
        mean, deviation = (tf.cast(value, tf.float32)[:, tf.newaxis] for value in (mean, deviation))
        return {"mel": (decibels - mean) / deviation}

    return preprocess


def normalize_stats(config: DatasetConfig, records: int) -> Preprocess:
    """Return a preprocessing_fn: columns to z-scores, and their first principal components.

    It takes {"stats": float32 [batch, 518]} and gives {"stats": float32 [batch, 518], "stats_pca": float32 [batch, k]}
    with k of `count_axes`.
    """
    dimensions = count_axes(records)

    def preprocess(inputs: Features) -> Features:
        values = tf.cast(inputs["stats"], tf.float64)
        mean, deviation, axes = analyze_columns(values, PCA_DIMENSIONS)
        scores = (values - mean) / deviation
        components = axes[:, :dimensions]
        return {"stats": tf.cast(scores, tf.float32), "stats_pca": tf.cast(scores @ components, tf.float32)}

    return preprocess


NORMALIZERS: dict[str, Callable[[DatasetConfig, int], Preprocess]] = {"mel": normalize_mel, "stats": normalize_stats}
"""By kind; a kind without a row has no statistics."""


def _decibels(steps: tf.Tensor, config: DatasetConfig, dtype: tf.DType) -> tf.Tensor:
    """As `transforms.audio.mel.dequantize`, in the graph."""
    return tf.cast(steps, dtype) * config.db_step + config.db_min


def _moments(values: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Mean and standard deviation (1 where it is 0) of each column of float64 [rows, columns] over the whole split."""
    mean = tft.mean(values, reduce_instance_dims=False)
    variance = tft.var(values, reduce_instance_dims=False)
    return mean, tf.where(variance > 0, tf.sqrt(variance), tf.ones_like(variance))
