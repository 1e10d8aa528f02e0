"""What the runs say, brought together: every model on the same test tracks, with the same genres in the same order."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from trainers.evaluation.metrics import LOWEST, describe
from trainers.runs.directory import RunConfig, load_config
from trainers.runs.predictions import TrackPredictions, read_run_predictions
from trainers.runs.state import RunState, load_state, read_history
from transforms.errors import UsageError
from transforms.runtime import console

SPLIT = "test"


@dataclass(frozen=True)
class Run:
    """A run as it lies on disk.

    Attributes:
      path: as given.
      config: its config.json.
      state: its state.json; at the start for a run that has no epochs.
      history: its history.csv, [] where there are no epochs.
      predictions: by model, on all test tracks that the run has.
    """

    path: str
    config: RunConfig
    state: RunState
    history: list[dict[str, Any]]
    predictions: dict[str, TrackPredictions]

    @property
    def tracks(self) -> TrackPredictions:
        """Of any of its models: they have the same tracks."""
        return next(iter(self.predictions.values()))

    @property
    def digest(self) -> str:
        """Of the dataset that it was trained on."""
        return self.config.dataset["digest"]


@dataclass(frozen=True)
class Model:
    """One model on the common tracks.

    Attributes:
      name: unique in the report.
      run: where it comes from.
      log_probabilities: float64 [tracks, genres].
      label: int64 [tracks], the truth.
      genres: the common ones.
    """

    name: str
    run: Run
    log_probabilities: np.ndarray
    label: np.ndarray
    genres: list[str]

    @cached_property
    def predicted(self) -> np.ndarray:
        """int64 [tracks]."""
        return self.log_probabilities.argmax(axis=1)

    @cached_property
    def right(self) -> np.ndarray:
        """bool [tracks]."""
        return self.predicted == self.label

    @cached_property
    def confidence(self) -> np.ndarray:
        """float64 [tracks], the probability of the predicted genre."""
        return np.minimum(1.0, np.exp(self.log_probabilities.max(axis=1)))

    @cached_property
    def scores(self) -> dict[str, Any]:
        """See `metrics.describe`."""
        return describe(self.log_probabilities, self.label, self.genres)


@dataclass(frozen=True)
class Comparison:
    """Models on the same tracks.

    Attributes:
      runs: in the order given.
      genres: names; labels are indices into them.
      track_id: int64 [tracks], ascending.
      label: int64 [tracks].
      models: the best first, by accuracy, then by the mean log-probability of the truth.
    """

    runs: list[Run]
    genres: list[str]
    track_id: np.ndarray
    label: np.ndarray
    models: list[Model]


def read_runs(paths: Sequence[str]) -> list[Run]:
    """Reads the runs; one that is named twice is read once.

    Raises:
      UsageError: there is no such run.
      FmaError: one is damaged or has no test predictions yet.
    """
    return [
        Run(path, load_config(path), load_state(path), read_history(path), read_run_predictions(path, SPLIT))
        for path in dict.fromkeys(path.rstrip("/") or path for path in paths)
    ]


def compare(runs: list[Run]) -> Comparison:
    """Brings the models of all runs to the tracks that all have.

    Raises:
      UsageError: runs of different datasets have different test tracks, there is no common track, or a track has
        another genre in another run.
    """
    for run in runs[1:]:
        _refuse_other_tracks(runs[0], run)
    track_id = runs[0].tracks.track_id
    for run in runs[1:]:
        track_id = np.intersect1d(track_id, run.tracks.track_id)
    if not len(track_id):
        raise UsageError("the runs have no test track in common: compare runs of one dataset")
    if any(len(run.tracks.track_id) > len(track_id) for run in runs):
        console.log(f"the runs were tested on different tracks: compared on the {len(track_id):,} that all have")
    genres = list(dict.fromkeys(genre for run in runs for genre in run.tracks.genres))
    label = _truth(runs[0], track_id, genres)
    for run in runs[1:]:
        _refuse_other_truth(runs[0], run, track_id, genres)
    models = [
        Model(name, run, _on_tracks(found, track_id, genres), label, genres)
        for (run, found), name in zip(
            [(run, found) for run in runs for found in run.predictions.values()], model_names(runs), strict=True
        )
    ]
    return Comparison(runs, genres, track_id, label, sorted(models, key=_rank))


def _rank(model: Model) -> tuple[float, float, str]:
    truth = model.log_probabilities[np.arange(len(model.label)), model.label]
    return -float(model.right.mean()), -float(np.maximum(truth, LOWEST).mean()), model.name


def model_names(runs: Sequence[Run]) -> list[str]:
    """A name for each model of each run: its own, with the run's folder or whole path where that is not unique."""
    pairs = [(name, run.path) for run in runs for name in run.predictions]
    names = ["" for _ in pairs]
    for shape in (_own, _with_folder, _with_path):
        shaped = [shape(*pair) for pair in pairs]
        names = [old or (new if shaped.count(new) == 1 else "") for old, new in zip(names, shaped, strict=True)]
    return names


def _own(name: str, path: str) -> str:
    return name


def _with_folder(name: str, path: str) -> str:
    folder = path.rpartition("/")[2]
    return folder if name in folder else f"{name} ({folder})"


def _with_path(name: str, path: str) -> str:
    return f"{name} ({path})"


def _refuse_other_tracks(one: Run, other: Run) -> None:
    first, second = one.tracks.track_id, other.tracks.track_id
    if one.digest == other.digest or np.array_equal(first, second):
        return
    raise UsageError(
        f"{one.path} and {other.path} were trained on different datasets (digests {one.digest[:12]} and "
        f"{other.digest[:12]}) with different test tracks ({len(first):,} and {len(second):,}, "
        f"{len(np.intersect1d(first, second)):,} in both): compare runs of one dataset"
    )


def _rows(predictions: TrackPredictions, track_id: np.ndarray) -> np.ndarray:
    return np.searchsorted(predictions.track_id, track_id)


def _truth(run: Run, track_id: np.ndarray, genres: list[str]) -> np.ndarray:
    """int64 [tracks]: labels as indices into genres."""
    found = run.tracks
    ids = np.array([genres.index(genre) for genre in found.genres], np.int64)
    return ids[found.label[_rows(found, track_id)]]


def _refuse_other_truth(one: Run, other: Run, track_id: np.ndarray, genres: list[str]) -> None:
    first, second = _truth(one, track_id, genres), _truth(other, track_id, genres)
    for row in np.flatnonzero(first != second)[:1]:
        raise UsageError(
            f"track {track_id[row]} is {genres[first[row]]} in {one.path} and {genres[second[row]]} in {other.path}: "
            "compare runs of one dataset"
        )


def _on_tracks(predictions: TrackPredictions, track_id: np.ndarray, genres: list[str]) -> np.ndarray:
    """float64 [tracks, genres]; a genre that the model does not know has LOWEST."""
    values = np.full((len(track_id), len(genres)), LOWEST)
    columns = [genres.index(genre) for genre in predictions.genres]
    values[:, columns] = np.maximum(predictions.log_probabilities[_rows(predictions, track_id)], LOWEST)
    return values
