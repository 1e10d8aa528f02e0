"""The training step of a model, timed for `fma bench-input`: fed by the input pipeline, and alone."""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

    from trainers.bench_stages import Sample
    from trainers.models.spec import ModelSpec, Phase

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
    from trainers.fit import trainable_view

    if phase.prepare:
        phase.prepare(model)
    view = trainable_view(model, phase, steps, "auto")
    return lambda batches: view.fit(batches, epochs=1, shuffle=False, verbose=0)
