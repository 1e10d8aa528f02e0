"""Runs read for comparison: every model on the same test tracks, with the same genres in the same order."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, reduce
from typing import Any, Generic, TypeVar

import numpy as np

from trainers.evaluation.metrics import LOWEST, describe
from trainers.runs.directory import RunConfig, load_config
from trainers.runs.genre_predictions import GenrePredictions, read_genre_predictions
from trainers.runs.novelty import is_unlike
from trainers.runs.predictions import RunPredictions, read_predictions
from trainers.runs.state import RunState, load_state
from transforms.errors import UsageError
from transforms.runtime import console

SPLIT = "test"

Predictions = TypeVar("Predictions", RunPredictions, GenrePredictions)


@dataclass(frozen=True)
class Run(Generic[Predictions]):
    """A run's files."""

    path: str  # as given
    config: RunConfig  # its config.json
    state: RunState  # its state.json; at the start for a run that has no epochs
    predictions: Predictions  # of its models, on all test tracks that the run has

    @property
    def digest(self) -> str:
        """Return the digest of the dataset that it was trained on."""
        return self.config.dataset["digest"]


@dataclass(frozen=True)
class ModelOfRun:
    """A model in the report."""

    name: str  # unique among those that it is compared with
    run: Run  # that it belongs to
    key: str  # its name in the run
    unlike: np.ndarray | None  # bool [tracks], the common ones that are unlike what it was trained on; None: not known


@dataclass(frozen=True)
class Model(ModelOfRun):
    """A model's predictions for the common tracks, one label each."""

    log_probabilities: np.ndarray  # float64 [tracks, genres], at least LOWEST
    label: np.ndarray  # int64 [tracks], the true genres
    genres: list[str]  # the common ones

    @cached_property
    def predicted(self) -> np.ndarray:
        """Return the predicted genres, int64 [tracks]."""
        return self.log_probabilities.argmax(axis=1)

    @cached_property
    def right(self) -> np.ndarray:
        """Return which predictions are right, bool [tracks]."""
        return self.predicted == self.label

    @cached_property
    def top_two(self) -> float:
        """Return the share of tracks whose true genre is one of the two that are the most likely."""
        first = np.argsort(-self.log_probabilities, axis=1, kind="stable")[:, :2]
        return float((first == self.label[:, None]).any(axis=1).mean())

    @cached_property
    def confidence(self) -> np.ndarray:
        """Return the probabilities of the predicted genres, float64 [tracks]."""
        return np.minimum(1.0, np.exp(self.log_probabilities.max(axis=1)))

    @cached_property
    def scores(self) -> dict[str, Any]:
        """Return the metrics; see `metrics.describe`."""
        return describe(self.log_probabilities, self.label, self.genres)


@dataclass(frozen=True)
class Comparison:
    """Models with one label for each track, on the same tracks."""

    runs: list[Run[RunPredictions]]  # in the order given
    genres: list[str]  # names; labels are indices into them
    track_id: np.ndarray  # int64 [tracks], ascending
    label: np.ndarray  # int64 [tracks]
    models: list[Model]  # the best first, by accuracy, then by the mean log-probability of the true genre


def read_runs(paths: Sequence[str]) -> tuple[list[Run[RunPredictions]], list[Run[GenrePredictions]]]:
    """Read the runs, each once: those with one label for each track, and those with many genres.

    Raises:
      UsageError: there is no such run.
      FmaError: one is damaged or has no test predictions yet.
    """
    one_label: list[Run[RunPredictions]] = []
    many: list[Run[GenrePredictions]] = []
    for path in dict.fromkeys(path.rstrip("/") or path for path in paths):
        config, state = load_config(path), load_state(path)
        if config.many:
            many.append(Run(path, config, state, read_genre_predictions(path, SPLIT)))
        else:
            one_label.append(Run(path, config, state, read_predictions(path, SPLIT)))
    return one_label, many


