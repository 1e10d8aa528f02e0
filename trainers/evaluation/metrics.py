"""Metrics of a model from its windows' log-probabilities, by window and by track; intervals and comparisons."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from transforms.errors import FmaError

Z95 = 1.959963984540054  # 97.5th percentile of the standard normal
RESAMPLES = 2000  # of the bootstrap
CALIBRATION_BINS = 15

LOWEST = -100.0
"""Log-probabilities are raised to this: one window's certain "never" must not overrule a track's other windows."""

_CHUNK = 1 << 20


def wilson(right: int, count: int) -> tuple[float, float]:
    """Return Wilson's 95% interval of the share right / count (Wilson, 1927), which also holds for few or all right."""
    share, z2 = right / count, Z95 * Z95
    middle = (share + z2 / (2 * count)) / (1 + z2 / count)
    reach = Z95 / (1 + z2 / count) * math.sqrt(share * (1 - share) / count + z2 / (4 * count * count))
    return max(0.0, middle - reach), min(1.0, middle + reach)


def describe_interval(interval: Sequence[float]) -> str:
    """Format an interval, such as `0.706 to 0.921`, to as many digits as commands and the report show."""
    low, high = interval
    return f"{low:.3f} to {high:.3f}"


def mcnemar(one: np.ndarray, other: np.ndarray) -> float:
    """Return the two-sided p-value of McNemar's exact test: is one of two models right more often than the other?

    Args:
      one, other: bool [tracks], whether the first and the second model are right.
    """
    from scipy.special import bdtr

    first, second = int((one & ~other).sum()), int((other & ~one).sum())
    if first + second == 0:
        return 1.0
    return min(1.0, 2 * float(bdtr(min(first, second), first + second, 0.5)))


def holm(p_values: Sequence[float]) -> list[float]:
    """Return the p-values after Holm's correction for multiple tests (Holm, 1979), in the same order."""
    adjusted = [0.0] * len(p_values)
    largest = 0.0
    for rank, i in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        largest = max(largest, min(1.0, p_values[i] * (len(p_values) - rank)))
        adjusted[i] = largest
    return adjusted


def difference(one: np.ndarray, other: np.ndarray) -> tuple[float, float]:
    """Return the 95% interval of `accuracy of one - accuracy of other`, from a paired bootstrap over the tracks.

    Args:
      one, other: bool [tracks], whether the first and the second model are right.
    """
    low, high = bootstrap(one.astype(np.float64) - other, np.ones(len(one)), RESAMPLES, seed=0)
    return low, high


@dataclass(frozen=True, slots=True)
class Tracks:
    """Predictions by track."""

    track_ids: np.ndarray  # int [tracks], ascending
    log_probabilities: np.ndarray  # float64 [tracks, classes]
    labels: np.ndarray  # int [tracks]
    of_window: np.ndarray  # int [windows], each window's row in the three above


def evaluate(
    log_probabilities: np.ndarray,
    labels: np.ndarray,
    track_ids: np.ndarray,
    genres: list[str],
    *,
    seed: int = 0,
) -> dict[str, dict[str, Any]]:
    """Return all metrics of an evaluation, ready for json.dumps.

    Args:
      log_probabilities: float [windows, classes].
      labels: int [windows], indices into genres.
      track_ids: int [windows].
      genres: the classes' names.
      seed: of the bootstrap.

    Returns:
      {"per_track": ..., "per_window": ...}, each with
      accuracy: share of right predictions;
      interval: [low, high], 95% for the accuracy: Wilson's by track, and per window, since a track's windows are alike,
        from a percentile bootstrap that draws whole tracks;
      macro_f1: mean F1 over the genres that are among the labels;
      confusion: counts [true genre][predicted genre];
      calibration_error: see `calibration_error`;
      genres: {genre: {precision, recall, f1, support}};
      tracks, and per window records: how many there are.

    Raises:
      FmaError: a log-probability is not a number.
      ValueError: no windows, labels outside of the genres, or a track with two labels.
    """
    log_probabilities = checked(log_probabilities, labels, len(genres))
    tracks = by_track(log_probabilities, labels, track_ids)
    right = (log_probabilities.argmax(axis=1) == labels).astype(np.float64)
    right_tracks = int((tracks.log_probabilities.argmax(axis=1) == tracks.labels).sum())
    count = len(tracks.labels)
    windows = np.bincount(tracks.of_window, minlength=count)
    hits = np.bincount(tracks.of_window, right, minlength=count)
    return {
        "per_track": describe(tracks.log_probabilities, tracks.labels, genres)
        | {"interval": list(wilson(right_tracks, count)), "tracks": count},
        "per_window": describe(log_probabilities, labels, genres)
        | {"interval": bootstrap(hits, windows, RESAMPLES, seed), "tracks": count, "records": len(labels)},
    }


def log_softmax(logits: np.ndarray) -> np.ndarray:
    """Return log-probabilities float64 [n, classes] of logits [n, classes]."""
    logits = np.asarray(logits, np.float64)
    shifted = logits - logits.max(axis=1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))


