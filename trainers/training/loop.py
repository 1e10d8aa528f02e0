"""Training from wherever a run stands to its end: phase after phase, epoch after epoch, then the evaluation."""

import sys
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from trainers.data import count_records, reading
from trainers.data.pipeline import Inputs
from trainers.evaluation.predict import Predictor, evaluate_split
from trainers.models.spec import ModelSpec, Phase, front_of, head_of, standardise
from trainers.runs.directory import LOGS, remove_leftovers, write_metrics
from trainers.runs.predictions import write_predictions
from trainers.runs.state import RunState, next_phase, read_history, save_state, write_history
from trainers.training import checkpoint
from trainers.training.devices import Device
from trainers.training.objective import Jit, trainable_view
from transforms import storage
from transforms.runtime import console

if TYPE_CHECKING:
    import keras

    from trainers.data.examples import Examples


@dataclass(frozen=True)
class Job:
    """What is trained, on what and how.

    Attributes:
      run: the run directory.
      spec: the model's row.
      phases: with the user's settings.
      model: the whole model, built in the device's scope.
      inputs: of the dataset.
      counts: training records by label, int64 [classes].
      seed: of the run.
      device: that the model is on.
      jit: whether XLA compiles the training step.
    """

    run: str
    spec: ModelSpec
    phases: tuple[Phase, ...]
    model: "keras.Model"
    inputs: Inputs
    counts: np.ndarray
    seed: int
    device: Device
    jit: Jit


def train(job: Job, state: RunState) -> RunState:
    """Trains to the end of the last phase, and returns the state there.

    Raises:
      FmaError: a shard is damaged, or the loss is no longer finite; what was committed before is kept.
    """
    checkpoint.settle(job.run, state)
    write_history(job.run, [row for row in read_history(job.run) if row["epoch"] <= state.epoch])
    while not state.phase_done or state.phase + 1 < len(job.phases):
        if state.phase_done:
            state = next_phase(state)
        state = train_phase(job, state)
        _tell_end(job, state)
    return state


def train_phase(job: Job, state: RunState) -> RunState:
    """Trains one phase from its start or from its last committed epoch to its end; returns the state there."""

    phase = job.phases[state.phase]
    batch_size = phase.batch_size * job.device.replicas
    with job.device.strategy.scope():
        if phase.prepare:
            phase.prepare(job.model)
    if state.epoch and not state.phase_epoch:
        checkpoint.load_best(job.run, job.model)
    examples = make_examples(job, state, phase, batch_size)
    with job.device.strategy.scope():
        part = head_of(job.model) if phase.train == "head" else job.model
        view = trainable_view(part, phase, examples.steps, job.jit)
    if state.phase_epoch:
        checkpoint.restore(job.run, state, job.model, view.optimizer)
    return _fit(job, state, phase, view, examples)


def make_examples(job: Job, state: RunState, phase: Phase, batch_size: int) -> "Examples":
    """The phase's examples; for a phase that trains the head, features of the front, which the head is fitted to."""
    from trainers.data.examples import feature_examples, record_examples
    from trainers.training.embeddings import embed_split, inference

    seed = epoch_seed(job.seed, state.epoch)
    if phase.train == "model":
        return record_examples(
            job.inputs,
            phase,
            batch_size,
            job.counts,
            seed=seed,
            reproducible=job.device.reproducible,
            replicas=job.device.replicas,
        )
    front = inference(front_of(job.model), job.device.strategy)
    training, validation = (
        embed_split(job.run, phase.name, front, job.inputs, split, batch_size=batch_size)
        for split in ("training", "validation")
    )
    assert training is not None  # a dataset without training records was refused
    if not state.phase_epoch:
        standardise(head_of(job.model), training.features)
    by_track = job.spec.pool == "track"
    return feature_examples(
        training,
        validation,
        phase,
        batch_size=batch_size,
        by_track=by_track,
        seed=seed,
        replicas=job.device.replicas,
    )


def epoch_seed(seed: int, epoch: int) -> int:
    """The seed of order and augmentation for a stretch of training that begins after `epoch` epochs, below 2**31."""
    return int(np.random.SeedSequence((seed, epoch)).generate_state(1)[0] >> 1)


def _fit(job: Job, state: RunState, phase: Phase, view: "keras.Model", examples: "Examples") -> RunState:
    from trainers.training.callbacks import Board, Keeper, Narrator, Watch

    validated = examples.validation is not None
    first, last = state.epoch, state.epoch - state.phase_epoch + phase.epochs
    total = last + sum(later.epochs for later in job.phases[state.phase + 1 :])
    label = job.spec.name if len(job.phases) == 1 else f"{job.spec.name}, {phase.name}"
    keeper = Keeper(job.run, state, job.model, phase, validated)
    with (
        console.progress(f"train {label}", (last - first) * examples.steps, "steps") as progress,
        reading(job.inputs.dataset),
    ):
        callbacks = [
            Watch(job.run, state),
            keeper,
            Board(storage.join(job.run, LOGS), validated),
            Narrator(progress, total, lines=not sys.stderr.isatty()),
        ]
        view.fit(
            examples.training,
            validation_data=examples.validation,
            initial_epoch=first,
            epochs=last,
            callbacks=callbacks,
            shuffle=False,  # the examples are shuffled already
            verbose=0,
        )
    return keeper.state


def _tell_end(job: Job, state: RunState) -> None:
    phase = job.phases[state.phase]
    if state.phase_epoch < phase.epochs:
        console.log(
            f"stopped after {state.phase_epoch} of {phase.epochs} epochs: no lower validation loss in {phase.patience}"
        )


HELD_OUT = ("validation", "test")


def finish(job: Job, state: RunState) -> RunState:
    """Evaluates the best model on the splits that it was not trained on, and marks the run as finished.

    Returns:
      the state that is stored from then on.
    """
    if state.finished:
        remove_leftovers(job.run)  # it may have been killed just before it did so
        return state
    checkpoint.load_best(job.run, job.model)
    labels, batch_size = job.inputs.manifest.labels, max(phase.batch_size for phase in job.phases)
    predictor = Predictor(job.spec, job.model, job.device.strategy)
    metrics = {}
    for split in HELD_OUT:
        if count_records(job.inputs.manifest, job.inputs.kind, split):
            metrics[split], predictions = evaluate_split(predictor, job.inputs, split, labels, batch_size)
            write_predictions(job.run, split, predictions)
    write_metrics(job.run, metrics)
    early = state.phase_epoch < job.phases[state.phase].epochs
    state = replace(state, finished="validation no longer improved" if early else "all epochs done")
    save_state(job.run, state)
    remove_leftovers(job.run)
    return state
