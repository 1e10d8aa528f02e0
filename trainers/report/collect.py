"""Runs read for comparison: every model on the same test tracks, with the same genres in the same order."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from trainers.evaluation.metrics import LOWEST, describe
from trainers.runs.directory import RunConfig, load_config, require_one_label
from trainers.runs.predictions import TrackPredictions, read_run_predictions
from trainers.runs.state import RunState, load_state
from transforms.errors import UsageError
from transforms.runtime import console

SPLIT = "test"


@dataclass(frozen=True)
class Run:
    """A run's files."""

    path: str  # as given
    config: RunConfig  # its config.json
    state: RunState  # its state.json; at the start for a run that has no epochs
    predictions: dict[str, TrackPredictions]  # by model, on all test tracks that the run has

    @property
    def tracks(self) -> TrackPredictions:
        """Return the predictions of any of its models: they have the same tracks."""
        return next(iter(self.predictions.values()))

    @property
    def digest(self) -> str:
        """Return the digest of the dataset that it was trained on."""
        return self.config.dataset["digest"]


@dataclass(frozen=True)
class Model:
    """A model's predictions for the common tracks."""

    name: str  # unique in the report
    run: Run  # that it belongs to
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
    def confidence(self) -> np.ndarray:
        """Return the probabilities of the predicted genres, float64 [tracks]."""
        return np.minimum(1.0, np.exp(self.log_probabilities.max(axis=1)))

    @cached_property
    def scores(self) -> dict[str, Any]:
        """Return the metrics; see `metrics.describe`."""
        return describe(self.log_probabilities, self.label, self.genres)


@dataclass(frozen=True)
class Comparison:
    """Models on the same tracks."""

    runs: list[Run]  # in the order given
    genres: list[str]  # names; labels are indices into them
    track_id: np.ndarray  # int64 [tracks], ascending
    label: np.ndarray  # int64 [tracks]
    models: list[Model]  # the best first, by accuracy, then by the mean log-probability of the true genre


def read_runs(paths: Sequence[str]) -> list[Run]:
    """Read the runs, each once.

    Raises:
      UsageError: there is no such run.
      FmaError: one is damaged or has no test predictions yet.
    """
    found = []
    for path in dict.fromkeys(path.rstrip("/") or path for path in paths):
        config = load_config(path)
        require_one_label(path, config, "this report")
        found.append(Run(path, config, load_state(path), read_run_predictions(path, SPLIT)))
    return found


def compare(runs: list[Run]) -> Comparison:
    """Reduce the models of all runs to the tracks that all of them have.

    Raises:
      UsageError: runs of different datasets have different test tracks, there is no common track, or a track has
        different genres in two runs.
    """
    for run in runs[1:]:
        _check_dataset(runs[0], run)
    track_id = runs[0].tracks.track_id
    for run in runs[1:]:
        track_id = np.intersect1d(track_id, run.tracks.track_id)
    if not len(track_id):
        raise UsageError("the runs have no test track in common: compare runs of one dataset")
    if any(len(run.tracks.track_id) > len(track_id) for run in runs):
        console.log(f"the runs were tested on different tracks: compared on the {len(track_id):,} that all have")
    genres = list(dict.fromkeys(genre for run in runs for genre in run.tracks.genres))
    labels = [_labels(run, track_id, genres) for run in runs]
    for run, label in zip(runs[1:], labels[1:], strict=True):
        for row in np.flatnonzero(labels[0] != label)[:1]:
            raise UsageError(
                f"track {track_id[row]} is {genres[labels[0][row]]} in {runs[0].path} and {genres[label[row]]} in "
                f"{run.path}: compare runs of one dataset"
            )
    found = [(run, predictions) for run in runs for predictions in run.predictions.values()]
    models = [
        Model(name, run, _on_tracks(predictions, track_id, genres), labels[0], genres)
        for name, (run, predictions) in zip(model_names(runs), found, strict=True)
    ]
    of_truth = np.arange(len(track_id)), labels[0]
    models.sort(key=lambda model: (-model.right.mean(), -model.log_probabilities[of_truth].mean(), model.name))
    return Comparison(runs, genres, track_id, labels[0], models)


def model_names(runs: Sequence[Run]) -> list[str]:
    """Name each model of each run: by its own name, with the run's folder or whole path where that is not unique."""
    found = [(name, run.path, run.path.rpartition("/")[2]) for run in runs for name in run.predictions]
    names = ["" for _ in found]
    for proposed in (
        [name for name, _, _ in found],
        [folder if name in folder else f"{name} ({folder})" for name, _, folder in found],
        [f"{name} ({path})" for name, path, _ in found],
    ):
        names = [old or (new if proposed.count(new) == 1 else "") for old, new in zip(names, proposed, strict=True)]
    return names


def _check_dataset(one: Run, other: Run) -> None:
    first, second = one.tracks.track_id, other.tracks.track_id
    if one.digest == other.digest or np.array_equal(first, second):
        return
    raise UsageError(
        f"{one.path} and {other.path} were trained on different datasets (digests {one.digest[:12]} and "
        f"{other.digest[:12]}) with different test tracks ({len(first):,} and {len(second):,}, "
        f"{len(np.intersect1d(first, second)):,} in both): compare runs of one dataset"
    )


def _labels(run: Run, track_id: np.ndarray, genres: list[str]) -> np.ndarray:
    """Return the true genres of some tracks, int64 [tracks]."""
    ids = np.array([genres.index(genre) for genre in run.tracks.genres], np.int64)
    return ids[run.tracks.label[np.searchsorted(run.tracks.track_id, track_id)]]


def _on_tracks(predictions: TrackPredictions, track_id: np.ndarray, genres: list[str]) -> np.ndarray:
    """Return log-probabilities float64 [tracks, genres]; a genre that the model does not know has LOWEST."""
    values = np.full((len(track_id), len(genres)), LOWEST)
    columns = [genres.index(genre) for genre in predictions.genres]
    rows = np.searchsorted(predictions.track_id, track_id)
    values[:, columns] = np.maximum(predictions.log_probabilities[rows], LOWEST)
    return values
