"""Finished runs of `fma baselines`: what they hold, and the scores of their models on any dataset."""

from collections import Counter
from typing import Any

import numpy as np

from trainers.classical import many_genres
from trainers.classical.features import STATS, read_features
from trainers.classical.models import MODELS, load_model, warn_about_versions
from trainers.classical.novelty import measure_novelty
from trainers.classical.table import Table, group_columns
from trainers.data.targets import Targets, count_unknown
from trainers.evaluation.calibration import class_scores, log_probabilities
from trainers.evaluation.folds import score_models
from trainers.runs.directory import BASELINES, RunConfig, check_no_folds, load_config, read_metrics
from trainers.runs.files import CONFIG, report_damage
from trainers.runs.genre_predictions import GenrePredictions
from trainers.runs.predictions import RunPredictions
from transforms import storage
from transforms.dataset.ledger import read_tracks
from transforms.dataset.manifest import load
from transforms.encoders.facts import EncoderFacts
from transforms.errors import UsageError
from transforms.runtime.invocation import command_line


def load_finished(run: str, *, folds: bool = False) -> tuple[RunConfig, dict[str, Any]]:
    """Read config and metrics of a run on a dataset.

    Raises:
      UsageError: it is another kind of run, not finished, a cross-validation unless `folds`, or fitted on FMA's own
        tables.
    """
    config = load_config(run)
    if config.model != BASELINES:
        raise UsageError(f"{run} is a run of {config.model}, not of fma baselines")
    found = read_metrics(run)
    if not found:
        raise UsageError(f"{run} is not finished: run {command_line('baselines')} again with the same settings")
    if not folds:
        check_no_folds(run, config)
    if config.options.get("features_csv"):
        raise UsageError(
            f"{run} was fitted on {config.dataset['path']}, whose values cannot be computed from audio; "
            "its test results are in its metrics.json"
        )
    return config, found


def evaluate_baselines(
    run: str, dataset: str, split: str = "test"
) -> tuple[dict[str, Any], RunPredictions | GenrePredictions]:
    """Score every model of a run on a split of a dataset with stats records, the run's own or another one, by track.

    Returns:
      {"models": {name: {"per_track": ...}}, "labels": the models' genres, "left_out": tracks by genre that the models
      do not know}, and the predictions. On the run's own dataset and test split the numbers are those of its
      metrics.json.

    Raises:
      UsageError: as `load_finished`, or no track of the split has a genre that the run knows.
      FmaError: a file is damaged.
    """
    config, found = load_finished(run)
    warn_about_versions(run, config.made_with)
    models = found["models"]
    evaluate = _evaluate_many if config.many else _evaluate_one_label
    scores, left_out, predictions = evaluate(run, config, models, dataset, split)
    return {"models": scores, "labels": config.labels, "left_out": dict(sorted(left_out.items()))}, predictions


def _evaluate_many(
    run: str, config: RunConfig, models: dict[str, Any], dataset: str, split: str
) -> tuple[dict[str, Any], dict[str, int], GenrePredictions]:
    tracks = list(read_tracks(dataset, load(dataset)))
    table = _read_table(run, config, dataset, split, Targets.of(tracks, config.labels))
    if not table.labels.any():
        raise _no_known_genre(run, config, dataset, split)
    scores, predictions = many_genres.evaluate_models(run, config, models, table)
    return scores, count_unknown(tracks, config.labels, split), predictions


def features_of(run: str, config: RunConfig) -> tuple[tuple[str, ...], dict[str, EncoderFacts]]:
    """Return the kinds of features that a run's models take, and the encoders of the embeddings among them.

    Raises:
      FmaError: its config.json is damaged.
    """
    with report_damage(storage.join(run, CONFIG)):
        encoders = {name: EncoderFacts.from_json(facts) for name, facts in config.dataset.get("encoders", {}).items()}
        return tuple(config.options.get("features", STATS).split(",")), encoders


def _read_table(run: str, config: RunConfig, dataset: str, split: str, targets: Targets | None = None) -> Table:
    """Read the run's features of a split of a dataset.

    Raises:
      UsageError: the dataset has none, or embeddings of other encoders.
    """
    features, encoders = features_of(run, config)
    table = read_features(dataset, load(dataset), features, (split,), targets)
    for name, facts in encoders.items():
        if table.encoders[name] != facts:
            different = "; ".join(table.encoders[name].differences(facts))
            remove = command_line("embed", dataset, "--remove", name)
            raise UsageError(
                f"{dataset} has embeddings by another {name} than that of {run}, whose {different}: take them out "
                f"({remove}) and embed it by that one"
            )
    return table


def _no_known_genre(run: str, config: RunConfig, dataset: str, split: str) -> UsageError:
    known = f"{', '.join(config.labels[:20])}{', ...' if len(config.labels) > 20 else ''}"
    return UsageError(f"no {split} track of {dataset} has a genre that {run} knows: {known}")


def _evaluate_one_label(
    run: str, config: RunConfig, models: dict[str, Any], dataset: str, split: str
) -> tuple[dict[str, Any], dict[str, int], RunPredictions]:
    table = _read_table(run, config, dataset, split)
    ids = np.array([config.labels.index(g) if g in config.labels else -1 for g in table.genres], np.int64)[table.labels]
    left_out = Counter(table.genres[label] for label in table.labels[ids < 0])
    known = table.take(np.flatnonzero(ids >= 0))
    if not len(known.labels):
        raise _no_known_genre(run, config, dataset, split)
    values = {name: _predict(run, entry, known, len(config.labels)) for name, entry in models.items()}
    one_round = np.zeros(len(known.labels), np.int64)
    novelty = measure_novelty(run, {name: entry["features_group"] for name, entry in models.items()}, known)
    predictions = RunPredictions(known.track_ids, ids[ids >= 0], config.labels, values, one_round, novelty)
    return score_models(predictions, config.seed), left_out, predictions


def _predict(run: str, entry: dict[str, Any], table: Table, classes: int) -> np.ndarray:
    (fit,) = entry["fits"]
    values = table.values[:, group_columns(table.columns, entry["features_group"])]
    scores = class_scores(load_model(run, fit["file"]), MODELS[entry["model"]].scores, values, classes)
    return log_probabilities(scores, fit["temperature"])
