"""`fma train`: a model on a dataset, into a run directory; the same command carries on with a run that was killed."""

import argparse
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING

from trainers.models import MODELS, find
from trainers.models.spec import ModelInput, ModelOptions, ModelSpec, Phase
from trainers.runs.directory import (
    MODEL,
    RunConfig,
    create_run,
    has_leftovers,
    load_config,
    locked,
    open_run,
    read_metrics,
    remove_leftovers,
    versions,
)
from trainers.runs.state import RunState
from trainers.training.devices import import_tensorflow
from trainers.training.settings import add_settings, choose_options, choose_phases, describe_phase
from transforms import storage
from transforms.commands.arguments import number
from transforms.dataset.manifest import Manifest, load
from transforms.errors import UsageError
from transforms.runtime import console

if TYPE_CHECKING:
    import keras

    from trainers.training.devices import Device
    from trainers.training.loop import Job


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.description = (
        "Trains a model on a dataset and evaluates it. The same command again carries on with a run that was broken\n"
        "off, from its last finished epoch. Settings that are not given are the model's own.\n\nmodels:\n"
        + "\n".join(f"  {name:16} {spec.summary}" for name, spec in MODELS.items())
    )
    parser.epilog = "example: fma train mel_cnn --data data/small --run runs/mel_cnn"
    parser.add_argument("model", metavar="MODEL", type=lambda name: find(name).name)
    parser.add_argument("--data", required=True, metavar="DATASET")
    parser.add_argument("--run", required=True, metavar="RUN", help="folder for the model, its history and its metrics")
    parser.add_argument("--seed", type=number(int, 0), default=0, metavar="N", help="default 0")
    parser.add_argument("--device", default="auto", choices=("auto", "tpu", "gpu", "cpu"))
    parser.add_argument("--jit", default="auto", choices=("auto", "on", "off"), help="XLA for the training step")
    add_settings(parser)


@dataclass(frozen=True)
class Plan:
    """What the command line and the dataset come to.

    Attributes:
      args: the command's.
      spec: the model's row.
      phases: with the user's settings.
      options: of the model.
      manifest: the dataset's.
      config: what config.json will say, without the device.
    """

    args: argparse.Namespace
    spec: ModelSpec
    phases: tuple[Phase, ...]
    options: ModelOptions
    manifest: Manifest
    config: RunConfig


def run(args: argparse.Namespace) -> int:
    """Runs the command; see `fma train --help`."""
    plan = make_plan(args)
    state = open_run(args.run, plan.config)
    if state and state.finished:
        console.say(f"{args.run} is finished already")
        if has_leftovers(args.run):
            with locked(args.run):
                remove_leftovers(args.run)
    else:
        check_dataset(args.data, plan.manifest, plan.spec, new=state is None)
        state = _train(plan)
    report(args.run, state)
    return 0


def make_plan(args: argparse.Namespace) -> Plan:
    """Puts the model's own settings, the user's and the dataset's together.

    Raises:
      UsageError: the model is unknown, a setting does not fit it, or there is no dataset.
    """
    spec = find(args.model)
    phases, options = choose_phases(spec, args), choose_options(spec, args)
    manifest = load(args.data)
    config = RunConfig(
        model=spec.name,
        options={name: value for name, value in asdict(options).items() if name != "seed"},
        seed=args.seed,
        dataset={"path": args.data, "digest": manifest.digest, "config": manifest.config.to_json()},
        labels=list(manifest.labels),
        phases=[describe_phase(phase) for phase in phases],
        made_with=versions(),
    )
    return Plan(args, spec, phases, options, manifest, config)


def check_dataset(dataset: str, manifest: Manifest, spec: ModelSpec, *, new: bool) -> None:
    """Refuses what cannot be trained on, before TensorFlow is imported.

    Raises:
      UsageError: the records are of another kind, there is no training split, one genre only, or no statistics.
      FmaError: a shard is missing.
    """
    from trainers.data.pipeline import find_shards
    from trainers.runs.normalization import find_transform

    find_shards(dataset, manifest, spec.kind, "training")
    if len(manifest.labels) < 2:
        raise UsageError(f"{dataset} has one genre only ({manifest.labels[0]}): there is nothing to tell apart")
    if new and spec.kind == "mel":
        find_transform(dataset, manifest, spec.kind)
    if not manifest.shards(spec.kind, "validation"):
        console.log("there is no validation split: no early stopping, and the last epoch's model is kept")


def _train(plan: Plan) -> RunState:
    import_tensorflow()
    from trainers.training.devices import open_device
    from trainers.training.loop import finish, train

    args = plan.args
    device = open_device(args.device)
    model = build(plan, device)
    with locked(args.run), console.annotate_os_errors(args.run):
        state = open_run(args.run, plan.config)  # again: another one may have ended before this one got the lock
        if state is None:
            state = _begin(plan, device)
        else:
            check_device(args.run, device)
            console.log(f"carrying on after epoch {state.epoch}")
        job = _make_job(plan, device, model)
        console.log(describe(job))
        return finish(job, train(job, state))


def build(plan: Plan, device: "Device") -> "keras.Model":
    """The model on its device, with weights that the seed decides."""
    import keras

    keras.utils.set_random_seed(plan.args.seed)
    manifest = plan.manifest
    with device.strategy.scope():
        return plan.spec.build(ModelInput.of(plan.spec.kind, manifest.config), len(manifest.labels), plan.options)


def _begin(plan: Plan, device: "Device") -> RunState:
    from trainers.runs.normalization import copy_transform

    if plan.spec.kind == "mel":
        copy_transform(plan.args.data, plan.manifest, plan.spec.kind, plan.args.run)
    return create_run(plan.args.run, replace(plan.config, made_with=plan.config.made_with | device.facts))


def check_device(run: str, device: "Device") -> None:
    """Refuses to carry on with a run where it would not be the same run.

    Raises:
      UsageError: the device has another number of replicas or another precision.
    """
    before = load_config(run).made_with
    advice = "Carry on where it began, or train in another --run"
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


def _make_job(plan: Plan, device: "Device", model: "keras.Model") -> "Job":
    from trainers.data.pipeline import open_inputs
    from trainers.training.loop import Job
    from trainers.training.objective import count_by_label

    dataset, kind = plan.args.data, plan.spec.kind
    return Job(
        run=plan.args.run,
        spec=plan.spec,
        phases=plan.phases,
        model=model,
        inputs=open_inputs(dataset, plan.manifest, kind, plan.args.run),
        counts=count_by_label(dataset, plan.manifest, kind),
        seed=plan.args.seed,
        device=device,
        jit=plan.args.jit,
    )


def describe(job: "Job") -> str:
    """One line about what is trained on what."""
    counts, device = job.counts, job.device
    where = device.name if device.replicas == 1 else f"{device.replicas} {device.name} replicas"
    return (
        f"{job.spec.name}, {job.model.count_params():,} parameters, on {where}: {counts.sum():,} training records of "
        f"{(counts > 0).sum()} genres"
    )


def report(run: str, state: RunState) -> None:
    """Prints what a finished run came to."""
    from trainers.commands.evaluate import print_metrics

    metrics = read_metrics(run)
    if metrics:
        print_metrics(metrics)
    else:
        console.say("not evaluated: the dataset has neither a validation nor a test split")
    console.say(f"model: {storage.join(run, MODEL)}, from epoch {state.best_epoch} of {state.epoch} ({state.finished})")
