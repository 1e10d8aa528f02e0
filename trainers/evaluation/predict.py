"""What a trained model says about every record of a split, and the metrics that this comes to."""

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from trainers.data.pipeline import Inputs
from trainers.evaluation import metrics
from trainers.models.spec import ModelSpec, front_of, head_of
from trainers.runs.predictions import RunPredictions, one_model
from trainers.training.embeddings import Embedded, inference, run_over
from transforms.errors import UsageError

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

HEAD_BATCH = 4096


@dataclass(frozen=True)
class Predictions:
    """Log-probabilities and true labels.

    Attributes:
      log_probabilities: float64 [n, classes].
      label: int64 [n], as the dataset has them.
      track_id: int64 [n].
    """

    log_probabilities: np.ndarray
    label: np.ndarray
    track_id: np.ndarray

    def relabelled(self, ids: np.ndarray) -> "Predictions":
        """With other label ids, [dataset labels]; what becomes negative is left out."""
        label = ids[self.label]
        kept = label >= 0
        return Predictions(self.log_probabilities[kept], label[kept], self.track_id[kept])


class Predictor:
    """Predicts with a trained model; several splits one after the other.

    Args:
      spec: the model's row.
      model: the whole model, built or loaded in the strategy's scope.
      strategy: each of its replicas takes a share of a batch.
    """

    def __init__(self, spec: ModelSpec, model: "keras.Model", strategy: "tf.distribute.Strategy"):
        self.name, self._pooled = spec.name, spec.pool == "track"
        self._forward = inference(front_of(model) if self._pooled else model, strategy)
        self._head = inference(head_of(model), strategy) if self._pooled else None
        self._replicas = strategy.num_replicas_in_sync

    def predict(self, inputs: Inputs, split: str, batch_size: int) -> tuple[Predictions, Predictions | None]:
        """Predictions by window, and by track where the model's head classifies whole tracks.

        Args:
          inputs: of the dataset.
          split: one of its splits.
          batch_size: records at a time, for each replica.
        """
        whole_batch = batch_size * self._replicas
        windows = run_over(self._forward, inputs, split, whole_batch, f"evaluate {split}")
        if not self._pooled:
            return Predictions(log_softmax(windows.features), windows.label, windows.track_id), None
        return self._classify(windows), self._classify(windows.by_track())

    def _classify(self, embedded: Embedded) -> Predictions:
        assert self._head is not None
        rows = range(0, len(embedded.label), HEAD_BATCH)
        logits = [self._head(embedded.features[start : start + HEAD_BATCH]).numpy() for start in rows]
        return Predictions(log_softmax(np.concatenate(logits)), embedded.label, embedded.track_id)


def evaluate_split(
    predictor: Predictor, inputs: Inputs, split: str, labels: list[str], batch_size: int
) -> tuple[dict[str, Any], RunPredictions]:
    """The metrics of a model on a split, and its predictions by track.

    Tracks of genres that the model does not know are left out, and counted under `left_out`. Genres that only the
    model knows stay possible answers.

    Args:
      predictor: of the model.
      inputs: of the dataset, which may be another one than that of the training.
      split: one of the splits.
      labels: genres in the order of the model's outputs.
      batch_size: records at a time, for each replica.

    Returns:
      as `metrics.evaluate`, and `labels`, and `left_out`: tracks by genre; and the predictions of the other tracks.

    Raises:
      UsageError: no track of the split has a genre that the model knows.
    """
    windows, tracks = predictor.predict(inputs, split, batch_size)
    genres = inputs.manifest.labels
    ids = np.array([labels.index(genre) if genre in labels else -1 for genre in genres], np.int64)
    left_out = Counter(genres[label] for label in _labels_by_track(windows) if ids[label] < 0)
    windows, tracks = windows.relabelled(ids), tracks and tracks.relabelled(ids)
    if not len(windows.label):
        raise UsageError(
            f"no {split} track of {inputs.dataset} has a genre that the model knows (it knows {', '.join(labels)}; "
            f"the tracks are {', '.join(sorted(left_out))})"
        )
    result: dict[str, Any] = metrics.evaluate(windows.log_probabilities, windows.label, windows.track_id, labels)
    if tracks is not None:
        whole = metrics.evaluate(tracks.log_probabilities, tracks.label, tracks.track_id, labels)
        result["per_track"] = whole["per_track"]
    result |= {"labels": labels, "left_out": dict(sorted(left_out.items()))}
    return result, _by_track(predictor.name, tracks or windows, labels)


def _by_track(model: str, predictions: Predictions, labels: list[str]) -> RunPredictions:
    values = metrics.checked(predictions.log_probabilities, predictions.label, len(labels))
    tracks = metrics.by_track(values, predictions.label, predictions.track_id)
    return one_model(model, tracks.track_ids, tracks.labels, labels, tracks.log_probabilities)


def _labels_by_track(predictions: Predictions) -> np.ndarray:
    _, first = np.unique(predictions.track_id, return_index=True)
    return predictions.label[first]


def log_softmax(logits: np.ndarray) -> np.ndarray:
    """Log-probabilities float64 [n, classes] of logits [n, classes]."""
    logits = np.asarray(logits, np.float64)
    shifted = logits - logits.max(axis=1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
