"""Training examples: batches of (input, target, weight), from records or from stored features of a frozen front."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import tensorflow as tf

from trainers.data.augment import Augmentation, mix, seed_stream, split_seed
from trainers.data.pipeline import (
    Inputs,
    ReadOptions,
    count_records,
    fill_batch,
    fit_batch,
    padded_batch,
    prefetch,
    read_split,
)
from trainers.models.spec import Phase
from trainers.training.objective import class_weights, smooth_labels
from transforms.runtime import console

if TYPE_CHECKING:
    from trainers.training.front_features import Embeddings

GAIN_DB = 6.0


@dataclass(frozen=True)
class Examples:
    """The examples of a phase."""

    # one epoch of (input, target [batch, classes], weight [batch]), float32 all, shuffled and augmented
    training: tf.data.Dataset
    # every example once, not augmented; None where the dataset has no validation split
    validation: tf.data.Dataset | None
    steps: int  # batches in an epoch of training


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
    """Return examples that are records.

    Args:
      batch_size: over all replicas; smaller where there are fewer records.
      counts: training records by label.
      seed: of order and augmentation.
      reproducible: whether the seed alone decides them, at some cost in speed.
      replicas: that share a batch.
    """
    manifest, kind, classes = inputs.manifest, inputs.kind, len(counts)
    records = count_records(manifest, kind, "training")
    fitted = _fit_batch(phase, records, batch_size, replicas)
    options = ReadOptions(fitted, training=True, seed=seed, reproducible=reproducible)
    batches = read_split(inputs.dataset, manifest, kind, "training", options)
    augmentation = Augmentation(
        gain_db=GAIN_DB if phase.gain else 0.0,
        mixup=phase.mixup,
        spec_augment=phase.spec_augment,
        units_per_db=inputs.units_per_db or 0.0,
    )
    weights = class_weights(counts, phase.class_weights)

    def prepare(batch, step_seed):
        labels = tf.one_hot(batch["label"], classes)
        values, labels = augmentation.augment(inputs.normalize(batch), labels, step_seed)
        return values, smooth_labels(labels, phase.label_smoothing), tf.linalg.matvec(labels, weights)

    training = tf.data.Dataset.zip(batches, seed_stream(seed)).map(prepare, tf.data.AUTOTUNE, reproducible)
    validation = None
    if count := count_records(manifest, kind, "validation"):
        padded = padded_batch(count, batch_size, replicas)
        scale = _padding_scale(count, padded)
        validation = inputs.read("validation", padded, cache="auto").map(
            lambda batch: (batch["input"], tf.one_hot(batch["label"], classes), batch["weight"] * scale)
        )
    return Examples(prefetch(training), validation, max(1, records // fitted))


def _fit_batch(phase: Phase, examples: int, batch_size: int, replicas: int) -> int:
    """Return the size of a training batch, and log a note where there are too few examples for the one wanted."""
    fitted = fit_batch(examples, batch_size, replicas)
    if fitted < batch_size:
        few = console.counted(examples, "training example")
        console.log(
            f"note: phase {phase.name} has {few}, fewer than a batch of {batch_size:,}: its batches have {fitted:,}"
        )
    return fitted


def _padding_scale(count: int, batch_size: int) -> float:
    """Makes up for the padding of the last batch: Keras divides by the size of the batch, not by its weights."""
    return -(-count // batch_size) * batch_size / count


def feature_examples(
    training: "Embeddings",
    validation: "Embeddings | None",
    phase: Phase,
    *,
    batch_size: int,
    by_track: bool,
    seed: int,
    replicas: int = 1,
) -> Examples:
    """Return examples that are stored features: of a window, or the mean over a random half of a track's windows.

    Args:
      training, validation: features of the two splits.
      batch_size: over all replicas; smaller where there are fewer examples.
      by_track: whether an example is a track (validation then takes all of its windows) or a window.
      seed: of order, halves and mixup.
      replicas: that share a batch.
    """
    classes = training.classes
    whole = training.by_track() if by_track else training
    examples = len(whole.label)
    fitted = _fit_batch(phase, examples, batch_size, replicas)
    weights = class_weights(np.bincount(whole.label, minlength=classes), phase.class_weights)
    draw = _half_of_a_track(training) if by_track else _window(training)
    order = tf.data.Dataset.range(examples).shuffle(examples, seed=seed, reshuffle_each_iteration=True)
    order = fill_batch(order, examples, fitted)
    drawn = tf.data.Dataset.zip(order, seed_stream(seed + 1)).map(draw).batch(fitted, drop_remainder=True)

    def prepare(batch, step_seed):
        values, label = batch
        labels = tf.one_hot(label, classes)
        if phase.mixup:
            (mixup_seed,) = split_seed(step_seed, 1)
            values, labels = mix(values, labels, mixup_seed, phase.mixup)
        return values, smooth_labels(labels, phase.label_smoothing), tf.linalg.matvec(labels, weights)

    batches = tf.data.Dataset.zip(drawn, seed_stream(seed + 2)).map(prepare)
    held_out = validation.by_track() if validation is not None and by_track else validation
    in_order = None
    if held_out is not None:
        in_order = _in_order(held_out, padded_batch(len(held_out.label), batch_size, replicas))
    return Examples(prefetch(batches), in_order, max(1, examples // fitted))


def _in_memory(*arrays: np.ndarray) -> list[tf.Tensor]:
    """Constants for tf.data, which works on the CPU: with a GPU they would take their place there."""
    with tf.device("CPU:0"):
        return [tf.constant(array) for array in arrays]


def _window(embeddings: "Embeddings") -> Callable:
    values, labels = _in_memory(embeddings.features, embeddings.label)
    return lambda index, _: (values[index], labels[index])


def _half_of_a_track(embeddings: "Embeddings") -> Callable:
    first, last = embeddings.track_bounds()
    values, starts, ends, labels = _in_memory(embeddings.features, first, last, embeddings.label[first])

    def draw(track, seed):
        rows = tf.random.experimental.stateless_shuffle(tf.range(starts[track], ends[track]), seed)
        half = rows[: (tf.size(rows) + 1) // 2]
        return tf.reduce_mean(tf.gather(values, half), axis=0), labels[track]

    return draw


def _in_order(embeddings: "Embeddings", batch_size: int) -> tf.data.Dataset:
    """Every example once, in order; the last batch is padded with examples of weight 0."""
    count, scale = len(embeddings.label), _padding_scale(len(embeddings.label), batch_size)
    values, labels = _in_memory(embeddings.features, embeddings.label)

    def fetch(rows):
        kept = tf.minimum(rows, count - 1)
        target = tf.one_hot(tf.gather(labels, kept), embeddings.classes)
        return tf.gather(values, kept), target, tf.where(rows < count, scale, 0.0)

    rows = tf.data.Dataset.range(-(-count // batch_size) * batch_size)
    return prefetch(rows.batch(batch_size, drop_remainder=True).map(fetch))  # no remainder: for shapes that are static
