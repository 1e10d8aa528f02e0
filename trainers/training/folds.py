"""Cross-validation of a Keras model: a run for each fold, on tracks of its own, and the scores over all tracks."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from trainers.classical.features import read_features
from trainers.data.selection import Selection, Splits
from trainers.evaluation.folds import deal_folds, score_models
from trainers.runs.directory import FOLDS, fold_path, read_metrics
from trainers.runs.predictions import RunPredictions, read_predictions
from trainers.runs.state import load_state
from trainers.training.plan import Plan
from transforms import storage
from transforms.audio.features import KINDS
from transforms.dataset.ledger import read_tracks
from transforms.dataset.manifest import checksum
from transforms.tracks import SPLITS


def plan_folds(plan: Plan) -> list[Plan]:
    """Return the plan of each fold's run, in folders 1, 2 and so on of the folder `folds` of a plan's run.

    The folds are those of `fma baselines` with the same number, seed and tracks.

    Raises:
      UsageError: there are too few artists.
      FmaError: a ledger is missing or damaged.
    """
    options, config = plan.options, plan.config
    found = []
    for number, splits in enumerate(_deal(plan), 1):
        run = fold_path(options.run, number)
        own = {"fold": number, "tracks_of_fold": _digest(splits)}
        of_fold = replace(config, options=config.options | own)
        found.append(replace(plan, options=replace(options, run=run), config=of_fold, splits=splits))
    return found


def _deal(plan: Plan) -> list[Splits]:
    dataset, per_window = plan.options.data, KINDS[plan.spec.kind].per == "window"
    table = read_features(dataset, plan.manifest, ())
    windows = {track.track_id: track.windows if per_window else 1 for track in read_tracks(dataset, plan.manifest)}
    records = np.array([windows[track_id] for track_id in table.track_ids.tolist()], np.int64)
    return [
        {
            split: Selection(table.track_ids[rows], table.labels[rows], records[rows])
            for split, rows in zip(SPLITS, dealt, strict=True)
        }
        for dealt in deal_folds(table, plan.options.seed, plan.options.folds)
    ]


def _digest(splits: Splits) -> str:
    """Return hex digits of the tracks of each split: another version of scikit-learn might deal others."""
    ids = {split: splits[split].track_id.tolist() for split in SPLITS}
    return checksum(ids)[:12]


def describe_fold(plan: Plan) -> str:
    """Say which fold's run is trained on how many tracks."""
    assert plan.splits
    counts = ", ".join(f"{len(plan.splits[split].track_id):,} {split}" for split in SPLITS)
    return f"fold {plan.config.options['fold']} of {plan.options.folds}: {counts} tracks"


def collect_folds(plans: Sequence[Plan]) -> tuple[RunPredictions, dict[str, Any]]:
    """Return the test predictions of all folds' finished runs together, and what metrics.json is to say of them.

    Returns:
      predictions of every track, each by the model that knows none of its artist's; and {"models": {name: what
      `score_models` returns, and under `fits` how each fold was trained, as for `fma baselines`}}.

    Raises:
      FmaError: a run's file is missing or damaged.
    """
    name = plans[0].spec.name
    parts = [read_predictions(plan.options.run, "test") for plan in plans]
    order = np.argsort(np.concatenate([part.track_id for part in parts]))
    fold = np.repeat(np.arange(len(parts)), [len(part.track_id) for part in parts])
    track_id, label = (np.concatenate([getattr(part, key) for part in parts])[order] for key in ("track_id", "label"))
    values = np.concatenate([part.log_probabilities[name] for part in parts])[order]
    predictions = RunPredictions(track_id, label, parts[0].genres, {name: values}, fold[order])
    scores = score_models(predictions, plans[0].options.seed)
    fits = [_describe(plan) for plan in plans]
    return predictions, {"models": {name: scores[name] | {"fits": fits}}}


def _describe(plan: Plan) -> dict[str, Any]:
    assert plan.splits
    run = plan.options.run
    found, state = read_metrics(run)["validation"]["per_track"], load_state(run)
    return {
        "run": storage.join(FOLDS, str(plan.config.options["fold"])),
        "rows": len(plan.splits["training"].track_id),
        "params": {"epoch": state.best_epoch},  # that is kept, as the hyper-parameters that classical models are given
        "validation": {"accuracy": found["accuracy"], "tracks": found["tracks"]},
    }
