"""Models of `fma baselines` as serving calls them: payloads in, logits out, of one label or of many genres."""

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from statistics import mean
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from trainers.classical import one_vs_rest
from trainers.classical.features import STATS
from trainers.classical.finished import features_of, load_finished
from trainers.classical.models import MODELS, load_model, save_model, warn_about_versions
from trainers.classical.table import group_columns
from trainers.evaluation.calibration import class_scores, log_probabilities
from trainers.evaluation.multilabel import keep_consistent
from trainers.runs.directory import METRICS, RunConfig
from trainers.runs.files import BUNDLE, CONFIG, ID, make_id, read_identity, report_damage, write_identity
from trainers.runs.novelty import Novelty, novelty_of, read_novelty
from trainers.serving.tasks import ManyGenres, Task, read_task, task_of
from trainers.serving.track_features import ANYWHERE, Opening, TrackFeatures
from transforms import storage
from transforms.config import DatasetConfig
from transforms.dataset.manifest import is_dataset, load
from transforms.encoders.facts import EncoderFacts
from transforms.errors import UsageError
from transforms.runtime.invocation import command_line

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline


class Classical(Protocol):
    """A fitted model."""

    def logits(self, values: np.ndarray) -> np.ndarray:
        """Return float [b, genres] of values float32 [b, columns], for the run's task."""

    def features(self, values: np.ndarray) -> np.ndarray:
        """Return the classifier's own input: scaled columns or principal components, float32 [b, d]."""

    def save(self, folder: str, file: str) -> None:
        """Write it."""


@dataclass(frozen=True)
class OfOneLabel:
    """A pipeline of scaler, PCA and classifier."""

    pipeline: "Pipeline"
    method: str  # that gives its scores; see `class_scores`
    temperature: float
    classes: int

    def logits(self, values: np.ndarray) -> np.ndarray:
        """See `Classical`; they are log-probabilities already."""
        scores = class_scores(self.pipeline, self.method, values, self.classes)
        return log_probabilities(scores, self.temperature)

    def features(self, values: np.ndarray) -> np.ndarray:
        """See `Classical`."""
        return np.asarray(self.pipeline[:-1].transform(values), np.float32)

    def save(self, folder: str, file: str) -> None:
        """See `Classical`."""
        save_model(folder, file, self.pipeline)


@dataclass(frozen=True, eq=False)
class OfManyGenres:
    """A model of all genres together."""

    fitted: one_vs_rest.Fitted
    above: np.ndarray  # as `trainers.evaluation.multilabel.ancestors`

    def logits(self, values: np.ndarray) -> np.ndarray:
        """See `Classical`; no genre's is above its parent's."""
        return keep_consistent(self.fitted.logits(values), self.above)

    def features(self, values: np.ndarray) -> np.ndarray:
        """See `Classical`."""
        return self.fitted.front.apply(values)

    def save(self, folder: str, file: str) -> None:
        """See `Classical`."""
        one_vs_rest.save_model(folder, file, self.fitted)


