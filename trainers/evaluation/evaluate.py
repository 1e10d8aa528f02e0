"""Evaluation of a run's model on a split of a dataset: the predictions and their metrics."""

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from trainers.data.inputs import Inputs
from trainers.data.pipeline import find_shards
from trainers.data.targets import Targets, count_unknown
from trainers.evaluation import metrics
from trainers.evaluation.many_genres import predict_genres, score_genres
from trainers.models import find_model
from trainers.models.records import network_of
from trainers.models.spec import ModelSpec, head_of
from trainers.runs.directory import (
    BASELINES,
    RunConfig,
    check_trained,
    load_config,
    read_metrics,
    read_settings,
    write_evaluation,
    write_metrics,
)
from trainers.runs.genre_facts import read_genre_facts
from trainers.runs.genre_predictions import GenrePredictions, write_genre_predictions
from trainers.runs.novelty import Novelty, measure_model, read_novelty
from trainers.runs.predictions import RunPredictions, single_model_predictions, write_predictions
from trainers.training.checkpoint import load_model
from trainers.training.devices import Device, Forward, import_tensorflow, open_device
from trainers.training.front_features import Embeddings, front_on_records, infer_split, logits_and_features
from transforms.config import DatasetConfig, differences
from transforms.dataset.ledger import read_tracks
from transforms.dataset.manifest import Manifest, load
from transforms.errors import UsageError

if TYPE_CHECKING:
    import keras

IRRELEVANT = {
    "mel": ("features", "window_hop_frames"),
    "raw": ("features", "window_hop_frames", "n_fft", "n_mels", "db_min", "db_step"),
}
"""Dataset settings that a kind's records do not depend on (the distance between windows does not change them)."""

HEAD_BATCH = 4096


@dataclass(frozen=True)
class Evaluation:
    """A run's model on a split of a dataset."""

    run: str  # path of the run
    split: str
    digest: str  # of the dataset
    is_own: bool  # whether that is the dataset of the run
    metrics: dict[str, Any]  # of `evaluate_split`, or of `evaluate_baselines`
    predictions: RunPredictions | GenrePredictions

    def store(self) -> str:
        """Store metrics and predictions in the run; return the path of the metrics."""
        is_baselines = "models" in self.metrics
        if self.is_own:
            if isinstance(self.predictions, GenrePredictions):
                write_genre_predictions(self.run, self.split, self.predictions)
            else:
                write_predictions(self.run, self.split, self.predictions)
        if self.is_own and not is_baselines:  # the metrics.json of baselines stays as fma baselines wrote it
            return write_metrics(self.run, read_metrics(self.run) | {self.split: self.metrics})
        where = {} if is_baselines else {"dataset": self.digest}
        return write_evaluation(self.run, self.digest, self.split, self.metrics | where)


def evaluate_run(
    run: str, dataset: str, split: str, *, batch_size: int, device: str, backend: str = "tensorflow"
) -> Evaluation:
    """Evaluate a run on a split of a dataset, its own or another one.

    Args:
      batch_size: records at a time, for each replica.
      device: one of `trainers.training.devices.DEVICES`.
      backend: one of `trainers.training.devices.BACKENDS`, whichever the run was trained with.
    """
    config, manifest = load_config(run), load(dataset)
    found: dict[str, Any]
    predictions: RunPredictions | GenrePredictions
    if config.model == BASELINES:
        from trainers.classical.finished import evaluate_baselines

        found, predictions = evaluate_baselines(run, dataset, split)
    else:
        check_fits(run, config, dataset, manifest, split)
        import_tensorflow(backend)
        spec, opened = find_model(config.model), open_device(device, backend)
        with opened.scope():
            model = load_model(run)
        predictor = Predictor(spec, model, opened)
        novelty = read_novelty(run, spec.name)
        if config.many:
            tracks = list(read_tracks(dataset, manifest))
            inputs = Inputs(dataset, manifest, spec.kind, Targets.of(tracks, config.labels))
            genres = predict_genres(predictor, inputs, split, batch_size, novelty_of=lambda _: novelty)
            unknown = count_unknown(tracks, config.labels, split)
            found, predictions = score_genres(spec.name, genres, config, read_genre_facts(run), unknown)
        else:
            inputs = Inputs(dataset, manifest, spec.kind)
            found, predictions = evaluate_split(
                predictor, inputs, split, config.labels, batch_size, novelty_of=lambda _: novelty
            )
        if predictor.rate:
            found["speed"] = {"records_per_second": round(predictor.rate, 1), "device": opened.name}
    is_own = manifest.digest == config.dataset["digest"]
    return Evaluation(run, split, manifest.digest, is_own, found, predictions)


