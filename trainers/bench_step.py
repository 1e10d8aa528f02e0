"""The training step of a model, timed for `fma bench-input`: fed by the input pipeline, and alone."""

import math
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from trainers.bench_stages import epochs_for

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

    from trainers.bench_stages import Sample
    from trainers.models.spec import ModelSpec, Phase

Epoch = Callable[["tf.data.Dataset"], object]


def bench_step(
    name: str, weights: str | None, sample: "Sample", batches: "tf.data.Dataset", seconds: float
) -> tuple[float, float]:
    """Times a model's training step on one device, the one that TensorFlow chooses.

    Args:
      name: of the model.
      weights: None for random ones, which cost the same.
      sample: what the batches come from.
      batches: (input, target).
      seconds: least time.

    Returns:
      seconds for each record: fed by the pipeline (at least one epoch), and with the same batch again and again.

    Raises:
      UsageError: the model cannot be built for this dataset.
    """
    epoch = _make_epoch(name, weights, sample)
    alone = _time_alone(epoch, batches, seconds) / sample.batch_size
    epochs = epochs_for(math.ceil(seconds / alone), sample.batched_records)
    start = time.perf_counter()
    epoch(batches.repeat(epochs))
    return (time.perf_counter() - start) / (epochs * sample.batched_records), alone


def _time_alone(epoch: Epoch, batches: "tf.data.Dataset", seconds: float) -> float:
    """Seconds for a step, over as many steps as it takes to fill the time."""
    one = batches.take(1).cache()
    epoch(one)  # builds, compiles and fills the cache
    steps = 1
    while True:
        steps *= 2
        start = time.perf_counter()
        epoch(one.repeat(steps))
        taken = time.perf_counter() - start
        if taken >= seconds:
            return taken / steps


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
