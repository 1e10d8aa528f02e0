"""A run of `fma baselines --labels all`: classical models of many genres, tuned on validation, scored once on test."""

import csv
import io
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from trainers.classical.novelty import measure_novelty, write_novelties
from trainers.classical.one_vs_rest import (
    MODELS,
    Fitted,
    Fold,
    Front,
    Params,
    candidates,
    load_model,
    save_model,
)
from trainers.classical.table import Table, group_columns
from trainers.evaluation.folds import artist_groups
from trainers.evaluation.multilabel import (
    ancestors,
    average_precision,
    choose_thresholds,
    evaluate,
    keep_consistent,
)
from trainers.evaluation.platt import fit_platt
from trainers.runs.directory import RunConfig, write_metrics
from trainers.runs.genre_facts import GenreFacts, read_genre_facts, write_genre_facts
from trainers.runs.genre_predictions import GenrePredictions, write_genre_predictions
from transforms import storage
from transforms.errors import UsageError
from transforms.runtime import console
from transforms.taxonomy import Taxonomy

HELD_OUT = 0.2  # of the artists, where there is no validation split
PROBABILITIES = "sigmoid(slope * score + intercept) of each genre, raised to the highest of the genres below it"
"""How they are computed, for metrics.json."""


@dataclass(frozen=True, eq=False)
class Rows:
    """Row numbers of the table: what candidates are fitted on and scored on, the final fit's, and the test's."""

    tuned: np.ndarray
    scored: np.ndarray
    fit: np.ndarray
    test: np.ndarray


@dataclass(frozen=True)
class Trial:
    """A candidate on the validation tracks."""

    params: Params
    map_macro: float  # mean over the genres with a validation track of their average precision; the highest wins


@dataclass(frozen=True, eq=False)
class Result:
    """A model on a feature group."""

    model: str  # a key of `MODELS`
    group: str
    trials: list[Trial]
    chosen: Trial
    fitted: Fitted
    thresholds: np.ndarray  # float64 [genres]
    probabilities: np.ndarray  # float32 [test tracks, genres]


def fit_models(
    run: str, table: Table, models: Sequence[str], groups: Sequence[str], *, refit: bool, seed: int, threads: int
) -> dict[str, Any]:
    """Search, fit, score and save all models on all feature groups; return the content of metrics.json.

    The macro mean of average precision chooses: it counts every genre alike, while the log loss of 161 genres is mostly
    that of the common ones. One choice serves all genres, since a rare one has too few validation tracks for its own.

    Raises:
      UsageError: a split is missing.
    """
    from threadpoolctl import threadpool_limits

    rows = _choose_rows(table, refit, seed)
    fits = len(groups) * sum(len(candidates(model)) + (rows.fit is not rows.tuned) for model in models)
    found = {}
    with threadpool_limits(threads), console.progress("baselines", fits, "fits") as progress:
        for group in groups:
            values = table.values[:, group_columns(table.columns, group)]
            search = _Search(table, values, rows, threads, progress.advance)
            for model in models:
                found[f"{model}@{group}" if len(groups) > 1 else model] = search.run(model, group)
    return _save(run, table, rows, found, seed)


def _choose_rows(table: Table, refit: bool, seed: int) -> Rows:
    training, validation, test = (table.rows(split) for split in ("training", "validation", "test"))
    for name, rows in (("training", training), ("test", test)):
        if not table.labels[rows].any():
            raise UsageError(
                f"{table.name} has no track with one of the {len(table.genres)} genres in the {name} split: add music "
                "by other artists, or give splits in a csv"
            )
    if table.labels[validation].any():
        return Rows(training, validation, np.sort(np.concatenate([training, validation])) if refit else training, test)
    console.log("no validation track: a fifth of the training artists is held out to choose hyper-parameters on")
    tuned, scored = _hold_out(table, training, seed)
    return Rows(tuned, scored, training, test)


