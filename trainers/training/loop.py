"""The training loop: phase after phase, epoch after epoch, from wherever a run stands; then the evaluation."""

import sys
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from typing import Any

import keras
import numpy as np

from trainers.data.examples import Examples, feature_examples, record_examples
from trainers.data.inputs import Inputs
from trainers.data.shard_check import check_shards
from trainers.data.targets import Targets, count_unknown
from trainers.evaluation.evaluate import NoveltyOf, Predictor, evaluate_split
from trainers.evaluation.many_genres import choose_facts, predict_genres, score_genres
from trainers.models.genre_output import add_genre_output
from trainers.models.records import add_normalization, network_of, normalization_of
from trainers.models.spec import ModelInput, Phase, head_of, standardise
from trainers.runs.directory import (
    LOGS,
    RunConfig,
    create_run,
    load_config,
    locked,
    open_run,
    remove_leftovers,
    write_metrics,
)
from trainers.runs.genre_facts import GENRES, GenreFacts, write_genre_facts
from trainers.runs.genre_predictions import write_genre_predictions
from trainers.runs.novelty import LEAST_TRACKS, Novelty, fit_on_split, write_novelty
from trainers.runs.predictions import write_predictions
from trainers.runs.state import (
    ACCURACY,
    AVERAGE_PRECISION,
    RunState,
    describe_start,
    next_phase,
    save_state,
    write_history,
)
from trainers.serving.tflite import write_lite, write_lite_in_child
from trainers.training import checkpoint
from trainers.training.answers import ManyGenres, OneLabel
from trainers.training.callbacks import Checkpointer, EpochSeed, EpochTensorBoard, NonFiniteLossGuard, ProgressLogger
from trainers.training.cluster import ALONE, Cluster
from trainers.training.device_records import DeviceRecords, load_records
from trainers.training.devices import Device, open_device
from trainers.training.front_features import Embeddings, embed_split, front_on_records
from trainers.training.normalization import choose_normalization
from trainers.training.objective import compile_part, count_by_label
from trainers.training.plan import HELD_OUT, Plan, can_choose_epoch
from transforms import storage
from transforms.dataset.ledger import read_tracks
from transforms.errors import UsageError
from transforms.runtime import console
from transforms.runtime.os_errors import annotate_os_errors


@dataclass(frozen=True)
class Job:
    """A plan with all that it needs to run."""

    plan: Plan
    device: Device
    model: keras.Model  # the whole model (`trainers.models.records`), built in the device's scope
    inputs: Inputs
    counts: np.ndarray  # of `count_by_genre`
    stored: DeviceRecords | None  # the training records on the device, with --cache device
    chooses: bool  # whether validation decides when training ends, and which epoch's model is kept

    @property
    def run(self) -> str:
        """The run directory."""
        return self.plan.options.run


def train_run(plan: Plan, cluster: Cluster = ALONE) -> RunState:
    """Train a run from where it stands to its end, and evaluate it; return its last state.

    In a cluster all processes call it, with equal plans. Process 0 reads and writes the run.

    Raises:
      FmaError: a shard is damaged, or the loss is no longer finite; what was committed before is kept.
    """
    options, spec, manifest = plan.options, plan.spec, plan.manifest
    device = open_device(options.device, options.backend, cluster)
    keras.utils.set_random_seed(options.seed)
    with device.scope():
        model_input = ModelInput.of(spec.kind, manifest.config)
        network = spec.build(model_input, len(plan.config.labels), plan.model_options)
        if plan.targets:
            network = end_with_genres(network, plan.config, plan.targets)
    with locked(options.run) if cluster.leads else nullcontext(), annotate_os_errors(options.run):
        state = RunState(**cluster.broadcast_json(lambda: asdict(_open(plan, device))))
        inputs = Inputs(options.data, manifest, spec.kind, plan.targets, cluster=cluster, splits=plan.splits)
        normalization = choose_normalization(options.run, inputs)
        with device.scope():
            loudness = plan.model_options.loudness
            model = add_normalization(network, spec.kind, manifest.config, normalization, loudness=loudness)
        counts = count_by_genre(inputs)
        where = device.name if device.replicas == 1 else f"{device.replicas} {device.name} replicas"
        where += f" of {cluster.processes} processes" if cluster.processes > 1 else ""
        console.log(
            f"{spec.name}, {network.count_params():,} parameters, on {where}: {inputs.count('training'):,} training "
            f"records of {(counts > 0).sum()} genres"
        )
        stored = load_records(inputs, "training", device) if options.cache == "device" else None
        chooses = cluster.broadcast_json(lambda: state.best is not None or can_choose_epoch(plan))
        if not chooses:
            why = "validation has too few tracks" if inputs.count("validation") else "there is no validation split"
            console.log(f"{why}: no early stopping, and the last epoch's model is kept")
        job = Job(plan, device, model, inputs, counts, stored, chooses)
        return finish(job, train(job, state))


