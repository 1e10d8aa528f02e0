"""Input throughput, for `fma bench-input`: the stages of the input pipeline, and the training step fed and alone."""

import math
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from trainers.data.pipeline import (
    find_shards,
    parse,
    pipeline_options,
    prefetch,
    read_serialized,
    shuffle_records,
)
from trainers.data.portions import divide
from trainers.data.shard_check import check_shards
from trainers.models import find_model
from trainers.models.spec import ModelInput, ModelOptions
from trainers.training.devices import Device, open_device
from transforms.dataset.generation import ShardFile
from transforms.dataset.manifest import Manifest, load
from transforms.dataset.normalization import Normalization
from transforms.errors import UsageError
from transforms.runtime import console

if TYPE_CHECKING:
    import tensorflow as tf

TRANSFER = "transfer to the device"
TRAINING = "training step"
ROUNDS = 3
SHORT = 4  # steps of a short run: what a pipeline has made in advance is then used up

Epoch = Callable[["tf.data.Dataset"], object]


@dataclass(frozen=True, slots=True)
class Sample:
    """Some shards of one split, to measure with; `wanted` records are taken before the clock is read."""

    dataset: str
    manifest: Manifest
    kind: str
    shards: list[ShardFile]
    batch_size: int
    wanted: int

    @property
    def records(self) -> int:
        """The records in the shards."""
        return sum(shard.records for shard in self.shards)

    @property
    def batched_records(self) -> int:
        """The records in full batches."""
        return self.records - self.records % self.batch_size


@dataclass(frozen=True, slots=True)
class Stage:
    """The pipeline up to and including a stage, as it was measured."""

    name: str
    records_per_s: float
    ms: float  # milliseconds for each record
    added_ms: float  # milliseconds more than the slowest stage before it; 0 where it works while that one does


@dataclass(frozen=True, slots=True)
class TrainingStep:
    """A model's training step, with the same batch again and again."""

    name: str  # of the model
    device: str  # as its maker calls it
    records_per_s: float
    step_ms: float
    idle: float  # share of the time in which the step waits for its input, where the pipeline feeds it


@dataclass(frozen=True, slots=True)
class Throughput:
    """All measurements; the last stage is the training step where a model was measured."""

    stages: list[Stage]
    bottleneck: str
    model: TrainingStep | None


def take_sample(
    dataset: str, split: str, *, kind: str | None, model: str | None, batch_size: int, records: int
) -> Sample:
    """Take the first shards of a split that together have about so many records.

    Args:
      kind: feature kind; by default that of the model, or the dataset's first.
      model: name of the model whose step is measured, if any.

    Raises:
      UsageError: an argument does not fit the dataset.
    """
    if min(batch_size, records) < 1:
        raise UsageError("--batch-size and --records must be at least 1")
    manifest = load(dataset)
    needed = find_model(model).kind if model else None
    if needed and kind not in (None, needed):
        raise UsageError(f"{model} reads {needed} records, not {kind}: leave --kind out")
    kind = needed or kind or manifest.config.features[0]
    shards: list[ShardFile] = []
    for shard in find_shards(dataset, manifest, kind, split):
        if sum(one.records for one in shards) >= max(records, batch_size):
            break
        shards.append(shard)
    have = sum(shard.records for shard in shards)
    if have < batch_size:
        console.log(f"note: {dataset} has {have:,} {kind} records for {split}: measured with batches of {have:,}")
    return Sample(dataset, manifest, kind, shards, min(batch_size, have), records)


