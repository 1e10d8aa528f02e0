"""`fma explain`: all that is known about one track, from its metadata to what each run predicts for it."""

import argparse
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from trainers.runs.directory import find_runs, load_config
from trainers.runs.genre_predictions import read_genre_predictions
from trainers.runs.novelty import UNLIKE, is_unlike
from trainers.runs.predictions import ModelPrediction, collect_predictions
from trainers.serving.answers import SHOWN, TREE
from trainers.serving.tasks import ManyGenres
from transforms.dataset.ledger import FailedTrack, FoundTrack, find_track
from transforms.dataset.manifest import load
from transforms.errors import FmaError
from transforms.runtime import console
from transforms.runtime.invocation import called_as, command_line
from transforms.tracks import number_of

TAKES_ANY_NAME = True  # a track's id may be a path that is not UTF-8
HIDDEN = ("track_id", "id_text", "reason", "message", "digest")
"""Fields of a ledger line that are shown elsewhere, or mean nothing to a person."""


@dataclass(frozen=True, eq=False)
class TreePrediction:
    """What a model of many genres predicts for a track."""

    run: str  # path of the run
    model: str  # name of the model
    task: ManyGenres
    probabilities: np.ndarray  # float32 [genres]
    truth: np.ndarray  # bool [genres], ancestors included
    novelty: float | None  # see `trainers.runs.novelty`; None: the run does not know

    @property
    def unlike_training(self) -> bool:
        """Return whether the track is unlike the music that the model was trained on."""
        return is_unlike(self.novelty)

    def to_json(self) -> dict[str, Any]:
        """Return run, model and the genres as `fma predict` gives them."""
        facts = {"run": self.run, "model": self.model, "novelty": self.novelty, "unlike_training": self.unlike_training}
        return facts | self.task.answer(self.probabilities, unsure=self.unlike_training)

    def rows(self) -> list[tuple[Any, ...]]:
        """Return the tree of what is predicted, of the next most likely, and of what the track has, line by line."""
        predicted = self.task.predicted(self.probabilities, unsure=self.unlike_training)
        kept = {at for at, _ in self.task.shown(self.probabilities, SHOWN)} | set(np.flatnonzero(self.truth).tolist())
        return [
            (
                "  " * depth + self.task.labels[at],
                self.probabilities[at],
                self.task.thresholds[at],
                bool(predicted[at]) or None,
                bool(self.truth[at]) or None,
            )
            for at, depth in self.task.walk(self.probabilities)
            if at in kept
        ]


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
    many = [run for run in runs if _has_many_genres(run)]
    of, split = found.track.track_id, found.track.split
    predictions, missing = collect_predictions([r for r in runs if r not in many], split, of) if ingested else ([], [])
    trees = _collect_trees(many, split, of, missing) if ingested else []
    if args.json:
        values = {
            "ingested": ingested,
            "generation": found.generation,
            "track": found.cells,
            "records": [asdict(record) for record in found.records],
            "predictions": [asdict(one) for one in predictions] + [tree.to_json() for tree in trees],
            "without_predictions": missing,
        }
        console.say_json(values)
    else:
        _print_track(found)
        for tree in trees:
            console.say()
            why = f": {UNLIKE}" if tree.unlike_training else ""
            console.table(f"{tree.run}, {tree.model}{why}", (*TREE, "has it"), tree.rows())
        _print_predictions(found, predictions, missing, bool(trees))
    return 0


def _has_many_genres(run: str) -> bool:
    try:
        return load_config(run).many
    except FmaError:  # `collect_predictions` says what is wrong with it
        return False


def _collect_trees(runs: list[str], split: str, track_id: int, missing: list[str]) -> list[TreePrediction]:
    """Return what runs with many genres predict for a track; a line for each without an answer goes to `missing`."""
    trees: list[TreePrediction] = []
    for run in runs:
        parents = load_config(run).parents or {}
        try:
            found = read_genre_predictions(run, split)
        except FmaError as error:
            missing.append(str(error))
            continue
        (rows,) = np.nonzero(found.track_id == track_id)
        for row in rows:
            for model, values in found.probabilities.items():
                task = ManyGenres(found.genres, parents, found.thresholds[model].tolist(), fitted=True)
                novelty = round(float(found.novelty[model][row]), 4) if model in found.novelty else None
                trees.append(TreePrediction(run, model, task, values[row], found.truth[row], novelty))
        if not len(rows):
            missing.append(f"{run} was not evaluated on this track: its dataset did not hold it")
    return trees


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


def _print_predictions(
    found: FoundTrack, predictions: list[ModelPrediction], missing: list[str], has_trees: bool
) -> None:
    if predictions:
        genre = found.track.genre
        console.say()
        rows = [_row(prediction, genre) for prediction in predictions]
        console.table("", ("run", "model", "predicted", "confidence", f"P({genre})", ""), rows)
    elif missing and not has_trees and found.track.split == "training":
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
    verdict += f"; {UNLIKE}" if prediction.unlike_training else ""
    return (prediction.run, prediction.model, prediction.genre, f"{chances[prediction.genre]:.0%}", of_truth, verdict)
