"""`fma train`: a model on a dataset, into a run directory; the same command carries on with an interrupted run."""

import argparse
from collections.abc import Sequence
from dataclasses import asdict, fields, replace

from trainers.commands.arguments import add_backend, add_device, add_folds, add_labels
from trainers.commands.baselines import print_models
from trainers.commands.evaluate import print_metrics
from trainers.models import MODELS, find_model
from trainers.models.spec import CLASS_WEIGHTS
from trainers.runs.directory import (
    METRICS,
    create_run,
    has_leftovers,
    is_run,
    locked,
    open_run,
    read_metrics,
    remove_leftovers,
    write_metrics,
)
from trainers.runs.normalization import find_normalization, has_normalization, make_statistics
from trainers.runs.predictions import predictions_path, write_predictions
from trainers.runs.state import MODEL, RunState
from trainers.training.cluster import Cluster, join
from trainers.training.devices import import_tensorflow
from trainers.training.folds import collect_folds, describe_fold, plan_folds
from trainers.training.membership import find_membership
from trainers.training.plan import BEGUN_WITH, CACHES, HELD_OUT, Plan, TrainOptions, check_dataset, make_plan
from transforms import storage
from transforms.audio.features import KINDS
from transforms.catalog.genres import SCORE_ALL, report_small_genres
from transforms.commands.arguments import number, numbers
from transforms.dataset.ledger import read_tracks
from transforms.dataset.manifest import checksum, load
from transforms.errors import FmaError, UsageError
from transforms.runtime import console
from transforms.runtime.heap import keep_large_blocks
from transforms.runtime.invocation import called_as, command_line
from transforms.runtime.os_errors import annotate_os_errors
from transforms.runtime.stderr import capture_native_stderr


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments; each is a field of `TrainOptions`."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.description = (
        "Trains a model on a dataset and evaluates it. The same command again carries on with an interrupted run,\n"
        "from its last finished epoch; with more --epochs also with a finished one. Settings that are not given are\n"
        "the model's own.\n\nmodels:\n" + "\n".join(f"  {name:16} {spec.summary}" for name, spec in MODELS.items())
    )
    parser.epilog = f"example: {called_as()} train mel_cnn --data data/small --run runs/mel_cnn"
    parser.add_argument("model", metavar="MODEL", type=lambda name: find_model(name).name)
    parser.add_argument("--data", required=True, metavar="DATASET")
    parser.add_argument("--run", required=True, metavar="RUN", help="folder for the model, its history and its metrics")
    parser.add_argument("--seed", type=number(int, 0), default=0, metavar="N", help="default 0")
    add_folds(parser)
    add_labels(parser)
    add_device(parser)
    add_backend(parser)
    parser.add_argument(
        "--cache",
        default="auto",
        choices=CACHES,
        help="keep the records of a split in memory (on), or those of training on the device; default: what fits",
    )
    parser.add_argument(
        "--coordinator",
        metavar="HOST:PORT",
        help="for several hosts with JAX: where process 0 is; a TPU slice needs none",
    )
    parser.add_argument("--processes", type=number(int, 1), metavar="N", help="how many hosts run this command")
    parser.add_argument("--process", type=number(int, 0), metavar="I", help="which of them this is, counted from 0")
    parser.add_argument("--jit", default="auto", choices=("auto", "on", "off"), help="XLA for the training step")
    _add_settings(parser)


def _add_settings(parser: argparse.ArgumentParser) -> None:
    each = "one number for every phase, or one for each: 20,10"
    parser.add_argument("--epochs", type=numbers(int, 0), metavar="N[,N]", help=f"at most; {each}; 0 skips a phase")
    parser.add_argument("--learning-rate", type=numbers(float, 0, above=True), metavar="X[,X]", help=f"peak; {each}")
    parser.add_argument("--batch-size", type=number(int, 1), metavar="N", help="records for each replica")
    parser.add_argument("--label-smoothing", type=number(float, 0, below=1), metavar="X", help="0 switches it off")
    parser.add_argument(
        "--class-weights", choices=CLASS_WEIGHTS, help="weighting of rare genres in the training loss; default balanced"
    )
    parser.add_argument(
        "--patience", type=number(int, 1), metavar="N", help="epochs without a lower validation loss that end a phase"
    )
    parser.add_argument("--weight-decay", type=number(float, 0), metavar="X", help="of AdamW")
    switch = argparse.BooleanOptionalAction
    parser.add_argument("--no-augment", action="store_true", help="switch off all augmentation")
    parser.add_argument("--spec-augment", action=switch, help="mask bands and frames of mel images")
    parser.add_argument("--mixup", action=switch, help="mix pairs of records and their labels")
    parser.add_argument("--gain", action=switch, help="make records louder or softer")
    parser.add_argument(
        "--degrade", action=switch, help="limit the bandwidth of records, cut what is quiet as codecs do, and add noise"
    )
    parser.add_argument(
        "--weights",
        default="",
        metavar="WHICH",
        help="imagenet (mobilenet_v2), audioset (yamnet), a file, or none for random ones",
    )
    parser.add_argument("--dropout", type=number(float, 0, below=1), metavar="X", help="before the last layer")
    parser.add_argument("--width", type=number(float, 0, above=True), metavar="X", help="multiplies the channels")
    parser.add_argument(
        "--loudness", action=switch, help="bring all windows to the same loudness (default), or leave them as they are"
    )
    parser.add_argument("--image-size", type=number(int, 32), metavar="N", help="pixels that mobilenet_v2 sees")