def end_with_genres(network: keras.Model, config: RunConfig, targets: Targets) -> keras.Model:
    """Return a network that starts at the shares of the training tracks and keeps the tree; see `GenreOutput`."""
    assert config.parents is not None
    places = {name: place for place, name in enumerate(config.labels)}
    parents = [places.get(config.parents[name], -1) for name in config.labels]
    return add_genre_output(network, parents, targets.share("training"), int((targets.splits == "training").sum()))


def count_by_genre(inputs: Inputs) -> np.ndarray:
    """Count training records by label, or with many genres for each track the tracks of each: int64 [classes]."""
    if inputs.splits:
        return inputs.splits["training"].by_label(inputs.classes)
    if inputs.targets is None:
        return count_by_label(inputs.dataset, inputs.manifest, inputs.kind)
    return inputs.targets.truth[inputs.targets.splits == "training"].sum(axis=0)


def _open(plan: Plan, device: Device) -> RunState:
    """Open or create the run, whose lock is held, and return its state."""
    run = plan.options.run
    state = open_run(run, plan.config)  # again: another process may have ended before we got the lock
    if state is None:
        return create_run(run, replace(plan.config, made_with=plan.config.made_with | device.facts))
    check_device(run, device)
    console.log(describe_start(run, state))
    return state


def check_device(run: str, device: Device) -> None:
    """Refuse to carry on with a run where it would not be the same run.

    Raises:
      UsageError: the device has another backend, number of replicas or precision.
    """
    before = load_config(run).made_with
    advice = "Carry on where it began, or train in another --run"
    backend = before.get("backend", "tensorflow")
    if backend != device.backend:
        raise UsageError(f"{run} was trained with --backend {backend}: its random numbers would be others. {advice}")
    if before.get("replicas") != device.replicas:
        raise UsageError(
            f"{run} was trained on {before.get('replicas')} replicas, and here are {device.replicas}: its batches "
            f"would be others. {advice}"
        )
    if before.get("precision") != device.precision:
        raise UsageError(
            f"{run} was trained in {before.get('precision')} on {before.get('device')}, and the {device.name} here "
            f"computes in {device.precision}: its optimizer would be another. {advice}"
        )


def train(job: Job, state: RunState) -> RunState:
    """Train to the end of the last phase; return the state there."""
    if job.device.cluster.leads:
        checkpoint.promote_best(job.run, state)
        if job.plan.targets and not storage.exists(storage.join(job.run, GENRES)):
            # Thresholds come with the best model, but whoever evaluates the run before needs the rest.
            write_genre_facts(job.run, GenreFacts(job.plan.targets.share("training"), {}))
        write_history(job.run, state.history, AVERAGE_PRECISION if job.plan.targets else ACCURACY)
    while not state.phase_done or state.phase + 1 < len(job.plan.phases):
        if state.phase_done:
            state = next_phase(state)
        state = train_phase(job, state)
        phase = job.plan.phases[state.phase]
        if state.phase_epoch < phase.epochs:
            console.log(
                f"stopped after {state.phase_epoch} of {phase.epochs} epochs: "
                f"no lower validation loss in {phase.patience}"
            )
    return state


