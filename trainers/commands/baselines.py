"""`fma baselines`: classical models on the tracks' statistics, tuned on validation and scored once on test."""

import argparse
import hashlib
import json
from typing import TYPE_CHECKING, Any

from transforms.commands.arguments import number
from transforms.errors import UsageError
from transforms.runtime import console

if TYPE_CHECKING:
    from trainers.classical.table import Table
    from trainers.runs.directory import RunConfig

REFITS = ("train", "train+val")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    from trainers.classical.models import DEFAULT_MODELS, MODELS, SVM_ROWS

    parser.description = (
        "Fits scaling, PCA and a classical classifier on one row of statistics for each track. Hyper-parameters are "
        "chosen on the validation split, by log loss; test is scored once, by track."
    )
    parser.epilog = "example: fma baselines --data data/medium --run runs/baselines --refit train+val"
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--data", help="dataset with stats records")
    source.add_argument(
        "--features-csv",
        metavar="FILE",
        help="FMA's features.csv or echonest.csv, or in its zip: ZIP!echonest.csv",
    )
    parser.add_argument("--metadata", help="with --features-csv: tracks.csv (default: what lies in its zip or folder)")
    parser.add_argument("--subset", help="with --features-csv and FMA's tracks.csv: small, medium, large or full")
    parser.add_argument("--run", required=True, help="folder for models, predictions and metrics")
    parser.add_argument(
        "--models", default=",".join(DEFAULT_MODELS), help=f"of {', '.join(MODELS)}; default {','.join(DEFAULT_MODELS)}"
    )
    parser.add_argument(
        "--features-group",
        nargs="+",
        metavar="GROUP",
        help="features joined by +, such as mfcc+contrast+centroid; default all; several: each model on each",
    )
    parser.add_argument(
        "--refit", choices=REFITS, default=REFITS[0], help="what the chosen models are fitted on; default train"
    )
    parser.add_argument(
        "--svm-rows",
        type=number(int, 1),
        default=SVM_ROWS,
        metavar="N",
        help=f"SVMs are fitted on so many; default {SVM_ROWS}",
    )
    parser.add_argument(
        "--seed", type=int, default=0, metavar="N", help="of folds, samples and the bootstrap; default 0"
    )
    parser.add_argument("--jobs", type=number(int, 1), metavar="N", help="processes; default: by cores and memory")


def run(args: argparse.Namespace) -> int:
    """Runs the command; see `fma baselines --help`."""
    from trainers.runs.directory import create_run, locked, open_run, read_metrics

    models = choose_models(args.models)
    table = read_table(args)
    groups = choose_groups(args.features_group, table)
    config = make_config(args, table, models, groups)
    began = open_run(args.run, config)
    with locked(args.run), console.annotate_os_errors(args.run):
        metrics = read_metrics(args.run) if began else {}
        if metrics:
            console.log(f"{args.run} is done: the same settings, the same data; nothing to do")
        else:
            if not began:
                create_run(args.run, config)
            metrics = fit(args, table, models, groups)
    print_results(metrics)
    return 0


def choose_models(text: str) -> list[str]:
    """The models of `--models`, in that order."""
    from trainers.classical.models import MODELS

    names = list(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    unknown = [name for name in names if name not in MODELS]
    if unknown or not names:
        raise UsageError(f"--models {text}: choose some of {', '.join(MODELS)}, joined by commas")
    return names


def choose_groups(asked: list[str] | None, table: "Table") -> list[str]:
    """The groups of `--features-group`, all of which the table has."""
    from trainers.classical.table import group_columns

    texts = asked or [table.default_group]
    groups = list(dict.fromkeys(group for text in texts for group in text.split(",") if group))
    for group in groups:
        group_columns(table.columns, group)
    return groups


def read_table(args: argparse.Namespace) -> "Table":
    """The rows, from a dataset or from FMA's own table."""
    if args.features_csv:
        from trainers.classical.fma_tables import read_fma_table

        return read_fma_table(args.features_csv, args.metadata, args.subset)
    for option in ("metadata", "subset"):
        if getattr(args, option):
            raise UsageError(f"--{option} belongs to --features-csv: a dataset knows its tracks")
    from trainers.classical.table import read_stats
    from transforms.dataset.manifest import load

    return read_stats(args.data, load(args.data))


def make_config(args: argparse.Namespace, table: "Table", models: list[str], groups: list[str]) -> "RunConfig":
    """What the run is asked for; the search spaces count as a setting, for they have a say in the result."""
    from trainers.classical.models import candidates
    from trainers.classical.results import KIND_OF_RUN, LIBRARIES
    from trainers.runs.directory import RunConfig, versions
    from transforms.dataset.manifest import load

    spaces = json.dumps({model: candidates(model, len(table.columns), len(table.labels)) for model in models})
    options: dict[str, Any] = {
        "models": ",".join(models),
        "features_group": " ".join(groups),
        "refit": args.refit,
        "svm_rows": args.svm_rows,
        "search_spaces": hashlib.sha256(spaces.encode()).hexdigest()[:12],
    }
    if args.features_csv:
        options |= {"features_csv": True, "subset": args.subset}
    settings = load(args.data).config.to_json() if args.data else {}
    dataset: dict[str, Any] = {"path": args.data or table.name, "digest": table.digest, "config": settings}
    return RunConfig(KIND_OF_RUN, options, args.seed, dataset, table.genres, [], versions(*LIBRARIES))


def fit(args: argparse.Namespace, table: "Table", models: list[str], groups: list[str]) -> dict[str, Any]:
    """Searches, fits, scores and saves; returns the metrics."""
    from trainers.classical.results import save_results
    from trainers.classical.search import choose_workers, make_jobs, make_rounds, run_jobs

    rounds = make_rounds(table, args.refit == "train+val", args.seed)
    jobs = make_jobs(table, models, groups, rounds, svm_rows=args.svm_rows, seed=args.seed)
    results = run_jobs(table, jobs, choose_workers(args.jobs, table))
    return save_results(args.run, table, results, args.seed)


def print_results(metrics: dict[str, Any]) -> None:
    """A row for each model: accuracy on validation and on test, by track, and what was chosen."""
    columns = ("model", "validation", "test", "95%", "macro F1", "calibration", "tracks", "chosen")
    console.table("accuracy by track", columns, [_row(name, entry) for name, entry in metrics["models"].items()])


def _row(name: str, entry: dict[str, Any]) -> tuple[Any, ...]:
    found, fits = entry["per_track"], entry["fits"]
    validation = sum(fit["validation"]["accuracy"] for fit in fits) / len(fits)
    low, high = found["interval"]
    numbers = [f"{value:.3f}" for value in (validation, found["accuracy"])]
    quality = [f"{found[key]:.3f}" for key in ("macro_f1", "calibration_error")]
    chosen = " | ".join(dict.fromkeys(_params_text(fit["params"]) for fit in fits))
    return name, *numbers, f"{low:.3f} to {high:.3f}", *quality, found["tracks"], chosen


def _params_text(params: dict[str, Any]) -> str:
    return " ".join(
        f"{key}={value:.4g}" if isinstance(value, float) else f"{key}={value}" for key, value in params.items()
    )
