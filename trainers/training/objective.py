"""The objective of training: class weights, learning rate schedule, optimizer, loss and accuracy."""

from collections import Counter
from typing import Literal

import keras
import numpy as np
from keras import ops

from trainers.models.spec import Phase
from trainers.training.device_records import DeviceRecords
from trainers.training.step import TrainedPart
from transforms.audio.features import KINDS
from transforms.dataset.ledger import read_tracks
from transforms.dataset.manifest import Manifest

Jit = Literal["auto", "on", "off"]


class UnweightedAccuracy(keras.metrics.CategoricalAccuracy):
    """The share of right predictions, in which every example counts the same whatever it weighs in the loss.

    Otherwise training accuracy, under class weights, would not be the same measure as validation accuracy. Only
    padding, of weight 0, does not count.
    """

    def update_state(self, y_true, y_pred, sample_weight=None):
        if sample_weight is not None:
            sample_weight = ops.cast(ops.greater(sample_weight, 0), self.dtype)
        return super().update_state(y_true, y_pred, sample_weight)


def count_by_label(dataset: str, manifest: Manifest, kind: str, split: str = "training") -> np.ndarray:
    """Count records of a kind by label, int64 [classes], from the dataset's ledgers: no record is read."""
    counts: Counter[str] = Counter()
    for track in read_tracks(dataset, manifest):
        if track.split == split:
            counts[track.genre] += track.windows if KINDS[kind].per == "window" else 1
    return np.array([counts[genre] for genre in manifest.labels], np.int64)


def class_weights(counts: np.ndarray, weighting: str) -> np.ndarray:
    """Return the weight of an example of each class in the training loss, 1 on average.

    Args:
      counts: examples by class, [classes].
      weighting: "balanced": each class counts the same, n / (k n_c) for n examples and k classes that have any; "sqrt":
        in proportion to the square roots of those; "none": each example counts the same.

    Returns:
      float32 [classes]; 0 for a class without examples.
    """
    present = counts > 0
    balanced = counts.sum() / (present.sum() * np.maximum(counts, 1))
    weights = np.where(present, balanced ** {"balanced": 1.0, "sqrt": 0.5, "none": 0.0}[weighting], 0)
    return (weights * (counts.sum() / (counts * weights).sum())).astype(np.float32)


def cosine_schedule(phase: Phase, steps_per_epoch: int) -> keras.optimizers.schedules.LearningRateSchedule:
    """Return a schedule: linearly from 0 to the phase's learning rate, then along a half cosine to 0 at its end."""
    total = phase.epochs * steps_per_epoch
    warmup = min(round(phase.warmup_epochs * steps_per_epoch), total - 1)
    return keras.optimizers.schedules.CosineDecay(
        initial_learning_rate=0.0 if warmup else phase.learning_rate,
        decay_steps=total - warmup,
        warmup_target=phase.learning_rate if warmup else None,
        warmup_steps=warmup,
    )


def compile_part(
    part: keras.Model,
    phase: Phase,
    counts: np.ndarray,
    steps_per_epoch: int,
    *,
    seed: int = 0,
    jit: Jit = "auto",
    normalize: keras.layers.Layer | None = None,
    stored: DeviceRecords | None = None,
) -> TrainedPart:
    """Return a network or a head with its optimizer, loss and accuracy; `part` itself is then saved without them.

    The optimizer is AdamW, whose decay leaves out biases and batch norm's scale and offset. Call this in the device's
    scope.

    Args:
      counts: training examples by class, for the class weights.
      steps_per_epoch: for the schedule.
      jit: whether XLA compiles the training step; "auto" leaves it to Keras.
      part, phase, seed, normalize, stored: see `TrainedPart`.
    """
    optimizer = keras.optimizers.AdamW(cosine_schedule(phase, steps_per_epoch), weight_decay=phase.weight_decay)
    optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    trained = TrainedPart(part, phase, class_weights(counts, phase.class_weights), seed, normalize, stored=stored)
    trained.compile(
        optimizer=optimizer,
        loss=keras.losses.CategoricalCrossentropy(from_logits=True),
        weighted_metrics=[UnweightedAccuracy(name="accuracy")],
        jit_compile={"auto": "auto", "on": True, "off": False}[jit],
    )
    trained.optimizer.build(trained.trainable_variables)
    return trained