def train_phase(job: Job, state: RunState) -> RunState:
    """Train one phase from its start or from its last committed epoch to its end; return the state there."""
    phase = job.plan.phases[state.phase]
    with job.device.scope():
        if phase.prepare:
            phase.prepare(network_of(job.model))
    if state.epoch and not state.phase_epoch:
        checkpoint.load_best(job.run, job.model, job.device)
    network = network_of(job.model)
    epochs = range(state.epoch, state.epoch - state.phase_epoch + phase.epochs)
    seeds = {epoch: epoch_seed(job.plan.options.seed, epoch) for epoch in epochs}
    examples = make_examples(job, state, phase, list(seeds.values()))
    is_whole = phase.train == "model"
    targets = job.plan.targets
    with job.device.scope():
        part = compile_part(
            network if is_whole else head_of(network),
            phase,
            ManyGenres.of(targets, phase) if targets else OneLabel.of(examples.counts, phase),
            examples.steps,
            jit=job.plan.options.jit,
            normalize=normalization_of(job.model) if is_whole else None,
            stored=job.stored if is_whole else None,
            sample_rate=job.plan.manifest.config.sample_rate,
        )
    if state.phase_epoch:
        checkpoint.restore(job.run, state, job.model, part.optimizer, job.device)
    return _fit(job, state, part, examples, seeds)


def make_examples(job: Job, state: RunState, phase: Phase, seeds: list[int]) -> Examples:
    """Return a phase's examples, with a seed for each of its epochs.

    For a phase that trains the head, also set the head's scale from the features.
    """
    device = job.device
    batch_size = phase.batch_size * device.replicas
    if phase.train == "model":
        return record_examples(
            job.inputs,
            phase,
            batch_size,
            job.counts,
            seeds=seeds,
            reproducible=device.reproducible,
            cache=job.plan.options.cache,
            replicas=device.replicas,
        )
    with device.scope():
        front = device.inference(front_on_records(job.model))
    training, validation = (
        embed_split(job.run, phase.name, front, job.inputs, split, batch_size=batch_size)
        for split in ("training", "validation")
    )
    assert training is not None  # a dataset without training records was refused
    if not state.phase_epoch:
        standardise(head_of(network_of(job.model)), training.features)
    by_track = job.plan.spec.pool == "track"
    return feature_examples(
        training,
        validation,
        phase,
        batch_size=batch_size,
        by_track=by_track,
        seeds=seeds,
        replicas=device.replicas,
        share=device.cluster.share,
    )


def epoch_seed(seed: int, epoch: int) -> int:
    """Return the seed, below 2**31, of what is random in the epoch that follows so many finished ones."""
    return int(np.random.SeedSequence((seed, epoch)).generate_state(1)[0] >> 1)


def _fit(job: Job, state: RunState, part: keras.Model, examples: Examples, seeds: dict[int, int]) -> RunState:
    phases, name = job.plan.phases, job.plan.spec.name
    phase = phases[state.phase]
    first, last = min(seeds), max(seeds) + 1
    total = last + sum(later.epochs for later in phases[state.phase + 1 :])
    label = name if len(phases) == 1 else f"{name}, {phase.name}"
    inputs = job.inputs
    splits = () if phase.train == "head" else ("training", "validation")  # a head is trained on features
    shards = list({shard.path: shard for split in splits for shard in inputs.shards(split)}.values())
    with (
        console.progress(f"train {label}", len(seeds) * examples.steps, "steps") as progress,
        check_shards(inputs.dataset, shards, inputs.checked) as check,
    ):
        cluster = job.device.cluster
        checkpointer = Checkpointer(
            job.run, state, job.model, phase, job.chooses, check_data=check.wait, cluster=cluster
        )
        callbacks: list[keras.callbacks.Callback] = [
            EpochSeed(seeds),
            NonFiniteLossGuard(job.run, state, queue_steps=job.device.name != "cpu"),
            checkpointer,
        ]
        if cluster.leads:
            callbacks.append(EpochTensorBoard(storage.join(job.run, LOGS), examples.validation is not None))
            callbacks.append(ProgressLogger(progress, total, lines=not sys.stderr.isatty()))
        part.fit(
            examples.training,
            validation_data=examples.validation,
            initial_epoch=first,
            epochs=last,
            steps_per_epoch=examples.steps,
            callbacks=callbacks,
            shuffle=False,  # the examples are shuffled already
            verbose=0,
        )
    return checkpointer.state


