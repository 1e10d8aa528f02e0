"""`fma explain`: all that is known about one track, from its metadata to what each run predicts for it."""

import argparse
from dataclasses import asdict

from trainers.runs.directory import find_runs
from trainers.runs.predictions import ModelPrediction, collect_predictions
from transforms.dataset.ledger import FailedTrack, FoundTrack, find_track
from transforms.dataset.manifest import load
from transforms.errors import FmaError
from transforms.runtime import console
from transforms.runtime.invocation import called_as, command_line
from transforms.tracks import number_of

TAKES_ANY_NAME = True  # a track's id may be a path that is not UTF-8
HIDDEN = ("track_id", "id_text", "reason", "message", "digest")
"""Fields of a ledger line that are shown elsewhere, or mean nothing to a person."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.description = (
        "Shows a track: its metadata and split, where each of its records lies or why it could not be ingested, and "
        "what each run predicts for it."
    )
    parser.epilog = f"example: {called_as()} explain work/dataset 43"
    parser.add_argument("dataset", metavar="DATASET")
    parser.add_argument("track_id", metavar="TRACK_ID", help="as the metadata or a report has it")
    parser.add_argument(
        "--runs", nargs="+", metavar="RUN", help="runs, or folders of runs; default: the folder runs beside DATASET"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON value")


def run(args: argparse.Namespace) -> int:
    """Run the command; exit code 1 where the dataset does not know the track."""
    manifest = load(args.dataset)
    found = find_track(args.dataset, manifest, number_of(args.track_id))
    if found is None and args.track_id.isdecimal():  # a number from a report, that stands for an id of text
        found = find_track(args.dataset, manifest, int(args.track_id))
    if found is None:
        # Skipped tracks are counted, not named: the track may be one of these.
        skipped = ", ".join(f"{count:,} {reason}" for reason, count in manifest.totals["skipped"].items() if count)
        may_be = f" (skipped without a line: {skipped})" if skipped else ""
        raise FmaError(f"{args.dataset} knows no track {args.track_id}{may_be}")
    runs = find_runs(args.runs, args.dataset)
    ingested = not isinstance(found.track, FailedTrack)
    predictions, missing = collect_predictions(runs, found.track.split, found.track.track_id) if ingested else ([], [])
    if args.json:
        values = {
            "ingested": ingested,
            "generation": found.generation,
            "track": found.cells,
            "records": [asdict(record) for record in found.records],
            "predictions": [asdict(prediction) for prediction in predictions],
            "without_predictions": missing,
        }
        console.say_json(values)
    else:
        _print_track(found)
        _print_predictions(found, predictions, missing)
    return 0


def _print_track(found: FoundTrack) -> None:
    track = found.track
    state = f"failed: {track.reason} ({track.message})" if isinstance(track, FailedTrack) else "ingested"
    console.say(f"track {track.shown_id}, {state}, in generation {found.generation}")
    console.say()
    cells = {key: value for key, value in found.cells.items() if key not in HIDDEN}
    cells["genres"] = ", ".join(track.genres) or "none"
    console.table("", ("metadata", ""), [(key, str(value)) for key, value in cells.items()])
    if found.records:
        console.say()
        rows = [(p.kind, p.window, f"{p.start_s:.1f} s", p.shard, p.offset, p.length) for p in found.records]
        console.table("", ("record", "window", "at", "shard", "offset", "bytes"), rows)


def _print_predictions(found: FoundTrack, predictions: list[ModelPrediction], missing: list[str]) -> None:
    if predictions:
        genre = found.track.genre
        console.say()
        rows = [_row(prediction, genre) for prediction in predictions]
        console.table("", ("run", "model", "predicted", "confidence", f"P({genre})", ""), rows)
    elif missing and found.track.split == "training":
        missing = [
            "a training track: runs keep predictions for validation and test "
            f"({command_line('evaluate', 'RUN', '--data', 'DATASET', '--split', 'training')})"
        ]
    for line in missing:
        console.say(line)


def _row(prediction: ModelPrediction, genre: str) -> tuple[str, ...]:
    chances = prediction.probabilities
    of_truth = f"{chances[genre]:.0%}" if genre in chances else "-"
    verdict = "right" if prediction.right else "wrong"
    return (prediction.run, prediction.model, prediction.genre, f"{chances[prediction.genre]:.0%}", of_truth, verdict)
