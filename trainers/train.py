"""`fma train`: a model on a dataset, into a run directory. The same command again carries on with a run that was killed."""

import argparse
from dataclasses import asdict, replace
from typing import TYPE_CHECKING

from trainers.models import MODELS, find
from trainers.models.spec import ModelInput, ModelOptions, ModelSpec, Phase
from trainers.run_state import RunState
from trainers.runs import RunConfig, create_run, load_config, locked, open_run, versions
from trainers.settings import add_settings, choose_options, choose_phases, describe_phase, number
from transforms import console
from transforms.errors import UsageError
from transforms.manifest import Manifest, load

if TYPE_CHECKING:
    import keras

    from trainers.devices import Device
    from trainers.training import Job


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.description = (
        "Trains a model on a dataset and evaluates it. The same command again carries on with a run that was broken\n"
        "off, from its last finished epoch. Settings that are not given are the model's own.\n\nmodels:\n"
        + "\n".join(f"  {name:16} {spec.summary}" for name, spec in MODELS.items())
    )
    parser.epilog = "example: fma train mel_cnn --data data/small --run runs/mel_cnn"
    parser.add_argument("model", metavar="MODEL")
    parser.add_argument("--data", required=True, metavar="DATASET")
    parser.add_argument("--run", required=True, metavar="RUN", help="folder for the model, its history and its metrics")
    parser.add_argument("--seed", type=number(int, 0), default=0, metavar="N", help="default 0")
    parser.add_argument("--device", default="auto", choices=("auto", "tpu", "gpu", "cpu"))
    parser.add_argument("--jit", default="auto", choices=("auto", "on", "off"), help="XLA for the training step")
    add_settings(parser)


def run(args: argparse.Namespace) -> int:
    """Runs the command; see `fma train --help`."""
    spec = find(args.model)
    phases, options = choose_phases(spec, args), choose_options(spec, args)
    manifest = load(args.data)
    config = make_config(args, spec, phases, options, manifest)
    state = open_run(args.run, config)
    if state is None or not state.finished:
        check_dataset(args.data, manifest, spec, new=state is None)
        state = _run(args, spec, phases, options, manifest, config)
    else:
        console.say(f"{args.run} is finished already")
    report(args.run, state)
    return 0


def make_config(
    args: argparse.Namespace, spec: ModelSpec, phases: tuple[Phase, ...], options: ModelOptions, manifest: Manifest
) -> RunConfig:
    """What the run directory says about the run."""
    values = asdict(options)
    return RunConfig(
        model=spec.name,
        options={name: value for name, value in values.items() if name != "seed"},
        seed=args.seed,
        dataset={"path": args.data, "digest": manifest.digest, "config": manifest.config.to_json()},
        labels=list(manifest.labels),
        phases=[describe_phase(phase) for phase in phases],
        made_with=versions(),
    )


def check_dataset(dataset: str, manifest: Manifest, spec: ModelSpec, *, new: bool) -> None:
    """Refuses what cannot be trained on, before TensorFlow is imported.

    Raises:
      UsageError: the records are of another kind, there is no training split or one genre only, or no statistics.
      FmaError: a shard is missing.
    """
    from trainers.data.source import find_shards
    from trainers.transform import find_transform

    find_shards(dataset, manifest, spec.kind, "training")
    if len(manifest.labels) < 2:
        raise UsageError(f"{dataset} has one genre only ({manifest.labels[0]}): there is nothing to tell apart")
    if new and spec.kind == "mel":
        find_transform(dataset, manifest, spec.kind)
    if not manifest.shards(spec.kind, "validation"):
        console.log("there is no validation split: no early stopping, and the last epoch's model is kept")


def _run(
    args: argparse.Namespace,
    spec: ModelSpec,
    phases: tuple[Phase, ...],
    options: ModelOptions,
    manifest: Manifest,
    config: RunConfig,
) -> RunState:
    from trainers.devices import open_device
    from trainers.training import finish, train

    device = open_device(args.device)
    model = build(device, spec, options, manifest, args.seed)
    with locked(args.run), console.naming(args.run):
        state = open_run(args.run, config)
        if state is None:
            state = _begin(args, spec, device, manifest, config)
        else:
            _check_replicas(args.run, device)
            console.log(f"carrying on after epoch {state.epoch}")
        job = _make_job(args, spec, phases, device, model, manifest)
        return finish(job, train(job, state))


def build(
    device: "Device", spec: ModelSpec, options: ModelOptions, manifest: Manifest, seed: int
) -> "keras.Model":
    """The model on its device, with weights that the seed decides."""
    import keras

    keras.utils.set_random_seed(seed)
    with device.strategy.scope():
        return spec.build(ModelInput.of(spec.kind, manifest.config), len(manifest.labels), options)


def _begin(
    args: argparse.Namespace, spec: ModelSpec, device: "Device", manifest: Manifest, config: RunConfig
) -> RunState:
    from trainers.transform import copy_transform

    if spec.kind == "mel":
        copy_transform(args.data, manifest, spec.kind, args.run)
    return create_run(args.run, replace(config, made_with=config.made_with | device.facts))


def _check_replicas(run: str, device: "Device") -> None:
    before = load_config(run).made_with.get("replicas")
    if before != device.replicas:
        raise UsageError(
            f"{run} was trained on {before} replicas, and here are {device.replicas}: its batches would be others. "
            "Carry on where it began, or train in another --run"
        )


def _make_job(
    args: argparse.Namespace,
    spec: ModelSpec,
    phases: tuple[Phase, ...],
    device: "Device",
    model: "keras.Model",
    manifest: Manifest,
) -> "Job":
    from trainers.fit import count_by_label
    from trainers.inputs import open_inputs
    from trainers.training import Job

    return Job(
        run=args.run,
        spec=spec,
        phases=phases,
        model=model,
        inputs=open_inputs(args.data, manifest, spec.kind, args.run),
        counts=count_by_label(args.data, manifest, spec.kind),
        seed=args.seed,
        device=device,
        jit=args.jit,
    )