def finish(job: Job, state: RunState) -> RunState:
    """Evaluate the model that is kept on the held-out splits; mark the run as finished, and return that state."""
    leads = job.device.cluster.leads
    if state.finished:
        if leads:
            remove_leftovers(job.run)  # it may have been killed just before it did so
        return state
    checkpoint.load_best(job.run, job.model, job.device)
    plan, inputs = job.plan, job.inputs
    batch_size = max(phase.batch_size for phase in plan.phases)
    predictor = Predictor(plan.spec, job.model, job.device)
    evaluate = _evaluate_genres if plan.targets else _evaluate_labels
    splits = [split for split in HELD_OUT if inputs.count(split)]
    metrics = evaluate(job, predictor, splits, batch_size, Doubt(job, predictor, state, batch_size))
    early = state.phase_epoch < plan.phases[state.phase].epochs
    done = replace(state, finished="validation no longer improved" if early else "all epochs done")
    if leads:
        write_metrics(job.run, metrics)
        if not plan.splits:  # the model of a fold is not for new music
            if job.device.backend == "tensorflow":
                write_lite(job.run, plan.config, state)
            else:
                write_lite_in_child(job.run)
        save_state(job.run, done)
        remove_leftovers(job.run)
    return done


class Doubt:
    """The novelty of a run that is about to be finished: fitted where it is called with the validation tracks."""

    def __init__(self, job: Job, predictor: Predictor, state: RunState, batch_size: int):
        self._job, self._predictor, self._state, self._batch_size = job, predictor, state, batch_size
        self._found: Novelty | None = None

    def fit(self, validation: Embeddings) -> Novelty | None:
        """Fit it to the training tracks, with the limit of these others, and store it; None where they are too few."""
        if len(validation.label) >= LEAST_TRACKS:
            self._found = fit_on_split(self._training().features, validation.features)
        if self._found and self._job.device.cluster.leads:
            write_novelty(self._job.run, self._predictor.name, self._found)
        return self._found

    def of(self, split: str) -> NoveltyOf:
        """Return what the novelty of a split's tracks is measured by; the validation split comes first."""
        return self.fit if split == "validation" else lambda _: self._found

    def _training(self) -> Embeddings:
        """Return what the training tracks are compared by; a phase that trains the head has stored the features."""
        job, phase = self._job, self._job.plan.phases[self._state.phase]
        if phase.train == "model":
            return self._predictor.predict(job.inputs, "training", self._batch_size).features
        with job.device.scope():
            front = job.device.inference(front_on_records(job.model))
        found = embed_split(job.run, phase.name, front, job.inputs, "training", batch_size=self._batch_size)
        assert found is not None
        return self._predictor.compared(found.by_track())


def _evaluate_labels(
    job: Job, predictor: Predictor, splits: list[str], batch_size: int, doubt: Doubt
) -> dict[str, Any]:
    """Store predictions of one label for each track; return the metrics by split."""
    metrics = {}
    for split in splits:
        labels = job.inputs.manifest.labels
        metrics[split], predictions = evaluate_split(
            predictor, job.inputs, split, labels, batch_size, novelty_of=doubt.of(split)
        )
        if job.device.cluster.leads:
            write_predictions(job.run, split, predictions)
    return metrics


def _evaluate_genres(
    job: Job, predictor: Predictor, splits: list[str], batch_size: int, doubt: Doubt
) -> dict[str, Any]:
    """Store thresholds and predictions of many genres for each track; return the metrics by split."""
    targets, name, config = job.plan.targets, job.plan.spec.name, job.plan.config
    assert targets is not None
    found = {
        split: predict_genres(predictor, job.inputs, split, batch_size, novelty_of=doubt.of(split)) for split in splits
    }
    if not job.device.cluster.leads:
        return {}
    facts, metrics = choose_facts(name, targets.share("training"), found.get("validation")), {}
    tracks = list(read_tracks(job.inputs.dataset, job.inputs.manifest))
    for split, genres in found.items():
        unknown = count_unknown(tracks, config.labels, split)
        metrics[split], predictions = score_genres(name, genres, config, facts, unknown)
        write_genre_predictions(job.run, split, predictions)
    write_genre_facts(job.run, facts)
    return metrics
