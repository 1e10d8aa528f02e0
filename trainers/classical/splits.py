"""Who is fitted, who chooses the hyper-parameters and who is scored: the one place that knows about splits."""

from dataclasses import dataclass

import numpy as np

from trainers.classical.data import Table
from transforms.errors import UsageError
from transforms.tracks import artist_key

FOLDS = 5

Rows = np.ndarray


@dataclass(frozen=True)
class Round:
    """One fair experiment; no row of `test` is in any of the others, nor is an artist where folds were made here.

    Attributes:
      tuning: (fitted rows, scored rows) of each fold that hyper-parameters are chosen on.
      fit: rows that the chosen model is then fitted on.
      test: rows that it is scored on, once.
    """

    tuning: list[tuple[Rows, Rows]]
    fit: Rows
    test: Rows


def make_rounds(table: Table, refit: bool, seed: int) -> list[Round]:
    """The experiments that a table allows.

    - With a training, a validation and a test split: one. Hyper-parameters are chosen on validation alone.
    - Without a validation split: one, and they are chosen by cross-validation within training, artists kept together.
    - Without any split: five. The rows are dealt into five folds, artists kept together; each fold is the test once,
      the next one is then its validation, and the other three are its training.

    Args:
      table: all splits.
      refit: whether the chosen model is fitted on training and validation together.
      seed: of the folds.

    Raises:
      UsageError: no training or no test split, or too few artists or genres for the folds.
    """
    if not (table.splits != "").any():
        return _cross_validation(table, refit, seed)
    training, validation, test = (table.rows(split) for split in ("training", "validation", "test"))
    for name, rows in (("training", training), ("test", test)):
        if not len(rows):
            raise UsageError(f"{table.name} has no track in the {name} split")
    _check_genres(table, training)
    if len(validation):
        from sklearn.model_selection import PredefinedSplit

        both = np.concatenate([training, validation])
        fold = np.repeat([-1, 0], [len(training), len(validation)])
        tuning = [(both[fitted], both[scored]) for fitted, scored in PredefinedSplit(fold).split()]
        return [Round(tuning, np.sort(both) if refit else training, test)]
    return [Round(_folds_of(table, training, seed), training, test)]


def _cross_validation(table: Table, refit: bool, seed: int) -> list[Round]:
    folds = [scored for _, scored in _folds_of(table, np.arange(len(table.labels)), seed)]
    if len(folds) < 3:
        raise UsageError(f"{table.name} has no split, and too few artists to make training, validation and test of")
    rounds = []
    for i, test in enumerate(folds):
        at = (i + 1) % len(folds)
        training = np.sort(np.concatenate([fold for j, fold in enumerate(folds) if j not in (i, at)]))
        _check_genres(table, training)
        fit = np.sort(np.concatenate([training, folds[at]])) if refit else training
        rounds.append(Round([(training, folds[at])], fit, test))
    return rounds


def _folds_of(table: Table, rows: Rows, seed: int) -> list[tuple[Rows, Rows]]:
    """(others, fold) for each of at most five folds: an artist is in one fold, genres are spread evenly."""
    import warnings

    from sklearn.model_selection import StratifiedGroupKFold

    artists = artist_groups(table)[rows]
    labels = table.labels[rows]
    count = min(FOLDS, len(np.unique(artists)), int(np.bincount(labels).max()))
    if count < 2:
        raise UsageError(f"{table.name}: one artist is too few to choose hyper-parameters; add a validation split")
    splitter = StratifiedGroupKFold(count, shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The least populated class")  # some genres have few tracks
        return [(rows[others], rows[fold]) for others, fold in splitter.split(rows, labels, artists) if len(fold)]


def artist_groups(table: Table) -> np.ndarray:
    """int64 [tracks]: equal for tracks of one artist, blind to case and spacing; unknown artists are all different."""
    names = [
        artist_key(artist) or f"\0{track_id}"
        for artist, track_id in zip(table.artists.tolist(), table.track_ids.tolist(), strict=True)
    ]
    return np.unique(names, return_inverse=True)[1]


def _check_genres(table: Table, training: Rows) -> None:
    if len(np.unique(table.labels[training])) < 2:
        raise UsageError(f"{table.name}: all training tracks have one genre; there is nothing to tell apart")


def stratified_sample(labels: np.ndarray, rows: Rows, most: int | None, seed: int) -> Rows:
    """At most `most` of the rows, each genre in its share and none left out; all rows where there are fewer."""
    if most is None or len(rows) <= most:
        return rows
    shuffled = np.random.default_rng(seed).permutation(rows)
    of_row = labels[shuffled]
    position = np.empty(len(rows))
    for label in np.unique(of_row):
        at = np.flatnonzero(of_row == label)
        position[at] = np.arange(len(at)) / len(at)
    return np.sort(shuffled[np.argsort(position, kind="stable")[:most]])