def checked(log_probabilities: np.ndarray, labels: np.ndarray, classes: int) -> np.ndarray:
    """Return the log-probabilities as float64, at least LOWEST; raise the errors of `evaluate`."""
    values = np.asarray(log_probabilities, np.float64)
    if not len(values) or values.shape != (len(labels), classes):
        raise ValueError(f"log-probabilities of shape {values.shape} for {len(labels)} labels and {classes} genres")
    if np.min(labels) < 0 or np.max(labels) >= classes:
        raise ValueError(f"labels from {np.min(labels)} to {np.max(labels)} for {classes} genres")
    check_numbers(values)
    return np.maximum(values, LOWEST)


def check_numbers(values: np.ndarray) -> None:
    """Raise an FmaError where one of a model's outputs is not a number."""
    if np.isnan(values).any():
        raise FmaError("the model's output is not a number: its training has diverged; train it with a lower rate")


def by_track(log_probabilities: np.ndarray, labels: np.ndarray, track_ids: np.ndarray) -> Tracks:
    """Combine each track's windows: the mean of their log-probabilities, scaled to a sum of 1 again.

    Args:
      log_probabilities: float [windows, classes].
      labels: int [windows].
      track_ids: int [windows], in any order.

    Raises:
      ValueError: windows of one track have different labels.
    """
    found, first, of_window = np.unique(track_ids, return_index=True, return_inverse=True)
    track_labels = np.asarray(labels)[first]
    mixed = track_labels[of_window] != labels
    if mixed.any():
        raise ValueError(f"track {np.asarray(track_ids)[mixed][0]} has windows with different labels")
    sums = np.zeros((len(found), log_probabilities.shape[1]))
    np.add.at(sums, of_window, log_probabilities)
    means = sums / np.bincount(of_window)[:, None]
    return Tracks(found, means - np.logaddexp.reduce(means, axis=1, keepdims=True), track_labels, of_window)


def song_log_probabilities(logits: np.ndarray) -> np.ndarray:
    """Combine a song's windows as `by_track` does: logits [windows, classes] -> log-probabilities float64 [classes].

    Raises:
      FmaError: a logit is not a number.
    """
    song = np.zeros(len(logits), np.int64)
    values = checked(log_softmax(logits), song, logits.shape[1])
    return by_track(values, song, song).log_probabilities[0]


def describe(log_probabilities: np.ndarray, labels: np.ndarray, genres: list[str]) -> dict[str, Any]:
    """Return the metrics that need no resampling; see `evaluate`."""
    confusion = confusion_matrix(labels, log_probabilities.argmax(axis=1), len(genres))
    scores = genre_scores(confusion)
    present = scores["support"] > 0
    return {
        "accuracy": float(np.trace(confusion) / confusion.sum()),
        "macro_f1": float(scores["f1"][present].mean()),
        "confusion": confusion.tolist(),
        "calibration_error": calibration_error(log_probabilities, labels),
        "genres": {genre: {name: scores[name][i].item() for name in scores} for i, genre in enumerate(genres)},
    }


def confusion_matrix(labels: np.ndarray, predicted: np.ndarray, classes: int) -> np.ndarray:
    """Count how often each true class (row) was predicted as each class (column), int [classes, classes]."""
    cells = np.asarray(labels, np.int64) * classes + predicted
    return np.bincount(cells, minlength=classes * classes).reshape(classes, classes)


def genre_scores(confusion: np.ndarray) -> dict[str, np.ndarray]:
    """Return precision, recall, f1 (float) and support (int) by class, [classes]; 0 instead of a division by 0."""
    right = np.diag(confusion).astype(np.float64)
    support, predicted = confusion.sum(axis=1), confusion.sum(axis=0)
    return {
        "precision": right / np.maximum(1, predicted),
        "recall": right / np.maximum(1, support),
        "f1": 2 * right / np.maximum(1, support + predicted),
        "support": support,
    }


def calibration_error(log_probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Return the expected calibration error (Guo et al., 2017): the distance between confidence and accuracy.

    Predictions are grouped by the probability of the predicted class into 15 bins of equal width; the mean over bins of
    |accuracy - mean probability|, weighted by the predictions in the bin. 0 is perfect, 1 the worst.
    """
    confidence = np.minimum(1.0, np.exp(log_probabilities.max(axis=1)))
    right = log_probabilities.argmax(axis=1) == labels
    bins = np.clip(np.ceil(confidence * CALIBRATION_BINS).astype(np.int64) - 1, 0, None)
    # |accuracy - confidence| of a bin, times its size, is the absolute difference of the two sums.
    return float(np.abs(np.bincount(bins, right - confidence)).sum() / len(labels))


def bootstrap(hits: np.ndarray, sizes: np.ndarray, resamples: int, seed: int) -> list[float]:
    """Return a 95% interval of an accuracy: percentiles over resamples of the tracks, drawn with replacement.

    Args:
      hits: float [tracks], right predictions of each track.
      sizes: [tracks], predictions of each track.
      resamples: how often to draw as many tracks as there are.
      seed: of the draws.

    Returns:
      [low, high], the 2.5th and the 97.5th percentile.
    """
    rng = np.random.default_rng(seed)
    count = len(hits)
    at_once = max(1, _CHUNK // count)
    accuracies = []
    for start in range(0, resamples, at_once):
        drawn = rng.integers(0, count, (min(at_once, resamples - start), count))
        accuracies.append(hits[drawn].sum(axis=1) / sizes[drawn].sum(axis=1))
    return [float(value) for value in np.percentile(np.concatenate(accuracies), [2.5, 97.5])]
