"""Predictions of a run's models for each track of a split of its own dataset; one form for Keras and classical runs.

A file `predictions/SPLIT.npz` of the run holds a `RunPredictions`; in a run, equal predictions give equal bytes.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from trainers.evaluation.metrics import wilson
from trainers.runs.directory import (
    BASELINES,
    METRICS,
    PREDICTIONS,
    RunConfig,
    is_run,
    load_config,
    read_metrics,
    report_damage,
)
from trainers.runs.files import open_zip, write_zip
from trainers.runs.novelty import is_unlike
from transforms import storage
from transforms.dataset.manifest import is_dataset, load
from transforms.errors import FmaError, UsageError
from transforms.library_errors import DAMAGED_ZIP
from transforms.runtime import console
from transforms.runtime.invocation import command_line

_KEY, NOVELTY = "log_probabilities/", "novelty/"


@dataclass(frozen=True)
class RunPredictions:
    """Predictions of all models of a run; the same tracks for each model."""

    track_id: np.ndarray  # int64 [tracks], ascending
    label: np.ndarray  # int64 [tracks], indices into genres
    genres: list[str]  # the classes' names
    log_probabilities: dict[str, np.ndarray]  # {model's name: float32 [tracks, classes]}; the prediction is the argmax
    fold: np.ndarray  # int64 [tracks], the round in which the track was tested; 0 where there was one
    # {model's name: float32 [tracks]}, see `trainers.runs.novelty`; without the models that do not know
    novelty: dict[str, np.ndarray] = field(default_factory=dict)

    @property
    def models(self) -> list[str]:
        """Return the models' names."""
        return list(self.log_probabilities)


@dataclass(frozen=True)
class TrackPredictions:
    """Predictions of one model; the fields are those of `RunPredictions`."""

    track_id: np.ndarray
    label: np.ndarray
    genres: list[str]
    log_probabilities: np.ndarray
    novelty: np.ndarray | None


@dataclass(frozen=True, slots=True)
class ModelPrediction:
    """The prediction of one model for one track."""

    run: str  # path of the run
    model: str  # name of the model
    genre: str  # the one with the highest probability
    right: bool  # whether that is the track's genre
    probabilities: dict[str, float]  # by genre, with four decimals
    novelty: float | None  # see `trainers.runs.novelty`
    unlike_training: bool  # whether the track is unlike what the model was trained on, as far as is known


@dataclass(frozen=True, slots=True)
class Validated:
    """A run's best model on validation."""

    model: str
    accuracy: float  # share of the tracks that it gets right
    tracks: int | None  # how many: of the split, or of the folds that took its place; None: an older run of baselines


def read_run_predictions(run: str, split: str = "test") -> dict[str, TrackPredictions]:
    """Read the predictions of a run's models for the tracks of a split of the run's own dataset.

    Returns:
      {model's name: its predictions}, in the order of the run: one model, named as in config.json, of fma train, one
      or more of fma baselines.

    Raises:
      UsageError: there is no such run.
      FmaError: it has no predictions for that split yet, or the file is damaged.
    """
    found = read_predictions(run, split)
    return {
        name: TrackPredictions(found.track_id, found.label, found.genres, values, found.novelty.get(name))
        for name, values in found.log_probabilities.items()
    }


def collect_predictions(runs: list[str], split: str, track_id: int) -> tuple[list[ModelPrediction], list[str]]:
    """Return the predictions of some runs' models for a track, and for each run without one a line that says why."""
    predictions: list[ModelPrediction] = []
    missing: list[str] = []
    for run in runs:
        try:  # of a cross-validation, every track is among those of test
            models = read_run_predictions(run, "test" if load_config(run).folds else split)
        except FmaError as error:
            missing.append(str(error))
            continue
        found = [_predict_track(run, name, values, track_id) for name, values in models.items()]
        predictions += [one for one in found if one]
        if not all(found):
            missing.append(f"{run} was not evaluated on this track: its dataset did not hold it")
    return predictions, missing


def choose_run(path: str) -> str:
    """Return the run at a path, or of a working folder of `fma run` the one that is best on validation, by track.

    Of a working folder's runs, those on its dataset as it is now count. Which run it is becomes a note.

    Raises:
      FmaError: a run's predictions or the dataset are damaged.
    """
    folder, dataset = storage.join(path, "runs"), storage.join(path, "dataset")
    if is_run(path) or not is_dataset(dataset):
        return path
    digest = load(dataset).digest
    runs = [run for name in storage.list_folders(folder) if is_run(run := storage.join(folder, name))]
    found = {run: load_config(run) for run in runs}
    usable = {run: config for run, config in found.items() if not config.many and not config.folds}
    configs = {run: config for run, config in usable.items() if config.dataset["digest"] == digest}
    validated = validate_runs(configs)
    if not validated:
        raise UsageError(f"{path} has no finished run on its dataset: run {command_line('run')} again")
    best = best_on_validation(validated)
    console.log(f"the run that validation vouches for most: {best} ({validated[best].accuracy:.0%} by track)")
    return best


def validate_runs(configs: Mapping[str, RunConfig]) -> dict[str, Validated]:
    """Return the best model on validation of each run; without runs that are not finished or had no such tracks."""
    found = {run: _validated(run, config) for run, config in configs.items()}
    return {run: one for run, one in found.items() if one}


