"""`fma evaluate`: how good a run's model is on a split of a dataset, its own or another one."""

import argparse
import json
from dataclasses import replace
from typing import Any

from trainers.models import find
from trainers.runs.directory import (
    METRICS,
    MODEL,
    RunConfig,
    load_config,
    read_metrics,
    write_evaluation,
    write_metrics,
)
from trainers.runs.predictions import RunPredictions, write_predictions
from trainers.runs.state import load_state
from trainers.training.devices import import_tensorflow
from transforms import storage
from transforms.commands.arguments import number
from transforms.config import DatasetConfig, differences
from transforms.dataset.manifest import Manifest, load
from transforms.errors import UsageError
from transforms.runtime import console
from transforms.tracks import SPLITS

IRRELEVANT = {
    "mel": ("features", "window_hop_frames"),
    "raw": ("features", "window_hop_frames", "n_fft", "n_mels", "db_min", "db_step"),
}
"""Dataset settings that a kind's records do not depend on (how far windows lie apart does not change them)."""


BASELINES = "baselines"
"""What config.json of a `fma baselines` run has for a model."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    parser.description = (
        "Evaluates a run's best model, by window and by track. DATASET may be another one than it was trained on: "
        "genres are matched by name, tracks of genres that the model does not know are left out and counted."
    )
    parser.epilog = "example: fma evaluate runs/mel_cnn --data data/small --split test"
    parser.add_argument("run", metavar="RUN")
    parser.add_argument("--data", required=True, metavar="DATASET")
    parser.add_argument("--split", default="test", choices=SPLITS, help="default test")
    parser.add_argument("--batch-size", type=number(int, 1), default=32, metavar="N", help="of a replica; default 32")
    parser.add_argument("--device", default="auto", choices=("auto", "tpu", "gpu", "cpu"))
    parser.add_argument("--json", action="store_true", help="print the metrics as one JSON value")


def run(args: argparse.Namespace) -> int:
    """Runs the command; see `fma evaluate --help`."""
    config = load_config(args.run)
    if config.model == BASELINES:
        return _run_baselines(args)
    manifest = load(args.data)
    check(args, config, manifest)
    metrics, predictions = _evaluate(args, config, manifest)
    if manifest.digest == config.dataset["digest"]:
        write_predictions(args.run, args.split, predictions)
        write_metrics(args.run, read_metrics(args.run) | {args.split: metrics})
        path = storage.join(args.run, METRICS)
    else:
        path = write_evaluation(args.run, manifest.digest, args.split, metrics | {"dataset": manifest.digest})
    if args.json:
        console.say(json.dumps(metrics))
    else:
        print_metrics({args.split: metrics})
        print_genres(metrics)
    console.log(f"written to {path}")
    return 0


def _run_baselines(args: argparse.Namespace) -> int:
    """The models of a baselines run; its own metrics.json stays as it is."""
    from trainers.classical.baselines import evaluate_baselines

    metrics, predictions = evaluate_baselines(args.run, args.data, args.split)
    digest = load(args.data).digest
    if digest == load_config(args.run).dataset["digest"]:
        write_predictions(args.run, args.split, predictions)
    path = write_evaluation(args.run, digest, args.split, metrics)
    if args.json:
        console.say(json.dumps(metrics))
    else:
        rows = []
        for name, found in metrics["models"].items():
            track = found["per_track"]
            low, high = track["interval"]
            rows.append((name, track["tracks"], track["accuracy"], f"{low:.2f} to {high:.2f}", track["macro_f1"]))
        console.table(f"{args.split} split", ("model", "tracks", "by track", "95% interval", "macro F1"), rows)
    console.log(f"written to {path}")
    return 0


def check(args: argparse.Namespace, config: RunConfig, manifest: Manifest) -> None:
    """Refuses what cannot be evaluated, before TensorFlow is imported.

    Raises:
      UsageError: the run has no model yet, the records differ from those of the training, no genre is known to the
        model, or the split has no records.
    """
    from trainers.data.pipeline import find_shards

    if not storage.exists(storage.join(args.run, MODEL)):
        raise UsageError(f"{args.run} has no model yet: none of its epochs is finished; run fma train again")
    kind = find(config.model).kind
    find_shards(args.data, manifest, kind, args.split)
    different = record_differences(DatasetConfig.from_json(config.dataset["config"]), manifest.config, kind)
    if different:
        raise UsageError(
            f"{args.data} has other {kind} records than {args.run} was trained on: {'; '.join(different)}. "
            "Ingest it with the same settings"
        )
    if not set(manifest.labels) & set(config.labels):
        raise UsageError(
            f"{args.data} and {args.run} have no genre in common: the dataset has {', '.join(manifest.labels)}; "
            f"the model knows {', '.join(config.labels)}"
        )
    if not load_state(args.run).finished:
        console.log(f"note: {args.run} is not finished; this is its best model so far")


def record_differences(have: DatasetConfig, want: DatasetConfig, kind: str) -> list[str]:
    """The settings by which the records of a kind differ, each with both values."""
    same = {name: getattr(have, name) for name in IRRELEVANT[kind]}
    want = replace(want, **same)
    if kind == "raw" and have.window_samples == want.window_samples:
        want = replace(want, window_frames=have.window_frames, hop_length=have.hop_length)
    return [line.replace(", not ", " in the run, and ") + " in the dataset" for line in differences(have, want)]


def _evaluate(args: argparse.Namespace, config: RunConfig, manifest: Manifest) -> tuple[dict[str, Any], RunPredictions]:
    import_tensorflow()
    from trainers.data.pipeline import open_inputs
    from trainers.evaluation.predict import Predictor, evaluate_split
    from trainers.training.checkpoint import load_model
    from trainers.training.devices import open_device

    spec = find(config.model)
    strategy = open_device(args.device).strategy
    with strategy.scope():
        model = load_model(args.run)
    predictor = Predictor(spec, model, strategy)
    inputs = open_inputs(args.data, manifest, spec.kind, args.run)
    return evaluate_split(predictor, inputs, args.split, config.labels, args.batch_size)


def print_metrics(by_split: dict[str, dict[str, Any]]) -> None:
    """A line for each split."""
    columns = ("split", "tracks", "by track", "95% interval", "macro F1", "calibration error", "by window")
    rows = []
    for split, metrics in by_split.items():
        track, window = metrics["per_track"], metrics["per_window"]
        interval = "{:.2f} to {:.2f}".format(*track["interval"])
        scores = (track["macro_f1"], track["calibration_error"], window["accuracy"])
        rows.append((split, track["tracks"], track["accuracy"], interval, *scores))
    console.table("accuracy", columns, rows)
    for split, metrics in by_split.items():
        if metrics["left_out"]:
            counts = ", ".join(f"{count:,} {genre}" for genre, count in metrics["left_out"].items())
            console.say(f"left out of {split}, since the model does not know the genre: {counts}")


def print_genres(metrics: dict[str, Any]) -> None:
    """A line for each genre, by track."""
    genres = metrics["per_track"]["genres"]
    console.say()
    console.table(
        "by track",
        ("genre", "tracks", "precision", "recall", "F1"),
        [(name, row["support"], row["precision"], row["recall"], row["f1"]) for name, row in genres.items()],
    )