def check_fits(run: str, config: RunConfig, dataset: str, manifest: Manifest, split: str) -> None:
    """Refuse a dataset that a run cannot be evaluated on, before TensorFlow is imported.

    Raises:
      UsageError: the run has no model yet, the records differ from those of the training, no genre is known to the
        model, or the split has no records.
    """
    check_trained(run)
    kind = find_model(config.model).kind
    find_shards(dataset, manifest, kind, split, "all" if config.many else "top")
    trained_on = read_settings(run, config)
    different = record_differences(trained_on, manifest.config, kind)
    if different:
        raise UsageError(
            f"{dataset} has other {kind} records than {run} was trained on: {'; '.join(different)}. "
            "Ingest it with the same settings"
        )
    genres = list(manifest.genres) if config.many else manifest.labels
    if not set(genres) & set(config.labels):
        raise UsageError(
            f"{dataset} and {run} have no genre in common: the dataset has {', '.join(genres)}; "
            f"the model knows {', '.join(config.labels)}"
        )


def record_differences(have: DatasetConfig, want: DatasetConfig, kind: str) -> list[str]:
    """Describe the settings by which the records of a kind differ, with both values."""
    want = replace(want, **{name: getattr(have, name) for name in IRRELEVANT[kind]})
    if kind == "raw" and have.window_samples == want.window_samples:
        want = replace(want, window_frames=have.window_frames, hop_length=have.hop_length)
    return [line.replace(", not ", " in the run, and ") + " in the dataset" for line in differences(have, want)]


@dataclass(frozen=True)
class Predictions:
    """Log-probabilities and true labels."""

    log_probabilities: np.ndarray  # float64 [n, classes]
    label: np.ndarray  # int64 [n], as the dataset has them
    track_id: np.ndarray  # int64 [n]

    @classmethod
    def of(cls, logits: Embeddings) -> "Predictions":
        """Return those of a model's logits."""
        return cls(metrics.log_softmax(logits.features), logits.label, logits.track_id)

    def relabelled(self, ids: np.ndarray) -> "Predictions":
        """Return these with other label ids, [dataset labels]; what becomes negative is left out."""
        label = ids[self.label]
        kept = label >= 0
        return Predictions(self.log_probabilities[kept], label[kept], self.track_id[kept])


NoveltyOf = Callable[[Embeddings], Novelty | None]


class Predicted(NamedTuple):
    """What a model finds in a split."""

    windows: Embeddings  # logits by window
    tracks: Embeddings | None  # logits by track, where the model's head classifies whole tracks
    features: Embeddings  # by track, of its windows' mean: what songs are compared by


class Timed:
    """A model that measures how fast batches go through it, the reading of them included.

    Attributes:
      rate: records per second; None before the second batch, for the first one waits for the model to be compiled.
    """

    def __init__(self, forward: Forward):
        self._forward, self._began, self._records = forward, 0.0, 0
        self.rate: float | None = None

    def __call__(self, batch: Any) -> np.ndarray:
        """Return the model's output for a batch."""
        output = self._forward(batch)
        now = time.perf_counter()
        if self._began:
            self._records += len(output)
            self.rate = self._records / (now - self._began)
        self._began = self._began or now
        return output