def best_on_validation(validated: Mapping[str, Validated]) -> str:
    """Return the run with the highest accuracy that its validation tracks vouch for.

    That is the lower end of Wilson's 95% interval: where validation is thin, baselines are scored in folds and networks
    on a few tracks, and these must not win by luck. It is the accuracy itself where a run does not know its tracks.
    """
    sizes = [one.tracks for one in validated.values()]

    def vouched(run: str) -> float:
        accuracy, tracks = validated[run].accuracy, validated[run].tracks
        return wilson(round(accuracy * tracks), tracks)[0] if tracks and None not in sizes else accuracy

    return max(validated, key=vouched)


def _validated(run: str, config: RunConfig) -> Validated | None:
    """Return a run's best model on validation; of fma baselines, the one with the lowest log loss.

    None for a run that is not finished or has no validation tracks.
    """
    if config.model == BASELINES:
        with report_damage(storage.join(run, METRICS)):
            fits = {name: entry["fits"][0]["validation"] for name, entry in read_metrics(run).get("models", {}).items()}
            name = min(fits, key=lambda name: fits[name]["log_loss"], default=None)
            return Validated(name, fits[name]["accuracy"], fits[name].get("tracks")) if name is not None else None
    if not storage.exists(predictions_path(run, "validation")):
        return None
    ((name, found),) = read_run_predictions(run, "validation").items()
    right = found.log_probabilities.argmax(axis=1) == found.label
    return Validated(name, float(right.mean()), len(right))


def _predict_track(run: str, model: str, found: TrackPredictions, track_id: int) -> ModelPrediction | None:
    (rows,) = np.nonzero(found.track_id == track_id)
    if not len(rows):
        return None
    probabilities = np.exp(found.log_probabilities[rows[0]].astype(np.float64))
    best = int(probabilities.argmax())
    by_genre = dict(zip(found.genres, probabilities.round(4).tolist(), strict=True))
    right = best == int(found.label[rows[0]])
    novelty = None if found.novelty is None else round(float(found.novelty[rows[0]]), 4)
    return ModelPrediction(run, model, found.genres[best], right, by_genre, novelty, is_unlike(novelty))


def single_model_predictions(
    name: str, track_id: np.ndarray, label: np.ndarray, genres: list[str], log_probabilities: np.ndarray
) -> RunPredictions:
    """Return the predictions of a run that has one model; tracks in any order, log-probabilities of any float."""
    order = np.argsort(track_id)
    values = {name: log_probabilities[order].astype(np.float32)}
    return RunPredictions(track_id[order], label[order], genres, values, np.zeros(len(order), np.int64))


def predictions_path(run: str, split: str) -> str:
    """Return where a run keeps its predictions for a split."""
    return storage.join(run, _name(split))


def _name(split: str) -> str:
    return f"{PREDICTIONS}/{split}.npz"


def write_predictions(run: str, split: str, predictions: RunPredictions) -> None:
    """Replace a run's predictions for a split."""
    arrays = {name: getattr(predictions, name) for name in ("track_id", "label", "fold")}
    arrays |= {_KEY + name: values for name, values in predictions.log_probabilities.items()}
    arrays |= {NOVELTY + name: values for name, values in predictions.novelty.items()}
    write_arrays(run, split, {"genres": np.array(predictions.genres)} | arrays)


def write_arrays(run: str, split: str, arrays: dict[str, np.ndarray]) -> None:
    """Replace what a run's file for a split holds."""
    write_zip(run, _name(split), lambda file: np.savez_compressed(file, **arrays))  # type: ignore[arg-type]


def read_predictions(run: str, split: str) -> RunPredictions:
    """Read all that a run's file holds; see `read_run_predictions` for the errors."""
    if load_config(run).many:
        raise UsageError(f"{run} gives each track many genres (--labels all); this is for runs with one label each")
    arrays = read_arrays(run, split)
    with report_damage(predictions_path(run, split)):
        numbers = {name: arrays[name] for name in ("track_id", "label", "fold")}
        models, novelty = (by_model(arrays, key) for key in (_KEY, NOVELTY))
        return RunPredictions(**numbers, genres=arrays["genres"].tolist(), log_probabilities=models, novelty=novelty)


def by_model(arrays: dict[str, np.ndarray], key: str) -> dict[str, np.ndarray]:
    """Return the arrays whose names begin with a key, by what follows it."""
    return {name.removeprefix(key): values for name, values in arrays.items() if name.startswith(key)}


def read_arrays(run: str, split: str) -> dict[str, np.ndarray]:
    """Read what `write_arrays` wrote; see `read_run_predictions` for the errors."""
    path = predictions_path(run, split)
    advice = f"remove it and run {command_line('evaluate', run, '--data', 'DATASET', '--split', split)}"
    if not storage.exists(path):
        raise _none_yet(run, split)
    with open_zip(run, _name(split), advice) as file:
        try:
            with np.load(file, allow_pickle=False) as arrays:
                return {name: arrays[name] for name in arrays.files}
        except DAMAGED_ZIP as error:
            raise FmaError(f"{path} is damaged ({error}): {advice}") from error


def _none_yet(run: str, split: str) -> FmaError:
    config = load_config(run)
    command = command_line("evaluate", run, "--data", config.dataset["path"], "--split", split)
    if config.options.get("features_csv"):
        command = f"{command_line('baselines')} with the same settings"
    return FmaError(f"{run} has no {split} predictions yet: finish it, or run {command}")
