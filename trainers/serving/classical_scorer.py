"""A model of an `fma baselines` run as a `Scorer`: one row of statistics for each song."""

from typing import TYPE_CHECKING, Any

import numpy as np

from trainers.classical.groups import group_columns
from trainers.classical.models import MODELS
from trainers.classical.saving import load_model, warn_about_versions
from trainers.classical.scores import class_scores, log_probabilities
from trainers.classical.scoring import load_finished
from trainers.runs import CONFIG, METRICS, RunConfig
from trainers.serving.calibration import Calibration
from trainers.serving.damage import reading
from transforms import storage
from transforms.config import DatasetConfig
from transforms.dataset.manifest import is_dataset, load
from transforms.errors import UsageError
from transforms.fma_statistics.columns import COLUMNS

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline


class ClassicalScorer:
    """A `Scorer`.

    Args:
      name: of the model.
      pipeline: fitted: scaler, PCA, classifier.
      entry: its entry in the run's metrics.json.
      labels: genre names.
      config: of the dataset that it was fitted on.
      weights: path of the file that the pipeline is from.

    Raises:
      KeyError, TypeError, ValueError, AttributeError: the entry, the labels and the pipeline do not go together.
    """

    kind, by_window = "stats", False

    def __init__(
        self,
        name: str,
        pipeline: "Pipeline",
        entry: dict[str, Any],
        labels: list[str],
        config: DatasetConfig,
        *,
        weights: str,
    ):
        (fit,) = entry["fits"]
        if max(pipeline.classes_) >= len(labels):
            raise ValueError(f"{len(labels)} labels, and the model knows {len(pipeline.classes_)} genres")
        self.weights = weights
        self.name, self.labels, self.config, self.entry = name, labels, config, entry
        # The temperature was fitted on validation along with the model, and is applied to its scores.
        self.calibration = Calibration(1.0, fitted=True)
        self._temperature = float(fit["temperature"])
        self.pipeline = pipeline
        self._method = MODELS[entry["model"]].scores
        self._columns = group_columns(tuple("/".join(column) for column in COLUMNS), entry["features_group"])

    def rows(self, payloads: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """See `Scorer`; the logits are log-probabilities already."""
        values = payloads[:, self._columns]
        scores = class_scores(self.pipeline, self._method, values, len(self.labels))
        return log_probabilities(scores, self._temperature), self.features(payloads)

    def features(self, payloads: np.ndarray) -> np.ndarray:
        """What the classifier itself sees: scaled columns or principal components, float32 [b, d]."""
        return np.asarray(self.pipeline[:-1].transform(payloads[:, self._columns]), np.float32)

    def song(self, logits: np.ndarray, features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """See `Scorer`."""
        return logits[0].astype(np.float64), features


def open_baselines(run: str, model: str | None) -> ClassicalScorer:
    """A model of a run; see `open_scorer`."""
    config, found = load_finished(run)
    if config.options.get("features_csv"):
        raise UsageError(
            f"{run} was fitted on {config.dataset['path']}, whose values cannot be computed from audio here"
        )
    path = storage.join(run, METRICS)
    with reading(path):
        models = found["models"]
        name = model or best_on_validation(models)
        if name not in models:
            raise UsageError(f"--model {name}: {run} has {', '.join(models)}")
        (fit,) = models[name]["fits"]
        file = storage.join(fit["file"])
    warn_about_versions(run, config.made_with)
    pipeline, settings = load_model(run, file), dataset_config(run, config)
    with reading(path):
        return ClassicalScorer(name, pipeline, models[name], config.labels, settings, weights=storage.join(run, file))


def best_on_validation(models: dict[str, Any]) -> str:
    """The model with the lowest log loss on validation, which its hyper-parameters were chosen by, too."""
    return min(models, key=lambda name: models[name]["fits"][0]["validation"]["log_loss"])


def dataset_config(run: str, config: RunConfig) -> DatasetConfig:
    """The settings of the dataset that a run was fitted on; runs made before they were kept ask the dataset itself.

    Raises:
      UsageError: it is not where it was, or has changed.
    """
    with reading(storage.join(run, CONFIG)):
        if config.dataset.get("config"):
            return DatasetConfig.from_json(config.dataset["config"])
        path, digest = config.dataset["path"], config.dataset["digest"]
    if not is_dataset(path) or load(path).digest != digest:
        raise UsageError(
            f"{run} does not say how its statistics were computed, and {path} is not the dataset that it was fitted on "
            "any more: run fma baselines again"
        )
    return load(path).config
