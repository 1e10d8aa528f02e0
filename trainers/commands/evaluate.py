"""`fma evaluate`: how good a run's model is on a split of a dataset, its own or another one."""

import argparse
from typing import Any

from trainers.commands.arguments import add_backend, add_device, add_encoder
from trainers.evaluation.evaluate import evaluate_run
from trainers.evaluation.metrics import describe_interval
from trainers.runs.directory import load_config
from trainers.serving.robustness import Job, measure_robustness
from transforms.audio.alterations import ALTERATIONS
from transforms.commands.arguments import number
from transforms.errors import FmaError, UsageError
from transforms.runtime import console
from transforms.runtime.invocation import called_as
from transforms.runtime.os_errors import annotate_os_errors, os_message
from transforms.taxonomy import Taxonomy
from transforms.tracks import SPLITS


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.description = (
        "Evaluates a run's best model, by window and by track. DATASET may be another one than it was trained on: "
        "genres are matched by name, tracks of genres that the model does not know are left out and counted. With "
        "--robustness, the songs of the split are predicted from their audio, as they are and altered: quieter, "
        "through mp3 and Ogg, over the telephone, with noise."
    )
    parser.epilog = f"example: {called_as()} evaluate runs/mel_cnn --data data/small --split test"
    parser.add_argument("run", metavar="RUN")
    parser.add_argument("--data", required=True, metavar="DATASET")
    parser.add_argument("--split", default="test", choices=SPLITS, help="default test")
    parser.add_argument("--batch-size", type=number(int, 1), default=32, metavar="N", help="of a replica; default 32")
    add_device(parser)
    add_backend(parser)
    parser.add_argument("--json", action="store_true", help="print the metrics as one JSON value")
    robustness = parser.add_argument_group("robustness to foreign sound")
    robustness.add_argument(
        "--robustness", action="store_true", help="accuracy and changed answers for altered sound, instead of metrics"
    )
    robustness.add_argument("--audio", metavar="PATH", help="folder or zip; default: where it was ingested from")
    robustness.add_argument("--model", metavar="NAME", help="of a baselines run; default: the best one on validation")
    add_encoder(robustness)
    robustness.add_argument(
        "--jobs", type=number(int, 1, below=1000), metavar="N", help="songs at once; default: the cores"
    )


def run(args: argparse.Namespace) -> int:
    """Run the command; see `fma evaluate --help`."""
    if args.robustness:
        return _measure_robustness(args)
    given = [f"--{name}" for name in ("audio", "model", "encoder", "jobs") if getattr(args, name)]
    if given:
        raise UsageError(f"{given[0]} is for --robustness")
    found = evaluate_run(
        args.run, args.data, args.split, batch_size=args.batch_size, device=args.device, backend=args.backend
    )
    metrics = found.metrics
    if args.json:
        console.say_json(metrics)
    elif "models" in metrics:
        _print_baselines(args.split, metrics["models"])
    else:
        print_metrics({args.split: metrics})
        if "per_window" in metrics:
            _print_genres(metrics)
        else:
            _print_tree(metrics["per_track"], load_config(args.run).taxonomy)
    try:
        with annotate_os_errors(args.run):
            console.log(f"written to {found.store()}")
    except OSError as error:  # the numbers are out already
        raise FmaError(f"the metrics above are not stored in the run: {os_message(error)}") from error
    return 0


def _measure_robustness(args: argparse.Namespace) -> int:
    job = Job(
        args.run,
        args.data,
        args.split,
        audio=args.audio,
        model=args.model,
        device=args.device,
        encoders=args.encoder,
        songs_at_once=args.jobs,
    )
    found = measure_robustness(job)
    if args.json:
        console.say_json(found.to_json())
        return 0
    rows = [
        (
            ALTERATIONS[name].title,
            f"{scores['accuracy']:.3f}",
            describe_interval(scores["interval"]),
            f"{scores['changed']:.0%}",
        )
        for name, scores in found.scores.items()
    ]
    title = f"{found.model} on {console.counted(found.tracks, f'{args.split} song')}"
    console.table(title, ("sound", "accuracy", "95% interval", "answers changed"), rows)
    return 0


def _print_baselines(split: str, models: dict[str, dict[str, Any]]) -> None:
    if all("map_macro" in metrics["per_track"] for metrics in models.values()):
        _print_average_precision(f"average precision by track, {split} split", "model", models)
        return
    rows = []
    for name, metrics in models.items():
        track = metrics["per_track"]
        accuracy, interval = f"{track['accuracy']:.3f}", describe_interval(track["interval"])
        rows.append((name, track["tracks"], accuracy, interval, track["macro_f1"]))
    console.table(f"{split} split", ("model", "tracks", "by track", "95% interval", "macro F1"), rows)


def print_metrics(by_split: dict[str, dict[str, Any]]) -> None:
    """Print a line for each split."""
    if all("per_window" in metrics for metrics in by_split.values()):
        _print_accuracy(by_split)
    else:
        _print_average_precision("average precision by track", "split", by_split)
    for split, metrics in by_split.items():
        if metrics["left_out"]:
            counts = ", ".join(f"{count:,} {genre}" for genre, count in metrics["left_out"].items())
            console.say(f"left out of {split}, since the model does not know the genre: {counts}")


def _print_accuracy(by_split: dict[str, dict[str, Any]]) -> None:
    columns = ("split", "tracks", "by track", "95% interval", "macro F1", "calibration error", "by window")
    rows = []
    for split, metrics in by_split.items():
        track, window = metrics["per_track"], metrics["per_window"]
        accuracy, interval = f"{track['accuracy']:.3f}", describe_interval(track["interval"])
        scores = (track["macro_f1"], track["calibration_error"], window["accuracy"])
        rows.append((split, track["tracks"], accuracy, interval, *scores))
    console.table("accuracy", columns, rows)


def _print_average_precision(title: str, what: str, found: dict[str, dict[str, Any]]) -> None:
    columns = ("tracks", "by genre", "95% interval", "prior", "all pairs", "ROC-AUC", "F1", "hierarchical F1")
    rows = []
    for name, metrics in found.items():
        track = metrics["per_track"]
        interval = describe_interval(track["interval"]["map_macro"])
        scores = [track[key] for key in ("map_micro", "roc_auc_macro", "f1_macro", "hierarchical_f1")]
        rows.append((name, track["tracks"], track["map_macro"], interval, track["prior"]["map_macro"], *scores))
    console.table(title, (what, *columns), rows)


def _print_tree(metrics: dict[str, Any], taxonomy: Taxonomy) -> None:
    rows = []
    for name in taxonomy.walk():
        found = metrics["per_genre"][name]
        scores = [found[key] for key in ("average_precision", "precision", "recall", "f1", "threshold")]
        rows.append(("  " * (len(taxonomy.line(name)) - 1) + name, found["support"], *scores))
    console.say()
    console.table("by genre", ("genre", "tracks", "average precision", "precision", "recall", "F1", "from"), rows)


def _print_genres(metrics: dict[str, Any]) -> None:
    genres = metrics["per_track"]["genres"]
    console.say()
    console.table(
        "by track",
        ("genre", "tracks", "precision", "recall", "F1"),
        [(name, row["support"], row["precision"], row["recall"], row["f1"]) for name, row in genres.items()],
    )