def read_options(args: argparse.Namespace) -> TrainOptions:
    """Return the arguments as typed options."""
    return TrainOptions(**{field.name: getattr(args, field.name) for field in fields(TrainOptions)})


def run(args: argparse.Namespace) -> int:
    """Run the command; see `fma train --help`."""
    options = read_options(args)
    if options.folds:
        return _cross_validate(options)
    with join(find_membership(options)) as cluster:
        if cluster.leads:
            return _train(options, cluster)
        console.be_quiet()
        with capture_native_stderr():  # where process 0 is lost, JAX writes a stack trace
            return _train(options, cluster)


def _train(options: TrainOptions, cluster: Cluster) -> int:
    # Process 0 makes the statistics that the others then find in the dataset.
    code, begun = cluster.broadcast_json(lambda: _prepare(options))
    if code or begun is None:
        return code
    plan = make_plan(replace(options, **begun))
    _check_same(plan, cluster)
    _import_libraries(plan)
    from trainers.training.loop import train_run

    state = train_run(plan, cluster)
    if cluster.leads:
        _print_result(plan, state)
    return 0


def _import_libraries(plan: Plan) -> None:
    largest = max(phase.batch_size for phase in plan.phases)
    keep_large_blocks(largest * KINDS[plan.spec.kind].payload_bytes(plan.manifest.config))
    import_tensorflow(plan.options.backend)


def _cross_validate(options: TrainOptions) -> int:
    """Train a run for each fold that has none yet, and score all of them together."""
    if options.labels == "all":
        raise UsageError("--folds is for --labels top")
    if find_membership(options):
        raise UsageError("--folds trains on one host: leave --coordinator, --processes and --process out")
    plan = make_plan(options)
    # Each fold's run holds the phases, and may get more epochs.
    run, config = options.run, replace(plan.config, phases=[])
    open_run(run, config)
    check_dataset(plan)
    folds = plan_folds(plan)
    waiting = [fold for fold in folds if not _is_finished(fold)]
    if waiting:
        with locked(run), annotate_os_errors(run):
            if not is_run(run):
                create_run(run, config)
            _train_folds(plan, waiting)
    else:
        console.say(f"{run} is finished already")
    predictions, metrics = collect_folds(folds)
    if metrics != read_metrics(run) or not storage.exists(predictions_path(run, "test")):
        with annotate_os_errors(run):
            write_predictions(run, "test", predictions)
            write_metrics(run, metrics)
    print_models(metrics["models"])
    return 0


def _is_finished(plan: Plan) -> bool:
    run = plan.options.run
    state = open_run(run, plan.config)
    if not state or not state.finished:
        return False
    if has_leftovers(run):
        with locked(run):
            remove_leftovers(run)
    return True


def _train_folds(plan: Plan, waiting: Sequence[Plan]) -> None:
    _import_libraries(plan)
    import keras

    from trainers.training.loop import train_run

    for fold in waiting:
        console.log(describe_fold(fold))
        train_run(fold)
        keras.utils.clear_session()  # the next one begins as in a process of its own


def _prepare(options: TrainOptions) -> tuple[int, dict[str, bool | None] | None]:
    """Check what can be checked before TensorFlow is imported; return an exit code, and what to train with.

    That is what the run began with (`keep_to_begun`), for processes that cannot read it; None for nothing to do.
    """
    plan = make_plan(options)
    state = open_run(options.run, plan.config)
    if state and _is_finished(plan):
        console.say(f"{options.run} is finished already")
        _print_result(plan, state)
        return 0, None
    check_dataset(plan)
    if plan.spec.kind == "mel" and not has_normalization(options.run):
        if code := make_statistics(options.data, plan.manifest, "mel"):
            return code, None
        find_normalization(options.data, load(options.data), "mel")
    if options.labels == "top":
        report_small_genres(read_tracks(options.data, plan.manifest), SCORE_ALL)
    return 0, {name: getattr(plan.options, name) for name in BEGUN_WITH}


def _check_same(plan: Plan, cluster: Cluster) -> None:
    """Refuse to train where the processes of a cluster would not train the same run.

    Raises:
      FmaError: one of them has other settings than process 0, or another dataset.
    """
    config = asdict(plan.config) | {"made_with": "", "dataset": plan.config.dataset["digest"]}
    first, *others = cluster.gather(checksum(config).encode())
    different = [str(process) for process, other in enumerate(others, 1) if other != first]
    if different:
        raise FmaError(
            f"process {', '.join(different)} has other settings than process 0, or another dataset: give the same "
            "options on every host, but for --process"
        )


def _print_result(plan: Plan, state: RunState) -> None:
    run, data = plan.options.run, plan.options.data
    metrics = read_metrics(run)
    evaluated = [split for split in HELD_OUT if plan.manifest.shards(plan.spec.kind, split, plan.options.labels)]
    if metrics:
        print_metrics(metrics)
    elif evaluated:
        command = command_line("evaluate", run, "--data", data, "--split", evaluated[-1])
        raise FmaError(f"{storage.join(run, METRICS)} is missing: run {command}")
    else:
        console.say("not evaluated: the dataset has neither a validation nor a test split")
    console.say(f"model: {storage.join(run, MODEL)}, from epoch {state.best_epoch} of {state.epoch} ({state.finished})")
