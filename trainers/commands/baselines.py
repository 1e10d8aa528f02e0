"""`fma baselines`: classical models on the tracks' statistics, tuned on validation and scored once on test."""

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from trainers.commands.arguments import add_folds, add_labels
from trainers.data.targets import choose_min_tracks
from trainers.evaluation.metrics import describe_interval
from transforms.commands.arguments import names, number
from transforms.errors import UsageError
from transforms.runtime import console
from transforms.runtime.invocation import called_as

if TYPE_CHECKING:
    from trainers.classical.baselines import Source


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    from trainers.classical.fusion import FEATURES as FUSED
    from trainers.classical.models import DEFAULT_MODELS, MODELS
    from trainers.classical.one_vs_rest import MODELS as ONE_VS_REST

    parser.description = (
        "Fits scaling, PCA and a classical classifier on one row of statistics for each track. Hyper-parameters are "
        "chosen on the validation split, by log loss; test is scored once, by track. With --labels all, a track has "
        "many genres: one classifier for each against the rest, chosen by mean average precision, along the tree."
    )
    parser.epilog = f"example: {called_as()} baselines --data data/medium --run runs/baselines --refit train+val"
    _add_source(parser, FUSED)
    parser.add_argument("--run", required=True, help="folder for models, predictions and metrics")
    parser.add_argument(
        "--models",
        help=f"of {', '.join(MODELS)}; default {','.join(DEFAULT_MODELS)}. With --labels all: "
        f"{','.join(ONE_VS_REST)}, which are the default",
    )
    add_labels(parser)
    parser.add_argument(
        "--features-group",
        nargs="+",
        default=(),
        metavar="GROUP",
        help="features joined by +, such as mfcc+contrast+centroid; all; or level-free, which is all but what says how "
        "loud a track is. Several: each model on each. Default: level-free with stats or theory records, "
        "audio_features of echonest.csv, else all",
    )
    _add_method(parser)


def _add_method(parser: argparse.ArgumentParser) -> None:
    from trainers.classical.baselines import REFITS
    from trainers.classical.models import SVM_ROWS

    parser.add_argument(
        "--refit", choices=REFITS, default=REFITS[0], help="splits to fit the chosen models on; default train"
    )
    add_folds(parser)
    parser.add_argument(
        "--svm-rows",
        type=number(int, 1),
        metavar="N",
        help=f"rows that SVMs are fitted on at most, with --labels top; default {SVM_ROWS}",
    )
    parser.add_argument(
        "--seed", type=int, default=0, metavar="N", help="of folds, samples and the bootstrap; default 0"
    )
    parser.add_argument(
        "--jobs",
        type=number(int, 1),
        metavar="N",
        help="processes, or threads with --labels all; default: by cores and memory",
    )


def _add_source(parser: argparse.ArgumentParser, fused: Sequence[str]) -> None:
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--data", help="dataset with stats records, or what else --features names")
    source.add_argument(
        "--features-csv",
        metavar="FILE",
        help="FMA's features.csv or echonest.csv, or in its zip: ZIP!echonest.csv",
    )
    parser.add_argument(
        "--features",
        metavar="KIND[,...]",
        help="records to fit the models on: stats (the default), theory, or embedding/NAME of fma embed; several are "
        "joined by track. The fusion's default: " + ",".join(fused),
    )
    parser.add_argument("--metadata", help="with --features-csv: tracks.csv (default: the one in its zip or folder)")
    parser.add_argument("--subset", help="with --features-csv and FMA's tracks.csv: small, medium, large or full")


def run(args: argparse.Namespace) -> int:
    """Run the command; see `fma baselines --help`."""
    from trainers.classical.baselines import BaselineOptions, fit_baselines
    from trainers.classical.models import SVM_ROWS

    min_tracks = choose_min_tracks(args.labels, args.min_tracks)
    many = min_tracks is not None
    if many and args.svm_rows is not None:
        raise UsageError("--svm-rows is for --labels top: with --labels all, the SVM is linear and takes all rows")
    if many and args.folds is not None:
        raise UsageError("--folds is for --labels top")
    options = BaselineOptions(
        models=None if args.models is None else _names(args.models),
        groups=_names(",".join(args.features_group)) or None,
        refit=args.refit,
        svm_rows=args.svm_rows or SVM_ROWS,
        seed=args.seed,
        jobs=args.jobs,
        min_tracks=min_tracks,
        folds=args.folds,
    )
    found = fit_baselines(args.run, _read_source(args, options.chosen), options)
    if many:
        _print_many(found["models"])
    else:
        print_models(found["models"])
    return 0


