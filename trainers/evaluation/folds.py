"""Cross-validation by artist: folds of a table's tracks, none of which shares an artist with another; their scores."""

import warnings
from typing import Any

import numpy as np

from trainers.classical.table import Table
from trainers.evaluation import metrics
from trainers.runs.predictions import RunPredictions
from transforms.catalog.genres import FEWEST
from transforms.errors import UsageError
from transforms.tracks import artist_key

FOLDS = 5
COVERED = 0.9  # share of the training tracks whose genres validation must have enough tracks of

Rows = np.ndarray


def deal_folds(table: Table, seed: int, count: int | None = None) -> list[tuple[Rows, Rows, Rows]]:
    """Return the rows of training, validation and test, int64, of each of so many rounds (default `FOLDS`).

    All rows are dealt into folds, whatever their split; each fold is the test once, the next one is then the
    validation, and the others are the training.

    Raises:
      UsageError: there are too few artists or genres.
    """
    folds = [fold for _, fold in split_by_artist(table, np.arange(len(table.labels)), seed, count or FOLDS)]
    if len(folds) < 3:
        raise UsageError(f"{table.name}: too few artists to make training, validation and test of")
    if count and len(folds) < count:
        raise UsageError(f"--folds {count}: {table.name} has artists for {len(folds)} folds only")
    rounds = []
    for i, test in enumerate(folds):
        at = (i + 1) % len(folds)
        training = np.sort(np.concatenate([fold for j, fold in enumerate(folds) if j not in (i, at)]))
        check_genres(table, training)
        rounds.append((training, folds[at], test))
    return rounds


def split_by_artist(table: Table, rows: Rows, seed: int, most: int = FOLDS) -> list[tuple[Rows, Rows]]:
    """Return (others, fold) for that many folds at most: an artist is in one fold, genres are spread evenly.

    Raises:
      UsageError: there are no two folds.
    """
    from sklearn.model_selection import StratifiedGroupKFold

    count = count_folds(table, rows, most)
    if count < 2:
        raise UsageError(
            f"{table.name} is too small to choose hyper-parameters within training: that takes two artists, and a "
            "genre with two tracks; add music, or a validation split"
        )
    splitter = StratifiedGroupKFold(count, shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The least populated class")  # some genres have few tracks
        pairs = splitter.split(rows, table.labels[rows], artist_groups(table)[rows])
        return [(rows[others], rows[fold]) for others, fold in pairs if len(fold)]


def count_folds(table: Table, rows: Rows, most: int = FOLDS) -> int:
    """Return how many folds rows can be dealt into, at most so many."""
    return min(most, len(np.unique(artist_groups(table)[rows])), int(np.bincount(table.labels[rows]).max()))


def artist_groups(table: Table) -> np.ndarray:
    """Number the artists, int64 [tracks], ignoring case and spacing; tracks of unknown artists all differ."""
    names = [
        artist_key(artist) or f"\0{track_id}"
        for artist, track_id in zip(table.artists.tolist(), table.track_ids.tolist(), strict=True)
    ]
    return np.unique(names, return_inverse=True)[1]


def can_choose(training: np.ndarray, validation: np.ndarray) -> bool:
    """Return whether validation tells models apart: has `FEWEST` tracks of the genres of nearly all training tracks.

    One rare genre less does not make a choice on thousands of tracks a bad one.

    Args:
      training, validation: labels, int64 [tracks].
    """
    enough = np.bincount(validation, minlength=int(training.max()) + 1) >= FEWEST
    return bool(enough[training].mean() >= COVERED)


def check_genres(table: Table, training: Rows) -> None:
    """Raise a UsageError where all training rows have one genre."""
    if len(np.unique(table.labels[training])) < 2:
        raise UsageError(f"{table.name}: all training tracks have one genre; there is nothing to learn")


def score_models(predictions: RunPredictions, seed: int) -> dict[str, dict[str, Any]]:
    """Return the metrics of each model over all tracks, and of a cross-validation also by fold.

    Returns:
      {model's name: {"per_track": as `metrics.evaluate`, "by_fold": {accuracy: of each fold, mean, deviation: the
      standard deviation between folds}}}.
    """
    of = (predictions.label, predictions.track_id, predictions.genres)
    found = {}
    for name, values in predictions.log_probabilities.items():
        found[name] = {"per_track": metrics.evaluate(values, *of, seed=seed)["per_track"]}
        if predictions.fold.any():
            found[name]["by_fold"] = _by_fold(values.argmax(axis=1) == predictions.label, predictions.fold)
    return found


def _by_fold(right: np.ndarray, fold: np.ndarray) -> dict[str, Any]:
    accuracy = np.bincount(fold, right) / np.bincount(fold)
    return {"accuracy": accuracy.tolist(), "mean": float(accuracy.mean()), "deviation": float(accuracy.std(ddof=1))}