class ClassicalScorer:
    """A `Scorer` of a classical model and its entry in the run's metrics.json.

    `load` returns the model. It runs on a thread of its own, since the decoders, which a song waits for, too, can start
    while scikit-learn is imported; its errors are raised where the model is used first.

    Raises:
      KeyError, TypeError, ValueError, AttributeError: the entry is damaged.
    """

    by_window = False

    def __init__(
        self,
        name: str,
        load: Callable[[], Classical],
        entry: dict[str, Any],
        task: Task,
        config: DatasetConfig,
        *,
        features: TrackFeatures,
        weights: str,
    ):
        self.weights, self.of_tracks, self.kinds = weights, features, features.kinds
        self.name, self.task, self.config, self.entry = name, task, config, entry
        self.novelty: Novelty | None = None  # of exports; `open_baselines` sets that of a run
        self.columns = group_columns(features.columns, entry["features_group"])
        thread = ThreadPoolExecutor(1, "load")
        self._model = thread.submit(load)
        thread.shutdown(wait=False)

    @property
    def model(self) -> Classical:
        """The fitted model; FmaError where its file is damaged."""
        return self._model.result()

    def rows(self, kind: str, payloads: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """See `Scorer`."""
        return np.empty((len(payloads), 0), np.float32), self.of_tracks.of_payloads(kind, payloads)

    def logits(self, table: np.ndarray) -> np.ndarray:
        """Return float [b, genres] of rows float32 [b, columns] of the table that the run was fitted on."""
        return self.model.logits(table[:, self.columns])

    def features(self, table: np.ndarray) -> np.ndarray:
        """Return the classifier's own input: scaled columns or principal components, float32 [b, d]."""
        return self.model.features(table[:, self.columns])

    def song(self, logits: np.ndarray, means: Mapping[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray, float | None]:
        """See `Scorer`."""
        row = self.of_tracks.row(means)
        return self.logits(row), self.features(row)[0], novelty_of(self.novelty, row[0, self.columns])


def open_baselines(run: str, model: str | None, opening: Opening = ANYWHERE) -> ClassicalScorer:
    """Open a model of a run of fma baselines; see `trainers.serving.scorers.open_scorer`."""
    (scorer,) = _open_fits(run, model, opening, *load_finished(run))
    scorer.novelty = read_novelty(run, scorer.entry["features_group"])
    return scorer


def open_folds(run: str, model: str | None, opening: Opening = ANYWHERE) -> list[ClassicalScorer]:
    """Open the model of each fold of a cross-validation by fma baselines; else as `open_baselines`."""
    return _open_fits(run, model, opening, *load_finished(run, folds=True))


def _open_fits(
    run: str, model: str | None, opening: Opening, config: RunConfig, found: dict[str, Any]
) -> list[ClassicalScorer]:
    path = storage.join(run, METRICS)
    with report_damage(path):
        models = found["models"]
        name = model or min(models, key=lambda name: _loss(models[name]["fits"]))
        if name not in models:
            raise UsageError(f"--model {name}: {run} has {', '.join(models)}")
        entries = [models[name] | {"fits": [fit]} for fit in models[name]["fits"]]
        if len(entries) != (config.folds or 1):
            raise ValueError(f"{len(entries)} fits of {name}")
        files = [storage.join(entry["fits"][0]["file"]) for entry in entries]
    warn_about_versions(run, config.made_with)
    settings, task = _dataset_config(run, config), task_of(run, config, name)
    features = TrackFeatures(run, *features_of(run, config), settings, opening)
    return [
        _open(name, entry, task, settings, features, folder=run, source=path, file=file)
        for entry, file in zip(entries, files, strict=True)
    ]


def _loss(fits: list[dict[str, Any]]) -> float:
    """What a model's hyper-parameters were chosen by, the mean over its folds, the lower the better."""
    chosen_on = [fit["validation"] for fit in fits]
    return mean(-one["map_macro"] if "map_macro" in one else one["log_loss"] for one in chosen_on)


def _open(
    name: str,
    entry: dict[str, Any],
    task: Task,
    config: DatasetConfig,
    features: TrackFeatures,
    *,
    folder: str,
    source: str,
    file: str,
) -> ClassicalScorer:
    """Open a model's file in a folder, which the file `source` describes."""
    with report_damage(source):
        if isinstance(task, ManyGenres):
            opened = partial(_load_many_genres, folder, file, entry["model"], task)
        else:
            (fit,) = entry["fits"]
            method, temperature = MODELS[entry["model"]].scores, float(fit["temperature"])
            opened = partial(_load_one_label, folder, file, source, method, temperature, len(task.labels))
        weights = storage.join(folder, file)
        return ClassicalScorer(name, opened, entry, task, config, features=features, weights=weights)


def _load_many_genres(folder: str, file: str, model: str, task: ManyGenres) -> Classical:
    return OfManyGenres(one_vs_rest.load_model(folder, file, model), task.above)


def _load_one_label(folder: str, file: str, source: str, *scores: Any) -> Classical:
    found = OfOneLabel(load_model(folder, file), *scores)
    with report_damage(source):
        if max(found.pipeline.classes_) >= found.classes:
            known = len(found.pipeline.classes_)
            raise ValueError(f"{found.classes} labels, and the model knows {known} genres")
    return found


def _dataset_config(run: str, config: RunConfig) -> DatasetConfig:
    """Return the settings of the dataset that a run was fitted on; older runs did not store them.

    Raises:
      UsageError: they are not stored, and the dataset is gone or has changed.
    """
    with report_damage(storage.join(run, CONFIG)):
        if config.dataset.get("config"):
            return DatasetConfig.from_json(config.dataset["config"])
        path, digest = config.dataset["path"], config.dataset["digest"]
    if not is_dataset(path) or load(path).digest != digest:
        raise UsageError(
            f"{run} does not say how its statistics were computed, and {path} is not the dataset that it was fitted on "
            f"any more: run {command_line('baselines')} again"
        )
    return load(path).config


def is_bundle(folder: str) -> bool:
    """Return whether the folder holds a classical model that was exported."""
    return storage.exists(storage.join(folder, BUNDLE))


def write_bundle(out: str, scorer: ClassicalScorer, made_with: dict[str, Any]) -> None:
    """Write a model to an empty folder."""
    fit = scorer.entry["fits"][0]
    file = "model" + fit["file"][fit["file"].rindex(".") :]
    entry = scorer.entry | {"fits": [fit | {"file": file}]}
    facts = {"name": scorer.name, "config": scorer.config.to_json(), "entry": entry, "made_with": made_with}
    facts |= scorer.task.to_json()
    if scorer.of_tracks.encoders:
        encoders = {name: encoder.to_json() for name, encoder in scorer.of_tracks.encoders.items()}
        facts |= {"features": scorer.of_tracks.features, "encoders": encoders}
    write_identity(out, BUNDLE, facts | {ID: make_id(facts)})
    scorer.model.save(out, file)


def open_bundle(folder: str, model: str | None, opening: Opening = ANYWHERE) -> ClassicalScorer:
    """Open a model that was exported; see `trainers.serving.scorers.open_scorer`."""
    path = storage.join(folder, BUNDLE)
    values = read_identity(folder, BUNDLE)
    with report_damage(path):
        name, entry, task = values["name"], values["entry"], read_task(values)
        config, made_with = DatasetConfig.from_json(values["config"]), dict(values["made_with"])
        file = entry["fits"][0]["file"]
        encoders = {key: EncoderFacts.from_json(facts) for key, facts in values.get("encoders", {}).items()}
        kinds = values.get("features", [STATS])
    if model not in (None, name):
        raise UsageError(f"--model {model}: {folder} has {name}")
    warn_about_versions(folder, made_with)
    features = TrackFeatures(folder, kinds, encoders, config, opening)
    return _open(name, entry, task, config, features, folder=folder, source=path, file=file)
