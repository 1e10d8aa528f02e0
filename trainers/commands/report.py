"""`fma report`: one page that compares runs, for a browser, without a network."""

import argparse

from transforms import storage
from transforms.runtime import console
from transforms.runtime.invocation import called_as


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.description = (
        "Compares runs of fma train and fma baselines on the same test tracks, by track, in one self-contained HTML "
        "page: leaderboard with intervals and tests, genres, confusions, calibration, learning curves, mistakes, the "
        "dataset and its leaks."
    )
    parser.epilog = f"example: {called_as()} report runs/mel_cnn runs/baselines --out report.html"
    parser.add_argument("runs", nargs="+", metavar="RUN")
    parser.add_argument("--out", required=True, metavar="HTML", help="the page to write")
    parser.add_argument("--data", metavar="DATASET", help="default: the dataset that the first run was trained on")
    parser.add_argument(
        "--show-leakage",
        action="store_true",
        help="also measure what a random split by window would have claimed",
    )


def run(args: argparse.Namespace) -> int:
    """Run the command; see `fma report --help`."""
    from trainers.report.collect import compare, read_runs
    from trainers.report.html import p_value, percent, percents
    from trainers.report.leaderboard import standings
    from trainers.report.page import make_page, read_background

    comparison = compare(read_runs(args.runs))
    background = read_background(comparison, args.data, show_leakage=args.show_leakage)
    storage.write_bytes(args.out, make_page(comparison, background).encode())
    rows = []
    for place in standings(comparison):
        p = "" if place.p is None else p_value(place.p)
        rows.append((place.model.name, percent(place.accuracy), percents(*place.interval), p))
    title = f"accuracy on {len(comparison.track_id):,} test tracks"
    console.table(title, ("model", "by track", "95% interval", "p against the best"), rows)
    console.say(f"report: {args.out}")
    return 0