class Predictor:
    """Predicts with a trained model; several splits one after the other.

    Args:
      spec: the model's row.
      model: the whole model, built or loaded in the device's scope.
      device: each of its replicas takes a share of a batch.

    Attributes:
      rate: of the last split, see `Timed`.
    """

    def __init__(self, spec: ModelSpec, model: "keras.Model", device: Device):
        self.name, self._pooled = spec.name, spec.pool == "track"
        self.rate: float | None = None
        with device.scope():
            self._forward = device.inference(front_on_records(model) if self._pooled else logits_and_features(model))
            standardise = _standardise_of(network_of(model))
            self._standardise = device.inference(standardise) if standardise else None
        self._head = device.inference(head_of(network_of(model))) if self._pooled else None
        self._replicas, self._classes = device.replicas, model.outputs[0].shape[-1]

    def predict(self, inputs: Inputs, split: str, batch_size: int) -> Predicted:
        """Return what the model finds in a split.

        Args:
          batch_size: records at a time, for each replica.
        """
        whole_batch = batch_size * self._replicas
        forward = Timed(self._forward)
        windows = infer_split(forward, inputs, split, whole_batch, f"evaluate {split}")
        self.rate = forward.rate
        if self._head:
            tracks = windows.by_track()
            return Predicted(_by_block(self._head, windows), _by_block(self._head, tracks), self.compared(tracks))
        logits, features = np.split(windows.features, [self._classes], axis=1)
        found = replace(windows, features=features).by_track()
        return Predicted(replace(windows, features=logits), None, self.compared(found))

    def compared(self, tracks: Embeddings) -> Embeddings:
        """Return what tracks are compared by, of the means of their windows' features."""
        return _by_block(self._standardise, tracks) if self._standardise else tracks


def _standardise_of(network: "keras.Model") -> "keras.Model | None":
    """Return the first layer of a transfer model's head, as a model; None of other models."""
    import keras

    if not any(layer.name == "head" for layer in network.layers):
        return None
    head = head_of(network)
    return keras.Model(head.inputs, head.get_layer("standardise").output)


def _by_block(forward: Forward, embeddings: Embeddings) -> Embeddings:
    rows = range(0, len(embeddings.label), HEAD_BATCH)
    found = [forward(embeddings.features[start : start + HEAD_BATCH]) for start in rows]
    return replace(embeddings, features=np.concatenate(found))


def evaluate_split(
    predictor: Predictor,
    inputs: Inputs,
    split: str,
    labels: list[str],
    batch_size: int,
    *,
    novelty_of: NoveltyOf,
) -> tuple[dict[str, Any], RunPredictions]:
    """Return the metrics of a model on a split, and its predictions by track.

    Tracks of genres that the model does not know are left out, and counted under `left_out`. Genres that only the
    model knows stay possible answers.

    Args:
      inputs: of the dataset, which may be another one than that of the training.
      labels: genres in the order of the model's outputs.
      batch_size: records at a time, for each replica.
      novelty_of: the split's tracks -> the novelty that theirs is measured by, or None.

    Returns:
      as `metrics.evaluate`, and `labels`, and `left_out`: tracks by genre; and the predictions of the other tracks.

    Raises:
      UsageError: no track of the split has a genre that the model knows.
    """
    of_windows, of_tracks, features = predictor.predict(inputs, split, batch_size)
    windows, tracks = Predictions.of(of_windows), Predictions.of(of_tracks) if of_tracks else None
    genres = inputs.manifest.labels
    ids = np.array([labels.index(genre) if genre in labels else -1 for genre in genres], np.int64)
    _, first = np.unique(windows.track_id, return_index=True)
    left_out = Counter(genres[label] for label in windows.label[first] if ids[label] < 0)
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
    chosen = tracks or windows
    values = metrics.checked(chosen.log_probabilities, chosen.label, len(labels))
    found = metrics.by_track(values, chosen.label, chosen.track_id)
    predictions = single_model_predictions(
        predictor.name, found.track_ids, found.labels, labels, found.log_probabilities
    )
    known = features.features[np.isin(features.track_id, predictions.track_id)]
    return result, replace(predictions, novelty=measure_model(predictor.name, novelty_of(features), known))
