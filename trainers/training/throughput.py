"""Input throughput, for `fma bench-input`: the stages of the input pipeline, and the training step fed and alone."""

import math
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from trainers.data.pipeline import Budget
from transforms.dataset.manifest import Manifest, ShardFile
from transforms.runtime import console

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

    from trainers.models.spec import ModelSpec, Phase


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

    from trainers.data import ahead
    from trainers.data.augment import Augmentation, seed_stream

    normalize, augment = _normalizer(sample), Augmentation().augment
    classes = len(sample.manifest.labels)

    def prepare(batch: dict[str, tf.Tensor], seed: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return augment(normalize(batch), tf.one_hot(batch["label"], classes), seed)

    return ahead(tf.data.Dataset.zip(parsed, seed_stream(0)).map(prepare, tf.data.AUTOTUNE, False))


def _normalizer(sample: Sample) -> "Callable[[dict[str, tf.Tensor]], tf.Tensor]":
    import tensorflow as tf

    from trainers.data.pipeline import open_inputs

    have = sample.manifest.transform_fn
    if sample.kind == "mel" and (have is None or "mel" not in have.kinds):
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


Epoch = Callable[["tf.data.Dataset"], object]

ROUNDS = 3
SHORT = 4
"""Steps of a short run: what a pipeline has made in advance is then used up."""


@dataclass(frozen=True, slots=True)
class StepTimes:
    """A training step's time for each of its records, in seconds.

    Attributes:
      fed: by the input pipeline.
      alone: with the same batch again and again.
      idle: share of the step's time that it is longer by where it is fed.
    """

    fed: float
    alone: float
    idle: float


def bench_step(
    name: str, weights: str | None, sample: "Sample", batches: "tf.data.Dataset", seconds: float
) -> StepTimes:
    """Times a model's training step on one device, the one that TensorFlow chooses: medians of some rounds.

    Each round times both ways one after the other, since a machine's speed changes; of each, a short run is subtracted
    from a long one, since a run's start is not a step's.

    Args:
      name: of the model.
      weights: None for random ones, which cost the same.
      sample: what the batches come from.
      batches: (input, target).
      seconds: least time of a long run.

    Raises:
      UsageError: the model cannot be built for this dataset.
    """
    epoch = _make_epoch(name, weights, sample)
    fed, alone = batches.repeat(), batches.take(1).cache().repeat()
    steps = _steps_within(epoch, alone, seconds)
    rounds = [(_time_step(epoch, fed, steps), _time_step(epoch, alone, steps)) for _ in range(ROUNDS)]
    idle = statistics.median(1 - least / taken for taken, least in rounds)
    together, least = (statistics.median(times) / sample.batch_size for times in zip(*rounds, strict=True))
    return StepTimes(together, least, max(0.0, idle))


def _steps_within(epoch: Epoch, batches: "tf.data.Dataset", seconds: float) -> int:
    """So many steps that they fill the time."""
    epoch(batches.take(1))  # builds, compiles and fills the cache
    steps = 1
    while True:
        steps *= 2
        if _time(epoch, batches.take(steps)) >= seconds:
            return steps


def _time_step(epoch: Epoch, batches: "tf.data.Dataset", steps: int) -> float:
    short, long = _time(epoch, batches.take(SHORT)), _time(epoch, batches.take(SHORT + steps))
    # Runs of a few milliseconds may differ the wrong way round.
    return (long - short) / steps if long > short else long / (SHORT + steps)


def _time(epoch: Epoch, batches: "tf.data.Dataset") -> float:
    start = time.perf_counter()
    epoch(batches)
    return time.perf_counter() - start


def _make_epoch(name: str, weights: str | None, sample: "Sample") -> Epoch:
    """What runs over batches as training does: training steps, or the frozen front where only that sees records."""
    from trainers.models import find
    from trainers.models.spec import ModelInput, ModelOptions, front_of

    spec = find(name)
    shown = "" if spec.default_weights is None else weights or "none"
    inputs = ModelInput.of(sample.kind, sample.manifest.config)
    model = spec.build(inputs, len(sample.manifest.labels), ModelOptions(weights=weights or shown))
    phase = last_phase(spec)
    if phase is None:
        front = front_of(model)
        return lambda batches: front.predict(batches.map(lambda values, _: values), verbose=0)
    return _trainer(model, phase, sample.batched_records // sample.batch_size)


def last_phase(spec: "ModelSpec") -> "Phase | None":
    """The last phase in which records go through the whole model; None where only the head is ever trained."""
    return next((phase for phase in reversed(spec.phases) if phase.train == "model"), None)


def _trainer(model: "keras.Model", phase: "Phase", steps: int) -> Epoch:
    from trainers.training.objective import trainable_view

    if phase.prepare:
        phase.prepare(model)
    view = trainable_view(model, phase, steps, "auto")
    return lambda batches: view.fit(batches, epochs=1, shuffle=False, verbose=0)