def measure(
    sample: Sample, seconds: float, model: str | None, weights: str | None, backend: str = "tensorflow"
) -> Throughput:
    """Measure all stages, each for at least so many seconds.

    Args:
      model: name of a model whose training step is measured too.
      weights: of the model; None for random ones, which cost the same.
      backend: of Keras, that `import_tensorflow` was called with.

    Raises:
      FmaError: a shard is damaged.
    """
    stages: list[Stage] = []
    training_step, device = None, open_device(backend=backend) if model else None
    total = 5 if model else 3
    with (
        check_shards(sample.dataset, sample.shards, set()) as check,
        console.progress("bench-input", total, "stages") as progress,
    ):
        check.wait()  # it would be measured, too
        for name, stage, records in build_stages(sample):
            progress.advance(0, name)
            epochs = epochs_for(sample.wanted, records)
            taken = time_passes(partial(exhaust, stage.repeat(epochs)), seconds)
            stages.append(_stage(name, taken / (epochs * records), stages))
            progress.advance()
        if model and device:
            progress.advance(0, TRANSFER)
            taken = time_passes(partial(transfer, stage.repeat(epochs), device), seconds)
            stages.append(_stage(TRANSFER, taken / (epochs * records), stages))
            progress.advance()
            progress.advance(0, TRAINING)
            fed, training_step = time_training_step(model, weights, sample, stage, seconds=seconds, device=device)
            stages.append(_stage(TRAINING, fed, stages))
            progress.advance()
    return Throughput(stages, find_bottleneck(stages, training_step), training_step)


def _stage(name: str, seconds: float, before: list[Stage]) -> Stage:
    ms = 1000 * seconds
    return Stage(name, 1 / seconds, ms, max(0.0, ms - max((stage.ms for stage in before), default=0.0)))


def find_bottleneck(stages: list[Stage], step: TrainingStep | None) -> str:
    """Return the training step, where alone it takes fewer records/s than the input gives; else the costliest stage."""
    inputs = [stage for stage in stages if stage.name != TRAINING]
    if step and step.records_per_s < inputs[-1].records_per_s:
        return TRAINING
    return max(inputs, key=lambda stage: stage.added_ms).name


def describe_bottleneck(found: Throughput) -> str:
    """Return the bottleneck in a sentence."""
    name, model = found.bottleneck, found.model
    inputs = {stage.name: stage for stage in found.stages if stage.name != TRAINING}
    if name in inputs:
        whole = sum(stage.added_ms for stage in inputs.values())
        name += f", {inputs[name].added_ms:.3f} of {whole:.3f} ms for each record of the input"
    if not model:
        return f"bottleneck: {name}"
    rate = [stage.records_per_s for stage in inputs.values()][-1]
    return (
        f"bottleneck: {name}: {model.name} alone takes {model.records_per_s:,.0f} records/s "
        f"({model.step_ms:.1f} ms a step), the input gives {rate:,.0f}; the step waits {model.idle:.0%} of the time"
    )


def build_stages(sample: Sample) -> Iterator[tuple[str, "tf.data.Dataset", int]]:
    """Yield (name, pipeline up to there, records in one epoch of it) for each stage; training reads the last."""
    serialized = read_serialized(sample.dataset, divide(sample.shards), ordered=False)
    serialized = serialized.with_options(pipeline_options())
    yield "reading", serialized, sample.records
    shuffled = shuffle_records(serialized, sample.records, seed=0)
    batches = shuffled.batch(sample.batch_size, drop_remainder=True)
    yield "shuffling and batching", batches, sample.batched_records
    parsed = parse(batches, sample.manifest, sample.kind, ordered=False)
    yield "parsing", prefetch(parsed), sample.batched_records


def exhaust(dataset: "tf.data.Dataset") -> None:
    """Take everything out of a dataset, in C++: Python would be slower than some of the stages."""
    import tensorflow as tf

    dataset.reduce(tf.constant(0, tf.int64), lambda count, _: count + 1).numpy()


def transfer(batches: "tf.data.Dataset", device: Device) -> None:
    """Copy all batches to the device, one after the other."""
    for batch in batches:
        device.transfer(batch)


def epochs_for(wanted: int, records: int) -> int:
    """Return how many epochs of so many records give those that are wanted: starting to read costs up to 0.1 s."""
    return math.ceil(wanted / records)


