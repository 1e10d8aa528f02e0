"""`fma explain`: all that is known about one track, from its metadata to what each run says about it."""

import argparse
import json
from dataclasses import asdict
from typing import Any

import numpy as np

from trainers.runs.directory import CONFIG
from trainers.runs.predictions import read_run_predictions
from transforms import storage
from transforms.dataset.ledger import FailedTrack, FoundTrack, find_track
from transforms.dataset.manifest import Manifest, load
from transforms.errors import FmaError, UsageError
from transforms.runtime import console

HIDDEN = ("track_id", "reason", "message", "digest")
"""Cells of a ledger line that are shown elsewhere, or tell a person nothing."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    parser.description = (
        "Shows a track: its metadata and split, where each of its records lies or why it could not be ingested, and "
        "what each run predicts for it."
    )
    parser.epilog = "example: fma explain work/dataset 43"
    parser.add_argument("dataset", metavar="DATASET")
    parser.add_argument("track_id", type=int, metavar="TRACK_ID")
    parser.add_argument(
        "--runs", nargs="+", metavar="RUN", help="runs, or folders of runs; default: the folder runs beside DATASET"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON value")


def run(args: argparse.Namespace) -> int:
    """Runs the command; exit code 1 where the dataset does not know the track."""
    manifest = load(args.dataset)
    found = find_track(args.dataset, manifest, args.track_id)
    if found is None:
        raise FmaError(f"{args.dataset} knows no track {args.track_id}{_left_out(manifest)}")
    runs = find_runs(args.runs, args.dataset)
    opinions: list[dict[str, Any]] = []
    silent: list[str] = []
    if not isinstance(found.track, FailedTrack):
        opinions, silent = ask(runs, found.track.split, args.track_id)
    if args.json:
        console.say(json.dumps(as_json(found, opinions, silent)))
    else:
        _show(args, found, opinions, silent)
    return 0


def _left_out(manifest: Manifest) -> str:
    """Skipped tracks are counted, not named: they may be one of these."""
    skipped = {reason: count for reason, count in manifest.totals["skipped"].items() if count}
    return (
        f" (skipped without a line: {', '.join(f'{n:,} {reason}' for reason, n in skipped.items())})" if skipped else ""
    )


def find_runs(given: list[str] | None, dataset: str) -> list[str]:
    """Run folders, in order of their names.

    Raises:
      UsageError: something that was given is neither a run nor a folder that holds any.
    """
    beside = storage.join(storage.parent(dataset), "runs")
    found = []
    for path in [beside] if given is None else given:
        inside = [path] if storage.exists(storage.join(path, CONFIG)) else _runs_in(path)
        if not inside and given is not None:
            raise UsageError(f"--runs {path}: neither a run nor a folder of runs")
        found += inside
    return found


def _runs_in(folder: str) -> list[str]:
    paths = [storage.join(folder, name) for name in storage.list_folders(folder)]
    return [path for path in paths if storage.exists(storage.join(path, CONFIG))]


def ask(runs: list[str], split: str, track_id: int) -> tuple[list[dict[str, Any]], list[str]]:
    """What the models of some runs say about a track.

    Returns:
      one dict for each model that predicted it: run, model, genre (the top one), probabilities by genre, right; and a
      line for each run that says nothing, with the reason.
    """
    opinions: list[dict[str, Any]] = []
    silent: list[str] = []
    for run in runs:
        try:
            models = read_run_predictions(run, split)
        except FmaError as error:
            silent.append(str(error))
            continue
        said = [_opinion(run, name, found, track_id) for name, found in models.items()]
        opinions += [opinion for opinion in said if opinion]
        if not all(said):
            silent.append(f"{run} was not evaluated on this track: its dataset did not hold it")
    return opinions, silent


def _opinion(run: str, model: str, found: Any, track_id: int) -> dict[str, Any] | None:
    (rows,) = np.nonzero(found.track_id == track_id)
    if not len(rows):
        return None
    probabilities = np.exp(found.log_probabilities[rows[0]].astype(np.float64))
    best = int(probabilities.argmax())
    return {
        "run": run,
        "model": model,
        "genre": found.genres[best],
        "right": best == int(found.label[rows[0]]),
        "probabilities": dict(zip(found.genres, probabilities.round(4).tolist(), strict=True)),
    }


def as_json(found: FoundTrack, opinions: list[dict[str, Any]], silent: list[str]) -> dict[str, Any]:
    """All of it as plain values."""
    return {
        "ingested": not isinstance(found.track, FailedTrack),
        "generation": found.generation,
        "track": found.track.to_json(),
        "records": [asdict(record) for record in found.records],
        "predictions": opinions,
        "without_predictions": silent,
    }


def _show(args: argparse.Namespace, found: FoundTrack, opinions: list[dict[str, Any]], silent: list[str]) -> None:
    track = found.track
    state = f"failed: {track.reason} ({track.message})" if isinstance(track, FailedTrack) else "ingested"
    console.say(f"track {args.track_id}, {state}, in generation {found.generation}")
    console.say()
    cells = [(key, str(value)) for key, value in track.to_json().items() if key not in HIDDEN]
    console.table("", ("metadata", ""), cells)
    if found.records:
        console.say()
        rows = [(p.kind, p.window, f"{p.start_s:.1f} s", p.shard, p.offset, p.length) for p in found.records]
        console.table("", ("record", "window", "at", "shard", "offset", "bytes"), rows)
    if opinions:
        console.say()
        said = [_row(opinion, track.genre) for opinion in opinions]
        console.table("", ("run", "model", "says", "with", f"{track.genre} has", ""), said)
    if silent and not opinions and track.split == "training":
        console.say(
            "a training track: runs keep what they say of validation and test (fma evaluate RUN --split training)"
        )
    else:
        for line in silent:
            console.say(line)


def _row(opinion: dict[str, Any], genre: str) -> tuple[str, ...]:
    chances = opinion["probabilities"]
    of_truth = f"{chances[genre]:.0%}" if genre in chances else "-"
    verdict = "right" if opinion["right"] else "wrong"
    return (opinion["run"], opinion["model"], opinion["genre"], f"{chances[opinion['genre']]:.0%}", of_truth, verdict)
