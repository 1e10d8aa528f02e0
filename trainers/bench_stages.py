"""The stages of the input pipeline, one more at a time, and how long an epoch of each takes."""

import math
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from trainers.data.budget import Budget
from transforms.dataset.manifest import Manifest, ShardFile
from transforms.runtime import console

if TYPE_CHECKING:
    import tensorflow as tf


@dataclass(frozen=True, slots=True)
class Sample:
    """What is measured: some shards of one split.

    Attributes:
      dataset: its path.
      manifest: its manifest.
      kind: feature kind.
      shards: at least a batch of records.
      batch_size: records in a batch.
      wanted: records to take before the clock is read.
    """

    dataset: str
    manifest: Manifest
    kind: str
    shards: list[ShardFile]
    batch_size: int
    wanted: int

    @property
    def records(self) -> int:
        """In the shards."""
        return sum(shard.records for shard in self.shards)

    @property
    def batched_records(self) -> int:
        """In full batches."""
        return self.records - self.records % self.batch_size


def build_stages(sample: Sample) -> Iterator[tuple[str, "tf.data.Dataset", int]]:
    """(name, pipeline up to there, records in one epoch of it) for each stage; the last one gives (input, target)."""
    from trainers.data.pipeline import arrange, options, parse, read_serialized

    serialized = read_serialized(sample.dataset, sample.shards, seed=0, shuffle=True, ordered=False)
    serialized = serialized.with_options(options())
    yield "reading", serialized, sample.records
    batches = arrange(serialized, Budget(False, sample.records), seed=0).batch(sample.batch_size, drop_remainder=True)
    yield "shuffling and batching", batches, sample.batched_records
    parsed = parse(batches, sample.manifest, sample.kind, ordered=False)
    yield "parsing", parsed, sample.batched_records
    if sample.kind != "stats":  # there is nothing to augment in a track's statistics
        yield "normalising and augmenting", augmented(sample, parsed), sample.batched_records


def augmented(sample: Sample, parsed: "tf.data.Dataset") -> "tf.data.Dataset":
    """Batches of (float32 [batch, ...], float32 [batch, classes]), normalised, with every augmentation switched on."""
    import tensorflow as tf

    from trainers.augment import Augmentation, seed_stream
    from trainers.data import ahead

    normalize, augment = _normalizer(sample), Augmentation().augment
    classes = len(sample.manifest.labels)

    def prepare(batch: dict[str, tf.Tensor], seed: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return augment(normalize(batch), tf.one_hot(batch["label"], classes), seed)

    return ahead(tf.data.Dataset.zip(parsed, seed_stream(0)).map(prepare, tf.data.AUTOTUNE, False))


def _normalizer(sample: Sample) -> "Callable[[dict[str, tf.Tensor]], tf.Tensor]":
    import tensorflow as tf

    from trainers.inputs import open_inputs

    have = sample.manifest.transform_fn
    if sample.kind == "mel" and (have is None or "mel" not in have["kinds"]):
        console.log(f"{sample.dataset} has no statistics of mel; records are scaled by constants, at the same cost")
        return lambda batch: tf.cast(batch["mel"], tf.float32) / 64 - 2
    return open_inputs(sample.dataset, sample.manifest, sample.kind, sample.dataset).normalize


def exhaust(dataset: "tf.data.Dataset") -> None:
    """Takes everything out of a dataset, in C++: Python would be slower than some of the stages."""
    import tensorflow as tf

    dataset.reduce(tf.constant(0, tf.int64), lambda count, _: count + 1).numpy()


def epochs_for(wanted: int, records: int) -> int:
    """Epochs of so many records that give the records that are wanted: starting to read costs up to 0.1 s."""
    return max(1, math.ceil(wanted / records))


def time_passes(run_pass: Callable[[], None], seconds: float) -> float:
    """Median seconds of a pass, over passes that take at least so long together; a first one is not counted."""
    run_pass()
    taken: list[float] = []
    while not taken or sum(taken) < seconds:
        start = time.perf_counter()
        run_pass()
        taken.append(time.perf_counter() - start)
    return statistics.median(taken)
