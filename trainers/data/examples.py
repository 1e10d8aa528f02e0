"""Training examples: batches as the training step takes them, from records or from features of a frozen front."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import tensorflow as tf

from trainers.data.inputs import Inputs
from trainers.data.pipeline import (
    Cache,
    ReadOptions,
    concatenate_epochs,
    draw_rows,
    fill_batch,
    fit_batch,
    padded_batch,
    prefetch,
)
from trainers.data.portions import WHOLE, Share
from trainers.models.spec import Phase
from transforms.runtime import console

if TYPE_CHECKING:
    from trainers.training.front_features import Embeddings


@dataclass(frozen=True)
class Examples:
    """The examples of a phase: batches are dicts, see `trainers.training.step.TrainedPart`."""

    training: tf.data.Dataset  # epochs one after the other, each shuffled in its own way
    # every example once, with its weight; None where the dataset has no validation split
    validation: tf.data.Dataset | None
    steps: int  # batches in an epoch of training
    counts: np.ndarray  # training examples by label, int64 [classes]


def record_examples(
    inputs: Inputs,
    phase: Phase,
    batch_size: int,
    counts: np.ndarray,
    *,
    seeds: Sequence[int],
    reproducible: bool,
    cache: Literal["auto", "on", "off", "device"] = "auto",
    replicas: int = 1,
) -> Examples:
    """Return examples that are records, as they are stored.

    Args:
      batch_size: over all replicas; smaller where there are fewer records.
      counts: training records by label.
      seeds: of their order, one for each epoch that is read.
      reproducible: whether the seed alone decides it, at some cost in speed.
      cache: of both splits; with "device", training batches are numbers of records, in the order of `Inputs.read`.
      replicas: that share a batch.
    """
    records = inputs.count("training")
    fitted = _fit_batch(phase, records, batch_size, replicas)
    host_cache: Cache = "auto" if cache == "device" else cache
    share = inputs.cluster.share
    if cache == "device":
        training = draw_rows(records, fitted, seeds).map(lambda rows: {"row": rows})
    else:
        own = fitted // share.processes
        options = ReadOptions(own, training=True, seeds=seeds, reproducible=reproducible, cache=host_cache, share=share)
        batches = inputs.read_split("training", options)
        training = prefetch(batches.map(lambda batch: {"input": batch["input"], "label": batch["label"]}))
    validation = None
    if count := inputs.count("validation"):
        padded = padded_batch(count, batch_size, replicas)
        scale = _padding_scale(count, padded)
        validation = inputs.read("validation", padded // share.processes, host_cache).map(
            lambda batch: {"input": batch["input"], "label": batch["label"], "weight": batch["weight"] * scale}
        )
    return Examples(training, validation, max(1, records // fitted), counts)


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
    seeds: Sequence[int],
    replicas: int = 1,
    share: Share = WHOLE,
) -> Examples:
    """Return examples that are stored features: of a window, or the mean over a random half of a track's windows.

    Args:
      training, validation: features of the two splits.
      batch_size: over all replicas; smaller where there are fewer examples.
      by_track: whether an example is a track (validation then takes all of its windows) or a window.
      seeds: of order and halves, one for each epoch that is drawn.
      replicas: that share a batch.
      share: this process's part of each batch.
    """
    labels = training.label[training.track_bounds()[0]] if by_track else training.label
    examples = len(labels)
    fitted = _fit_batch(phase, examples, batch_size, replicas)
    draw = _half_of_a_track(training) if by_track else _window(training)

    def draw_epoch(seed):
        order = tf.data.Dataset.range(examples).shuffle(examples, seed=seed, reshuffle_each_iteration=False)
        places = fill_batch(order, examples, fitted).enumerate()
        return places.map(lambda place, index: draw(index, [seed, place])).batch(fitted, drop_remainder=True)

    steps = max(1, examples // fitted)
    drawn = concatenate_epochs(draw_epoch, seeds, steps)
    held_out = validation.by_track() if validation is not None and by_track else validation
    in_order = None
    if held_out is not None:
        in_order = _part(_in_order(held_out, padded_batch(len(held_out.label), batch_size, replicas)), share)
    counts = np.bincount(labels, minlength=training.classes)
    return Examples(_part(drawn, share), in_order, steps, counts)


def _part(batches: tf.data.Dataset, share: Share) -> tf.data.Dataset:
    """Return a process's part of each batch; those of all processes, in their order, are the batch."""

    def cut(batch):
        size = len(batch["label"]) // share.processes
        return {name: values[share.process * size : (share.process + 1) * size] for name, values in batch.items()}

    return prefetch(batches if share == WHOLE else batches.map(cut))


def _in_memory(*arrays: np.ndarray) -> list[tf.Tensor]:
    """Constants for tf.data, which works on the CPU: with a GPU they would take their place there."""
    with tf.device("CPU:0"):
        return [tf.constant(array) for array in arrays]


def _gather_from(features: np.ndarray) -> Callable[[tf.Tensor], tf.Tensor]:
    """Return a function of row numbers, or of one, that returns the rows; a mapped file's are read when asked for."""
    if not isinstance(features, np.memmap):
        (values,) = _in_memory(features)
        return lambda rows: tf.gather(values, rows)

    def gather(rows: tf.Tensor) -> tf.Tensor:
        found = tf.numpy_function(lambda rows: np.array(features[rows]), [rows], tf.float32, stateful=False)
        return tf.ensure_shape(found, [*rows.shape, features.shape[1]])

    return gather


def _window(embeddings: "Embeddings") -> Callable:
    values, (labels,) = _gather_from(embeddings.features), _in_memory(embeddings.label)
    return lambda index, _: {"input": values(index), "label": labels[index]}


def _half_of_a_track(embeddings: "Embeddings") -> Callable:
    first, last = embeddings.track_bounds()
    values = _gather_from(embeddings.features)
    starts, ends, labels = _in_memory(first, last, embeddings.label[first])

    def draw(track, seed):
        rows = tf.random.experimental.stateless_shuffle(tf.range(starts[track], ends[track]), seed)
        half = rows[: (tf.size(rows) + 1) // 2]
        return {"input": tf.reduce_mean(values(half), axis=0), "label": labels[track]}

    return draw


def _in_order(embeddings: "Embeddings", batch_size: int) -> tf.data.Dataset:
    """Every example once, in order; the last batch is padded with examples of weight 0."""
    count, scale = len(embeddings.label), _padding_scale(len(embeddings.label), batch_size)
    values, (labels,) = _gather_from(embeddings.features), _in_memory(embeddings.label)

    def fetch(rows):
        kept = tf.minimum(rows, count - 1)
        weight = tf.where(rows < count, scale, 0.0)
        return {"input": values(kept), "label": tf.gather(labels, kept), "weight": weight}

    rows = tf.data.Dataset.range(-(-count // batch_size) * batch_size)
    return rows.batch(batch_size, drop_remainder=True).map(fetch)  # no remainder: for shapes that are static
