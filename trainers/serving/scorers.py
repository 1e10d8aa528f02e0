"""A run's model as serving calls it, whatever kind of run it is: payloads in, logits out."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from trainers.classical.baselines import load_finished, load_model, save_model, warn_about_versions
from trainers.classical.models import MODELS
from trainers.classical.table import group_columns
from trainers.evaluation.calibration import class_scores, log_probabilities
from trainers.runs.directory import BASELINES, METRICS, RunConfig, check_trained, load_config, require_one_label
from trainers.runs.files import BUNDLE, CONFIG, ID, make_id, read_identity, report_damage, write_identity
from trainers.serving.lite import is_export, open_export, open_lite_run
from trainers.serving.tasks import Task, read_task, task_of
from trainers.training.accelerators import may_have_accelerator
from trainers.training.devices import import_tensorflow, open_device
from transforms import storage
from transforms.config import DatasetConfig
from transforms.dataset.manifest import is_dataset, load
from transforms.errors import UsageError
from transforms.fma_statistics import COLUMNS
from transforms.runtime import console
from transforms.runtime.invocation import command_line

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline

    from trainers.serving.keras_scorer import KerasScorer

BUNDLE_MODEL = "model.skops"


class Scorer(Protocol):
    """A model that predicts songs."""

    name: str  # of the model
    kind: str  # feature kind that it reads
    config: DatasetConfig  # of the dataset that it was trained on
    task: Task  # from its logits to what an answer says
    by_window: bool  # whether it predicts the windows of a song, too
    weights: str  # path of the file that its weights are from

    def rows(self, payloads: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Run the model on payloads [b, ...] of any songs.

        Returns:
          logits float32 [b, genres], and features float32 [b, d].
        """

    def song(self, logits: np.ndarray, features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return what a song is answered by.

        Args:
          logits: float32 [windows, genres].
          features: float32 [d], the mean over its windows.

        Returns:
          logits [n, genres] that `Task.of_song` combines, and the song's embedding float32 [e].
        """


def open_scorer(run: str, model: str | None = None, device: str = "auto", *, threshold: float | None = None) -> Scorer:
    """Open the model of a run, or of what `fma export` made of one.

    On a CPU, a network runs without TensorFlow, whose start takes seconds, where there is a TFLite model of it. A run
    that JAX trained stays on the CPU, unless another device is named.

    `model` names one of a run of fma baselines (None: the best on validation); for `device` see
    `trainers.training.devices`; `threshold` takes the place of those of the run's task.

    Raises:
      UsageError: there is no such run or model, or it has no model yet.
      FmaError: one of its files is damaged.
    """
    scorer = _open(run, model, device)
    if threshold is not None:
        scorer.task = scorer.task.at(threshold)
    return scorer


def _open(run: str, model: str | None, device: str) -> Scorer:
    if is_bundle(run):
        return _open_bundle(run, model)
    if is_export(run):
        _refuse_name(run, model)
        return open_export(run)
    config = load_config(run)
    if config.model == BASELINES:
        return open_baselines(run, model)
    check_network(run, model)
    if device == "auto" and config.made_with.get("backend") == "jax":
        device = "cpu"  # the accelerator here may be one of JAX alone
    on_cpu = device == "cpu" or (device == "auto" and not may_have_accelerator())
    scorer = (open_lite_run(run, config) if on_cpu else None) or open_network(run, config, device)
    if not scorer.task.fitted:
        console.log(f"note: {run} has no validation predictions; {scorer.task.unfitted}")
    return scorer


def check_network(run: str, model: str | None) -> None:
    """Refuse a run of a network that has no model yet, or of which one is named; a note where it is not finished."""
    _refuse_name(run, model)
    check_trained(run)


def _refuse_name(run: str, model: str | None) -> None:
    if model is not None:
        raise UsageError(f"--model is for runs of fma baselines; {run} has one model")


def open_network(run: str, config: RunConfig, device: str) -> "KerasScorer":
    """Open the Keras model of a run that has one; see `open_scorer`."""
    import_tensorflow()
    from trainers.serving.keras_scorer import KerasScorer

    open_device(device)
    return KerasScorer(run, config)


class ClassicalScorer:
    """A `Scorer` of a fitted pipeline (scaler, PCA, classifier) and its entry in the run's metrics.json.

    `load` returns the pipeline. It runs on a thread of its own, since the decoders, which a song waits for, too, can
    start while scikit-learn is imported; its errors are raised where the pipeline is used first.

    Raises:
      KeyError, TypeError, ValueError, AttributeError: the entry is damaged.
    """

    kind, by_window = "stats", False

    def __init__(
        self,
        name: str,
        load: Callable[[], "Pipeline"],
        entry: dict[str, Any],
        task: Task,
        config: DatasetConfig,
        *,
        weights: str,
    ):
        (fit,) = entry["fits"]
        self.weights = weights
        self.name, self.task, self.config, self.entry = name, task, config, entry
        self._temperature = float(fit["temperature"])
        self._method = MODELS[entry["model"]].scores
        self._columns = group_columns(tuple("/".join(column) for column in COLUMNS), entry["features_group"])
        thread = ThreadPoolExecutor(1, "load")
        self._pipeline = thread.submit(load)
        thread.shutdown(wait=False)

    @property
    def pipeline(self) -> "Pipeline":
        """The fitted pipeline; FmaError where its file is damaged."""
        return self._pipeline.result()

    def rows(self, payloads: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """See `Scorer`; the logits are log-probabilities already."""
        scores = class_scores(self.pipeline, self._method, payloads[:, self._columns], len(self.task.labels))
        return log_probabilities(scores, self._temperature), self.features(payloads)

    def features(self, payloads: np.ndarray) -> np.ndarray:
        """Return the classifier's own input: scaled columns or principal components, float32 [b, d]."""
        return np.asarray(self.pipeline[:-1].transform(payloads[:, self._columns]), np.float32)

    def song(self, logits: np.ndarray, features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """See `Scorer`."""
        return logits[:1], features


def open_baselines(run: str, model: str | None) -> ClassicalScorer:
    """Open a model of a run of fma baselines; see `open_scorer`."""
    config, found = load_finished(run)
    require_one_label(run, config, "this command")
    path = storage.join(run, METRICS)
    with report_damage(path):
        models = found["models"]
        # By the log loss, which its hyper-parameters were chosen by, too.
        name = model or min(models, key=lambda name: models[name]["fits"][0]["validation"]["log_loss"])
        if name not in models:
            raise UsageError(f"--model {name}: {run} has {', '.join(models)}")
        (fit,) = models[name]["fits"]
        file = storage.join(fit["file"])
    warn_about_versions(run, config.made_with)
    settings, load = _dataset_config(run, config), partial(_load, run, file, path, len(config.labels))
    task = task_of(run, config, name)
    with report_damage(path):
        return ClassicalScorer(name, load, models[name], task, settings, weights=storage.join(run, file))


def _load(folder: str, file: str, source: str, labels: int) -> "Pipeline":
    """Load a pipeline; `source` is of the file that says what it is."""
    pipeline = load_model(folder, file)
    with report_damage(source):
        if max(pipeline.classes_) >= labels:
            raise ValueError(f"{labels} labels, and the model knows {len(pipeline.classes_)} genres")
    return pipeline


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
    entry = scorer.entry | {"fits": [scorer.entry["fits"][0] | {"file": BUNDLE_MODEL}]}
    facts = {"name": scorer.name, "config": scorer.config.to_json(), "entry": entry, "made_with": made_with}
    facts |= scorer.task.to_json()
    write_identity(out, BUNDLE, facts | {ID: make_id(facts)})
    save_model(out, BUNDLE_MODEL, scorer.pipeline)


def _open_bundle(folder: str, model: str | None) -> ClassicalScorer:
    path = storage.join(folder, BUNDLE)
    values = read_identity(folder, BUNDLE)
    with report_damage(path):
        name, entry, task = values["name"], values["entry"], read_task(values)
        config, made_with = DatasetConfig.from_json(values["config"]), dict(values["made_with"])
    if model not in (None, name):
        raise UsageError(f"--model {model}: {folder} has {name}")
    warn_about_versions(folder, made_with)
    with report_damage(path):
        load = partial(_load, folder, BUNDLE_MODEL, path, len(task.labels))
        return ClassicalScorer(name, load, entry, task, config, weights=storage.join(folder, BUNDLE_MODEL))