def _hold_out(table: Table, training: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    from sklearn.model_selection import GroupShuffleSplit

    artists = artist_groups(table)[training]
    if len(np.unique(artists)) > 1:
        tuned, scored = next(
            GroupShuffleSplit(1, test_size=HELD_OUT, random_state=seed).split(training, groups=artists)
        )
        if table.labels[training[tuned]].any() and table.labels[training[scored]].any():
            return training[tuned], training[scored]
    raise UsageError(
        f"{table.name} is too small to choose hyper-parameters within training: that takes two artists with genres; "
        "add music, or a validation split"
    )


class _Search:
    """The search of each model on one feature group; scaling and PCA are fitted once for all."""

    def __init__(
        self, table: Table, values: np.ndarray, rows: Rows, threads: int, advance: Callable[[], object]
    ) -> None:
        self.truth, self.values, self.rows = table.labels, values, rows
        self._threads, self._advance = threads, advance
        self._above = ancestors(table.genres, Taxonomy(table.parents or {}))
        self._front, self._explained = Front.fit(values[rows.tuned])

    def run(self, model: str, group: str) -> Result:
        """Try every candidate, calibrate the best one, and fit it on the final rows."""
        rows, truth = self.rows, self.truth
        trials: list[Trial] = []
        chosen = fitted = scores = None
        for share in MODELS[model].pca:
            front = self._front.take(self._explained, share)
            tuned, scored = front.apply(self.values[rows.tuned]), front.apply(self.values[rows.scored])
            tried = [params for params in candidates(model) if params.get("pca", share) == share]
            tries = MODELS[model].tries(Fold(tuned, truth[rows.tuned], scored), tried, self._threads)
            for params, (classifier, found) in zip(tried, tries, strict=True):
                trials.append(Trial(params, _mean_precision(found, truth[rows.scored])))
                if chosen is None or round(trials[-1].map_macro, 9) > round(chosen.map_macro, 9):
                    chosen, fitted, scores = trials[-1], (front, classifier), found
                self._advance()
        assert chosen and fitted and scores is not None
        platt = fit_platt(scores, truth[rows.scored], truth[rows.tuned].mean(axis=0))
        validated = keep_consistent(platt.apply(scores), self._above)
        if rows.fit is not rows.tuned:
            fitted = self._refit(model, chosen.params)
            self._advance()
        final = Fitted(*fitted, platt)
        probabilities = keep_consistent(final.probabilities(self.values[rows.test]), self._above)
        thresholds = choose_thresholds(validated, truth[rows.scored])
        return Result(model, group, trials, chosen, final, thresholds, probabilities)

    def _refit(self, model: str, params: Params) -> tuple[Front, Any]:
        values = self.values[self.rows.fit]
        front, explained = Front.fit(values)
        front = front.take(explained, params.get("pca", MODELS[model].pca[0]))
        values = front.apply(values)
        fold = Fold(values, self.truth[self.rows.fit], values[:0])
        ((classifier, _),) = MODELS[model].tries(fold, [params], self._threads)
        return front, classifier


def _mean_precision(scores: np.ndarray, truth: np.ndarray) -> float:
    present = np.flatnonzero(truth.any(axis=0))
    return float(np.mean([average_precision(scores[:, genre], truth[:, genre]) for genre in present]))


def _save(run: str, table: Table, rows: Rows, found: dict[str, Result], seed: int) -> dict[str, Any]:
    """Write models, search.csv, genres.json, predictions and, last, metrics.json; return the content of the latter."""
    for name, result in found.items():
        save_model(run, _model_file(name), result.fitted)
    _write_search(run, found)
    prior = table.labels[table.rows("training")].mean(axis=0)
    thresholds = {name: result.thresholds for name, result in found.items()}
    write_genre_facts(run, GenreFacts(prior, thresholds))
    probabilities = {name: result.probabilities for name, result in found.items()}
    write_novelties(run, table, {result.group for result in found.values()}, rows.fit)
    test = table.take(rows.test)
    novelty = measure_novelty(run, {name: result.group for name, result in found.items()}, test)
    predictions = GenrePredictions(test.track_ids, test.labels, table.genres, probabilities, thresholds, prior, novelty)
    write_genre_predictions(run, "test", predictions)
    scores = _score(predictions, Taxonomy(table.parents or {}), seed)
    metrics = {"models": {name: scores[name] | _describe(name, found[name], rows) for name in found}}
    write_metrics(run, metrics)
    return metrics


def _model_file(name: str) -> str:
    return storage.join("models", f"{name.replace('/', '-')}.npz")  # a slash is in a feature group


def _write_search(run: str, found: dict[str, Result]) -> None:
    """Write search.csv: a row for each candidate."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("model", "params", "map_macro", "chosen"))
    for name, result in found.items():
        for trial in result.trials:
            writer.writerow((name, json.dumps(trial.params), f"{trial.map_macro:.6g}", int(trial is result.chosen)))
    storage.write_bytes(storage.join(run, "search.csv"), text.getvalue().encode())


def _score(predictions: GenrePredictions, taxonomy: Taxonomy, seed: int) -> dict[str, dict[str, Any]]:
    """Return {"per_track": ...} of each model."""
    found = {}
    with console.progress("score", len(predictions.probabilities), "models") as progress:
        for name, values in predictions.probabilities.items():
            thresholds, prior = predictions.thresholds[name], predictions.prior
            of = (values, predictions.truth, predictions.genres, taxonomy)
            found[name] = {"per_track": evaluate(*of, thresholds=thresholds, prior=prior, seed=seed)}
            progress.advance()
    return found


def _describe(name: str, result: Result, rows: Rows) -> dict[str, Any]:
    """Return how a model was fitted, for metrics.json, in the form of runs with one label each."""
    fit = {
        "file": _model_file(name),
        "rows": len(rows.fit),
        "params": result.chosen.params,
        "components": result.fitted.front.axes.shape[1] or len(result.fitted.front.mean),
        "validation": {"map_macro": result.chosen.map_macro},
    }
    return {
        "model": result.model,
        "features_group": result.group,
        "probabilities": PROBABILITIES,
        "fits": [fit],
    }


def evaluate_models(
    run: str, config: RunConfig, models: dict[str, Any], table: Table
) -> tuple[dict[str, Any], GenrePredictions]:
    """Score a run's models on a table with the genres of the run; return {model: {"per_track": ...}} and predictions.

    `models` is that of its metrics.json.
    """
    facts = read_genre_facts(run)
    above = ancestors(config.labels, config.taxonomy)
    probabilities = {}
    with console.progress("predict", len(models), "models") as progress:
        for name, entry in models.items():
            (fit,) = entry["fits"]
            values = table.values[:, group_columns(table.columns, entry["features_group"])]
            fitted = load_model(run, fit["file"], entry["model"])
            probabilities[name] = keep_consistent(fitted.probabilities(values), above)
            progress.advance()
    novelty = measure_novelty(run, {name: entry["features_group"] for name, entry in models.items()}, table)
    predictions = GenrePredictions(
        table.track_ids, table.labels, config.labels, probabilities, facts.thresholds, facts.prior, novelty
    )
    return _score(predictions, config.taxonomy, config.seed), predictions
