"""Training examples: batches of (input, target, weight), from records or from the stored features of a frozen front."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from trainers.data import ahead, count_records, read_split, smaller_batch
from trainers.data.augment import Augmentation, mix, seed_stream, split_seed
from trainers.data.pipeline import Inputs
from trainers.models.spec import Phase
from trainers.training.objective import class_weights, smooth
from transforms.errors import UsageError

if TYPE_CHECKING:
    import tensorflow as tf

    from trainers.training.embeddings import Embedded


GAIN_DB = 6.0


@dataclass(frozen=True)
class Examples:
    """What a phase is trained on.

    Attributes:
      training: one epoch of (input, target [batch, classes], weight [batch]), float32 all, shuffled and augmented.
      validation: the same as it is, every example once; None where the dataset has no validation split.
      steps: batches in an epoch of training.
    """

    training: "tf.data.Dataset"
    validation: "tf.data.Dataset | None"
    steps: int


def record_examples(
    inputs: Inputs,
    phase: Phase,
    batch_size: int,
    counts: np.ndarray,
    *,
    seed: int,
    reproducible: bool,
    replicas: int = 1,
) -> Examples:
    """Examples that are records.

    Args:
      inputs: the dataset's.
      phase: its settings.
      batch_size: over all replicas.
      counts: training records by label.
      seed: of order and augmentation.
      reproducible: whether the seed alone decides them, at some cost in speed.
      replicas: that share a batch.
    """
    import tensorflow as tf

    manifest, kind, classes = inputs.manifest, inputs.kind, len(counts)
    batches = read_split(
        inputs.dataset,
        manifest,
        kind,
        "training",
        batch_size,
        training=True,
        seed=seed,
        reproducible=reproducible,
        replicas=replicas,
    )
    augment, weights = _augmentation(phase, inputs).augment, class_weights(counts, phase.class_weights)

    def prepare(batch, step_seed):
        labels = tf.one_hot(batch["label"], classes)
        values, labels = augment(inputs.normalize(batch), labels, step_seed)
        return values, smooth(labels, phase.label_smoothing), tf.linalg.matvec(labels, weights)

    training = tf.data.Dataset.zip(batches, seed_stream(seed)).map(prepare, tf.data.AUTOTUNE, reproducible)
    validation = None
    if count := count_records(manifest, kind, "validation"):
        scale = _scale(count, batch_size)
        validation = inputs.read("validation", batch_size, cache="auto").map(
            lambda batch: (batch["input"], tf.one_hot(batch["label"], classes), batch["weight"] * scale)
        )
    steps = count_records(manifest, kind, "training") // batch_size
    return Examples(ahead(training), validation, steps)


def _augmentation(phase: Phase, inputs: Inputs) -> Augmentation:
    return Augmentation(
        gain_db=GAIN_DB if phase.gain else 0.0,
        mixup=phase.mixup,
        spec_augment=phase.spec_augment,
        units_per_db=inputs.units_per_db or 0.0,
    )


def _scale(count: int, batch_size: int) -> float:
    """Makes up for what fills the last batch: Keras divides by the size of the batch, not by its weights."""
    return -(-count // batch_size) * batch_size / count


def feature_examples(
    training: "Embedded",
    validation: "Embedded | None",
    phase: Phase,
    *,
    batch_size: int,
    by_track: bool,
    seed: int,
    replicas: int = 1,
) -> Examples:
    """Examples that are stored features: of a window, or the mean over a random half of a track's windows.

    Args:
      training, validation: features of the two splits.
      phase: its settings.
      batch_size: over all replicas.
      by_track: whether an example is a track (validation then takes all of its windows) or a window.
      seed: of order, halves and mixup.
      replicas: that share a batch.
    """
    import tensorflow as tf

    classes = training.classes
    whole = training.by_track() if by_track else training
    examples = len(whole.label)
    if examples < batch_size:
        raise UsageError(f"{examples:,} training examples are less than one batch: {smaller_batch(examples, replicas)}")
    weights = class_weights(np.bincount(whole.label, minlength=classes), phase.class_weights)
    draw = _half_of_a_track(training) if by_track else _window(training)
    order = tf.data.Dataset.range(examples).shuffle(examples, seed=seed, reshuffle_each_iteration=True)
    drawn = tf.data.Dataset.zip(order, seed_stream(seed + 1)).map(draw).batch(batch_size, drop_remainder=True)

    def prepare(batch, step_seed):
        values, label = batch
        labels = tf.one_hot(label, classes)
        if phase.mixup:
            (mixup_seed,) = split_seed(step_seed, 1)
            values, labels = mix(values, labels, mixup_seed, phase.mixup)
        return values, smooth(labels, phase.label_smoothing), tf.linalg.matvec(labels, weights)

    batches = tf.data.Dataset.zip(drawn, seed_stream(seed + 2)).map(prepare)
    held_out = validation.by_track() if validation is not None and by_track else validation
    return Examples(
        ahead(batches),
        None if held_out is None else _in_batches(held_out, batch_size),
        examples // batch_size,
    )


def _in_memory(*arrays: np.ndarray) -> "list[tf.Tensor]":
    """Constants for tf.data, which works on the CPU: with a GPU they would take their place there."""
    import tensorflow as tf

    with tf.device("CPU:0"):
        return [tf.constant(array) for array in arrays]


def _window(features: "Embedded") -> Callable:
    values, labels = _in_memory(features.features, features.label)
    return lambda index, _: (values[index], labels[index])


def _half_of_a_track(features: "Embedded") -> Callable:
    import tensorflow as tf

    values, starts, ends, labels = _in_memory(
        features.features, *features.track_bounds(), features.label[features.track_bounds()[0]]
    )

    def draw(track, seed):
        rows = tf.range(starts[track], ends[track])
        rows = tf.random.experimental.stateless_shuffle(rows, seed)
        half = rows[: (tf.size(rows) + 1) // 2]
        return tf.reduce_mean(tf.gather(values, half), axis=0), labels[track]

    return draw


def _in_batches(features: "Embedded", batch_size: int) -> "tf.data.Dataset":
    """Every example once, in order; the last batch is filled up with examples of weight 0."""
    import tensorflow as tf

    count, scale = len(features.label), _scale(len(features.label), batch_size)
    values, labels = _in_memory(features.features, features.label)

    def fetch(rows):
        kept = tf.minimum(rows, count - 1)
        target = tf.one_hot(tf.gather(labels, kept), features.classes)
        return tf.gather(values, kept), target, tf.where(rows < count, scale, 0.0)

    rows = tf.data.Dataset.range(-(-count // batch_size) * batch_size)
    return ahead(rows.batch(batch_size, drop_remainder=True).map(fetch))  # no remainder: for shapes that are static