def compare(runs: list[Run[RunPredictions]]) -> Comparison:
    """Reduce the models of all runs to the tracks that all of them have.

    Raises:
      UsageError: runs of different datasets have different test tracks, there is no common track, or a track has
        different genres in two runs.
    """
    track_id = common_tracks(runs)
    genres = list(dict.fromkeys(genre for run in runs for genre in run.predictions.genres))
    of_runs = [rows_of(run, track_id) for run in runs]
    labels = [_labels(run, rows, genres) for run, rows in zip(runs, of_runs, strict=True)]
    for run, label in zip(runs[1:], labels[1:], strict=True):
        for row in np.flatnonzero(labels[0] != label)[:1]:
            raise UsageError(
                f"track {track_id[row]} is {genres[labels[0][row]]} in {runs[0].path} and {genres[label[row]]} in "
                f"{run.path}: compare runs of one dataset"
            )
    found = [
        (run, key, values, rows)
        for run, rows in zip(runs, of_runs, strict=True)
        for key, values in run.predictions.log_probabilities.items()
    ]
    models = [
        Model(name, run, key, unlike_rows(run, key, rows), _on_tracks(run, values[rows], genres), labels[0], genres)
        for name, (run, key, values, rows) in zip(model_names(runs), found, strict=True)
    ]
    of_truth = np.arange(len(track_id)), labels[0]
    models.sort(key=lambda model: (-model.right.mean(), -model.log_probabilities[of_truth].mean(), model.name))
    return Comparison(runs, genres, track_id, labels[0], models)


def common_tracks(runs: Sequence[Run]) -> np.ndarray:
    """Return the test tracks that all runs have, int64, ascending; `compare` lists the errors."""
    for run in runs[1:]:
        _check_dataset(runs[0], run)
    track_id = reduce(np.intersect1d, [run.predictions.track_id for run in runs])
    if not len(track_id):
        raise UsageError("the runs have no test track in common: compare runs of one dataset")
    if any(len(run.predictions.track_id) > len(track_id) for run in runs):
        console.log(f"the runs were tested on different tracks: compared on the {len(track_id):,} that all have")
    return track_id


def rows_of(run: Run, track_id: np.ndarray) -> np.ndarray:
    """Return the rows, int [tracks], that tracks have in a run's predictions."""
    return np.searchsorted(run.predictions.track_id, track_id)


def unlike_rows(run: Run, key: str, rows: np.ndarray) -> np.ndarray | None:
    """Return which tracks are unlike what a model of the run was trained on, bool [rows]; None: not known."""
    novelty = run.predictions.novelty.get(key)
    return None if novelty is None else np.array([is_unlike(value) for value in novelty[rows].tolist()])


def model_names(runs: Sequence[Run]) -> list[str]:
    """Name each model of each run: by its own name, with the run's folder or whole path where that is not unique."""
    found = [(name, run.path, run.path.rpartition("/")[2]) for run in runs for name in run.predictions.models]
    names = ["" for _ in found]
    for proposed in (
        [name for name, _, _ in found],
        [folder if name in folder else f"{name} ({folder})" for name, _, folder in found],
        [f"{name} ({path})" for name, path, _ in found],
    ):
        names = [old or (new if proposed.count(new) == 1 else "") for old, new in zip(names, proposed, strict=True)]
    return names


def _check_dataset(one: Run, other: Run) -> None:
    first, second = one.predictions.track_id, other.predictions.track_id
    if one.digest == other.digest or np.array_equal(first, second):
        return
    raise UsageError(
        f"{one.path} and {other.path} were trained on different datasets (digests {one.digest[:12]} and "
        f"{other.digest[:12]}) with different test tracks ({len(first):,} and {len(second):,}, "
        f"{len(np.intersect1d(first, second)):,} in both): compare runs of one dataset"
    )


def _labels(run: Run[RunPredictions], rows: np.ndarray, genres: list[str]) -> np.ndarray:
    """Return the true genres of the tracks of some rows, int64 [rows]."""
    found = run.predictions
    ids = np.array([genres.index(genre) for genre in found.genres], np.int64)
    return ids[found.label[rows]]


def _on_tracks(run: Run[RunPredictions], values: np.ndarray, genres: list[str]) -> np.ndarray:
    """Return log-probabilities float64 [tracks, genres]; a genre that the model does not know has LOWEST."""
    found = np.full((len(values), len(genres)), LOWEST)
    columns = [genres.index(genre) for genre in run.predictions.genres]
    found[:, columns] = np.maximum(values, LOWEST)
    return found
