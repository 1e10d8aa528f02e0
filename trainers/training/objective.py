"""The pieces of the training loop: class weights, label smoothing, schedule, optimizer, loss."""

from collections import Counter
from typing import TYPE_CHECKING, Literal

import numpy as np

from trainers.models.spec import Phase
from transforms.audio.features import KINDS
from transforms.dataset.ledger import read_tracks
from transforms.dataset.manifest import Manifest

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

Jit = Literal["auto", "on", "off"]


def count_by_label(dataset: str, manifest: Manifest, kind: str, split: str = "training") -> np.ndarray:
    """Records of a kind by label, int64 [classes], from the dataset's ledgers: no record is read."""
    counts: Counter[str] = Counter()
    for track in read_tracks(dataset, manifest):
        if track.split == split:
            counts[track.genre] += track.windows if KINDS[kind].per == "window" else 1
    return np.array([counts[genre] for genre in manifest.labels], np.int64)


def class_weights(counts: np.ndarray, weighting: str) -> np.ndarray:
    """What an example of each class weighs in the training loss.

    The weight of an example is 1 on average, so the learning rate keeps its meaning.

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


def smooth(labels: "tf.Tensor", smoothing: float) -> "tf.Tensor":
    """Label smoothing: a share of each target [batch, classes] is spread evenly over all classes.

    It is part of the training targets, not of the loss: validation losses are then plain cross-entropies, which can be
    compared between phases and runs.
    """
    return labels * (1 - smoothing) + smoothing / labels.shape[-1]


def cosine_schedule(phase: Phase, steps_per_epoch: int) -> "keras.optimizers.schedules.LearningRateSchedule":
    """From 0 linearly to the phase's learning rate in the warm-up, then along a half cosine to 0 at the phase's end."""
    import keras

    total = phase.epochs * steps_per_epoch
    warmup = min(round(phase.warmup_epochs * steps_per_epoch), total - 1)
    return keras.optimizers.schedules.CosineDecay(
        initial_learning_rate=0.0 if warmup else phase.learning_rate,
        decay_steps=total - warmup,
        warmup_target=phase.learning_rate if warmup else None,
        warmup_steps=warmup,
    )


def make_optimizer(phase: Phase, steps_per_epoch: int) -> "keras.Optimizer":
    """AdamW with the phase's schedule; biases and batch norm's scale and offset do not decay."""
    import keras

    optimizer = keras.optimizers.AdamW(cosine_schedule(phase, steps_per_epoch), weight_decay=phase.weight_decay)
    optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    return optimizer


def trainable_view(part: "keras.Model", phase: Phase, steps_per_epoch: int, jit: Jit) -> "keras.Model":
    """A compiled model that shares its layers with `part`, so that the part itself is saved without an optimizer.

    Args:
      part: logits from records, or from features; call this in the strategy's scope.
      phase: its settings.
      steps_per_epoch: for the schedule.
      jit: whether XLA compiles the training step; "auto" leaves it to Keras.
    """
    import keras

    from trainers.training.callbacks import EachOnce

    view = keras.Model(part.inputs, part.outputs, name=part.name)
    view.compile(
        optimizer=make_optimizer(phase, steps_per_epoch),
        loss=keras.losses.CategoricalCrossentropy(from_logits=True),
        weighted_metrics=[EachOnce(name="accuracy")],
        jit_compile={"auto": "auto", "on": True, "off": False}[jit],
    )
    view.optimizer.build(view.trainable_variables)
    return view
