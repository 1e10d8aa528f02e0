"""`fma report`: one page that compares runs, for a browser, without a network."""

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING

from transforms import storage
from transforms.runtime import console
from transforms.runtime.invocation import called_as

if TYPE_CHECKING:
    from trainers.report.leaderboard import Standing


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.description = (
        "Compares runs of fma train and fma baselines on the same test tracks, by track, in one self-contained HTML "
        "page: leaderboard with intervals and tests, genres, confusions, calibration, learning curves, mistakes, the "
        "dataset and its leaks. With --audio, one can hear the mistakes."
    )
    parser.epilog = f"example: {called_as()} report runs/mel_cnn runs/baselines --out report.html"
    parser.add_argument("runs", nargs="+", metavar="RUN")
    parser.add_argument("--out", required=True, metavar="HTML", help="the page to write")
    parser.add_argument("--data", metavar="DATASET", help="default: the dataset that the first run was trained on")
    parser.add_argument(
        "--audio",
        metavar="PATH",
        help="folder or zip of the songs: puts 10 s of each mistake into the page, 80 kB each",
    )
    parser.add_argument(
        "--show-leakage",
        action="store_true",
        help="also measure what a random split by window would have claimed",
    )


def run(args: argparse.Namespace) -> int:
    """Run the command; see `fma report --help`."""
    from trainers.report.genre_leaderboard import genre_standings
    from trainers.report.leaderboard import standings
    from trainers.report.page import compare_runs, make_page, read_background

    compared = compare_runs(args.runs)
    background = read_background(compared, args.data, show_leakage=args.show_leakage, audio=args.audio)
    page = make_page(compared, background).encode()
    storage.write_bytes(args.out, page)
    if compared.one_label:
        _print_places("accuracy", len(compared.one_label.track_id), standings(compared.one_label))
    if compared.many:
        metric = f"mean average precision over {len(compared.many.genres)} genres"
        _print_places(metric, len(compared.many.track_id), genre_standings(compared.many))
    if background and background.clips:
        players = console.counted(len(background.clips), "player")
        console.log(f"{players}: the page has {console.human_bytes(len(page))}")
    console.say(f"report: {args.out}")
    return 0


def _print_places(metric: str, tracks: int, places: Sequence["Standing"]) -> None:
    from trainers.report.html import p_value, percent, percents

    rows = [
        (place.model.name, percent(place.value), percents(*place.interval), "" if place.p is None else p_value(place.p))
        for place in places
    ]
    console.table(
        f"{metric} on {tracks:,} test tracks", ("model", "by track", "95% interval", "p against the best"), rows
    )