def print_models(models: dict[str, dict[str, Any]]) -> None:
    """Print a row for each model of a metrics.json, in a cross-validation with its accuracy by fold."""
    one = next(iter(models.values()))
    folds, by_fold = len(one["fits"]), ("by fold",) * ("by_fold" in one)  # older runs do not have it
    columns = ("model", "validation", "test", "95%", *by_fold, "macro F1", "calibration", "tracks", "chosen")
    title = f"accuracy by track, {folds} folds by artist" if folds > 1 else "accuracy by track"
    console.table(title, columns, [_row(name, entry) for name, entry in models.items()])


def _read_source(args: argparse.Namespace, models: Sequence[str]) -> "Source":
    from trainers.classical.baselines import Source
    from trainers.classical.features import STATS, check_features
    from trainers.classical.fusion import FEATURES as FUSED
    from trainers.classical.models import FUSION

    for option in ("metadata", "subset"):
        if args.data and getattr(args, option):
            raise UsageError(f"--{option} belongs to --features-csv: a dataset has its own metadata")
    if args.features_csv and args.features:
        raise UsageError("--features belongs to --data: a features csv is taken as it is")
    features = _names(args.features or "") or (FUSED if FUSION in models else (STATS,))
    check_features(features)
    return Source(args.data, args.features_csv, args.metadata, args.subset, features)


def _print_many(models: dict[str, dict[str, Any]]) -> None:
    columns = ("model", "validation", "test", "95%", "prior's", "all pairs", "ROC-AUC", "F1", "calibration", "chosen")
    rows = []
    for name, entry in models.items():
        found, (fit,) = entry["per_track"], entry["fits"]
        interval = describe_interval(found["interval"]["map_macro"])
        values = [fit["validation"]["map_macro"], found["map_macro"], found["prior"]["map_macro"]]
        values += [found[key] for key in ("map_micro", "roc_auc_macro", "f1_macro", "calibration_error")]
        texts = ["" if value is None else f"{value:.3f}" for value in values]
        rows.append((name, *texts[:2], interval, *texts[2:], _params_text(fit["params"])))
    genres, lacking = len(found["per_genre"]), len(found["left_out"])
    missing = f", {lacking} of them left out: they have no test track" if lacking else ""
    title = f"mean average precision, {found['tracks']:,} tracks, {genres} genres{missing}"
    console.table(title, columns, rows)


def _names(text: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(names(text)))


def _row(name: str, entry: dict[str, Any]) -> tuple[Any, ...]:
    """A model's accuracy on validation and on test, and the hyper-parameters that were chosen."""
    found, fits = entry["per_track"], entry["fits"]
    validation = sum(fit["validation"]["accuracy"] for fit in fits) / len(fits)
    folds = max(fit.get("folds", 1) for fit in fits)  # older runs do not say
    numbers = [f"{validation:.3f} ({folds} folds)" if folds > 1 else f"{validation:.3f}", f"{found['accuracy']:.3f}"]
    numbers.append(describe_interval(found["interval"]))
    if of_folds := entry.get("by_fold"):
        numbers.append(f"{of_folds['mean']:.3f} ± {of_folds['deviation']:.3f}")
    quality = [f"{found[key]:.3f}" for key in ("macro_f1", "calibration_error")]
    chosen = " | ".join(dict.fromkeys(_params_text(fit["params"]) for fit in fits))
    return name, *numbers, *quality, found["tracks"], chosen


def _params_text(params: dict[str, Any]) -> str:
    return " ".join(
        f"{key}={value:.4g}" if isinstance(value, float) else f"{key}={value}" for key, value in params.items()
    )