def time_passes(run_pass: Callable[[], None], seconds: float) -> float:
    """Return the median seconds of a pass, over passes of at least so long together after an uncounted first one."""
    run_pass()
    taken: list[float] = []
    while not taken or sum(taken) < seconds:
        start = time.perf_counter()
        run_pass()
        taken.append(time.perf_counter() - start)
    return statistics.median(taken)


def time_training_step(
    name: str, weights: str | None, sample: Sample, batches: "tf.data.Dataset", *, seconds: float, device: Device
) -> tuple[float, TrainingStep]:
    """Time a model's training step on a device: medians of some rounds.

    Each round times both ways one after the other, since a machine's speed changes; of each, a short run is subtracted
    from a long one, since a run's start is not a step's.

    Args:
      batches: of `build_stages`.
      seconds: least time of a long run.

    Returns:
      seconds for each record where the pipeline feeds the step, and the step alone.

    Raises:
      UsageError: the model cannot be built for this dataset.
    """
    with device.scope():
        epoch = _make_epoch(name, weights, sample, device)
    kind = sample.kind
    batches = batches.map(lambda batch: {"input": batch[kind], "label": batch["label"]})
    fed, alone = batches.repeat(), batches.take(1).cache().repeat()
    steps = _steps_within(epoch, alone, seconds)
    rounds = [(_time_step(epoch, fed, steps), _time_step(epoch, alone, steps)) for _ in range(ROUNDS)]
    idle = statistics.median(1 - least / taken for taken, least in rounds)
    together, least = (statistics.median(times) for times in zip(*rounds, strict=True))
    step = TrainingStep(name, device.description, sample.batch_size / least, 1000 * least, max(0.0, idle))
    return together / sample.batch_size, step


def _steps_within(epoch: Epoch, batches: "tf.data.Dataset", seconds: float) -> int:
    """So many steps that they fill the time."""
    epoch(batches.take(1))  # builds, compiles and fills the cache
    steps = 2
    while _time(epoch, batches.take(steps)) < seconds:
        steps *= 2
    return steps


def _time_step(epoch: Epoch, batches: "tf.data.Dataset", steps: int) -> float:
    short, long = _time(epoch, batches.take(SHORT)), _time(epoch, batches.take(SHORT + steps))
    # Runs of a few milliseconds may differ the wrong way round.
    return (long - short) / steps if long > short else long / (SHORT + steps)


def _time(epoch: Epoch, batches: "tf.data.Dataset") -> float:
    start = time.perf_counter()
    epoch(batches)
    return time.perf_counter() - start


def _make_epoch(name: str, weights: str | None, sample: Sample, device: Device) -> Epoch:
    """Runs over batches as training does: training steps, or the frozen front where only that sees records."""
    from trainers.models.records import add_normalization, normalization_of
    from trainers.training.answers import OneLabel
    from trainers.training.front_features import front_on_records
    from trainers.training.objective import compile_part

    spec, manifest = find_model(name), sample.manifest
    weights = weights or ("" if spec.default_weights is None else "none")
    inputs, classes = ModelInput.of(sample.kind, manifest.config), len(manifest.labels)
    network = spec.build(inputs, classes, ModelOptions(weights=weights))
    # What records are normalised by costs the same whatever it is, so the dataset may lack statistics.
    same = np.ones(inputs.shape[0], np.float32)
    model = add_normalization(network, spec.kind, manifest.config, Normalization("mel", -40 * same, 15 * same))
    # The last phase in which records go through the whole model.
    phase = next((phase for phase in reversed(spec.phases) if phase.train == "model"), None)
    if phase is None:
        front = device.inference(front_on_records(model))
        return lambda batches: [front(batch["input"]) for batch in batches]
    if phase.prepare:
        phase.prepare(network)
    steps = sample.batched_records // sample.batch_size
    part = compile_part(
        network,
        phase,
        OneLabel.of(np.ones(classes), phase),
        steps,
        normalize=normalization_of(model),
        sample_rate=manifest.config.sample_rate,
    )
    return lambda batches: part.fit(batches, epochs=1, shuffle=False, verbose=0)
