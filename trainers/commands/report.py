"""`fma report`: one page that compares runs, for a browser, without a network."""

import argparse
from typing import TYPE_CHECKING

from transforms import storage
from transforms.errors import UsageError
from transforms.runtime import console

if TYPE_CHECKING:
    from trainers.report.collect import Comparison
    from trainers.report.page import Background


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    parser.description = (
        "Compares runs of fma train and fma baselines on the same test tracks, by track, in one self-contained HTML "
        "page: leaderboard with intervals and tests, genres, confusions, calibration, learning curves, mistakes, the "
        "dataset and its leaks."
    )
    parser.epilog = "example: fma report runs/mel_cnn runs/baselines --out report.html"
    parser.add_argument("runs", nargs="+", metavar="RUN")
    parser.add_argument("--out", required=True, metavar="HTML", help="the page to write")
    parser.add_argument("--data", metavar="DATASET", help="default: the dataset that the first run was trained on")
    parser.add_argument(
        "--show-leakage",
        action="store_true",
        help="also measure what a random split by window would have claimed",
    )


def run(args: argparse.Namespace) -> int:
    """Runs the command; see `fma report --help`."""
    from trainers.report.collect import compare, read_runs
    from trainers.report.html import p_value, percent, percents
    from trainers.report.leaderboard import standings
    from trainers.report.page import page

    comparison = compare(read_runs(args.runs))
    text = page(comparison, read_background(args, comparison))
    storage.write_bytes(args.out, text.encode())
    rows = [
        (
            place.model.name,
            percent(place.accuracy),
            percents(*place.interval),
            "" if place.p is None else p_value(place.p),
        )
        for place in standings(comparison)
    ]
    title = f"accuracy on {len(comparison.track_id):,} test tracks"
    console.table(title, ("model", "by track", "95% interval", "p against the best"), rows)
    console.say(f"report: {args.out}")
    return 0


def read_background(args: argparse.Namespace, comparison: "Comparison") -> "Background | None":
    """What the dataset adds; None where it is not where the runs had it.

    Raises:
      UsageError: `--data` is not a dataset, or what was asked for needs one.
    """
    from trainers.report.dataset import read_facts
    from trainers.report.leaks import measure
    from trainers.report.mistakes import named_rows
    from trainers.report.page import Background
    from transforms.dataset.leaks import audit
    from transforms.dataset.manifest import is_dataset, load

    dataset = args.data or comparison.runs[0].config.dataset["path"]
    if not args.data and not is_dataset(dataset):
        if args.show_leakage:
            raise UsageError(
                f"--show-leakage needs the dataset, which is not at {dataset} any more: give --data DATASET"
            )
        console.log(f"no dataset at {dataset}: no dataset card and no leak audit (give --data DATASET)")
        return None
    manifest = load(dataset)
    facts = read_facts(dataset, manifest, set(comparison.track_id[named_rows(comparison)].tolist()))
    leakage = measure(dataset, manifest) if args.show_leakage else None
    return Background(dataset, manifest, facts, audit(dataset, manifest), leakage)
