"""Hyper-parameters by grid search on validation rows, over processes; the final fit and its one look at the test."""

import warnings
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from trainers.classical.models import MODELS, Params, build, candidates
from trainers.classical.scores import class_scores, fit_temperature, log_loss
from trainers.classical.splits import Round, Rows, stratified_sample

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline

Pool = Callable[[Iterable[Any]], Iterable[Any]]
"""joblib.Parallel, whose results come as they are ready."""


@dataclass(frozen=True)
class Data:
    """What the fits of a feature group share: values float32 [rows, columns], labels int64 [rows], how many classes."""

    values: np.ndarray
    labels: np.ndarray
    classes: int


@dataclass(frozen=True)
class Job:
    """One model on one feature group in one round.

    Attributes:
      model: a key of `MODELS`.
      group: name of the feature group.
      fold: the round's number.
      tuning: as in `Round`, after the model's bound on rows.
      fit: as in `Round`, after the model's bound on rows.
      test: as in `Round`.
    """

    model: str
    group: str
    fold: int
    tuning: list[tuple[Rows, Rows]]
    fit: Rows
    test: Rows

    def candidates(self, columns: int) -> list[Params]:
        """What the search tries on that many columns."""
        return candidates(self.model, columns, min(len(fitted) for fitted, _ in self.tuning))


@dataclass(frozen=True)
class Trial:
    """One candidate on the validation rows.

    Attributes:
      params: of the pipeline.
      accuracy: share of right predictions.
      log_loss: at the best temperature; the lowest wins.
      temperature: for probabilities.
      converged: whether every fit ended by itself.
    """

    params: Params
    accuracy: float
    log_loss: float
    temperature: float
    converged: bool


@dataclass(frozen=True)
class Fitted:
    """A job's result: the chosen trial, the fitted pipeline and its scores, float32 [test rows, classes]."""

    job: Job
    chosen: Trial
    trials: list[Trial]
    pipeline: "Pipeline"
    scores: np.ndarray


def make_job(model: str, group: str, fold: int, round_: Round, *, labels: np.ndarray, svm_rows: int, seed: int) -> Job:
    """A job, with the model's bounds on rows applied: stratified samples of the rows."""
    row = MODELS[model]
    tuning = [
        (
            stratified_sample(labels, fitted, row.search_rows, seed),
            stratified_sample(labels, scored, row.search_rows, seed),
        )
        for fitted, scored in round_.tuning
    ]
    fit = stratified_sample(labels, round_.fit, svm_rows if row.kernel_rows else None, seed)
    return Job(model, group, fold, tuning, fit, round_.test)


def search(job: Job, data: Data, pool: Pool, advance: Callable[[], None]) -> list[Trial]:
    """Tries every candidate on every tuning fold.

    Args:
      job: what to search.
      data: all rows, with the columns of the job's feature group.
      pool: runs the fits.
      advance: called after each fit.

    Returns:
      the trials in the candidates' order. A trial's scores are those of all folds together, so that each row counts
      the same.
    """
    from joblib import delayed

    tried = job.candidates(data.values.shape[1])
    tasks = (
        delayed(_try)((number, fold), job.model, params, data, rows)
        for number, params in enumerate(tried)
        for fold, rows in enumerate(job.tuning)
    )
    found: dict[int, dict[int, tuple[np.ndarray, bool]]] = defaultdict(dict)
    for (number, fold), scores, converged in pool(tasks):
        found[number][fold] = scores, converged
        advance()
    truth = data.labels[np.concatenate([scored for _, scored in job.tuning])]
    return [_trial(params, [found[i][f] for f in sorted(found[i])], truth) for i, params in enumerate(tried)]


def _try(
    key: tuple[int, int], model: str, params: Params, data: Data, rows: tuple[Rows, Rows]
) -> tuple[tuple[int, int], np.ndarray, bool]:
    fitted, scored = rows
    pipeline, converged = fit_pipeline(model, params, data.values[fitted], data.labels[fitted])
    return key, class_scores(pipeline, MODELS[model].scores, data.values[scored], data.classes), converged


def _trial(params: Params, folds: Sequence[tuple[np.ndarray, bool]], truth: np.ndarray) -> Trial:
    scores = np.concatenate([scores for scores, _ in folds])
    temperature = fit_temperature(scores, truth)
    accuracy = float((scores.argmax(axis=1) == truth).mean())
    converged = all(converged for _, converged in folds)
    return Trial(params, accuracy, log_loss(scores, truth, temperature), temperature, converged)


def best(trials: Sequence[Trial]) -> Trial:
    """The lowest log loss; of those that are equal to 9 digits, the first.

    The log loss, not the accuracy: with few validation tracks many candidates share an accuracy, and which of them
    happens to have one track more says little.
    """
    return min(trials, key=lambda trial: round(trial.log_loss, 9))


def fit_pipeline(model: str, params: Params, values: np.ndarray, labels: np.ndarray) -> tuple["Pipeline", bool]:
    """A fitted pipeline, scaler and PCA included, and whether the solver ended by itself."""
    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        pipeline = build(model, params).fit(values, labels)
    stopped = [warning for warning in caught if issubclass(warning.category, ConvergenceWarning)]
    for warning in caught:
        if warning not in stopped:
            warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)
    return pipeline, not stopped


def fit_final(key: int, job: Job, params: Params, data: Data) -> tuple[int, "Pipeline", np.ndarray]:
    """Fits the chosen candidate and scores the test rows; the key is handed back to name the task."""
    pipeline, _ = fit_pipeline(job.model, params, data.values[job.fit], data.labels[job.fit])
    return key, pipeline, class_scores(pipeline, MODELS[job.model].scores, data.values[job.test], data.classes)
