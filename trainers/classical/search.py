"""Hyper-parameters by grid search on validation rows, over processes; then the final fit, scored on test once."""

import os
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np

from trainers.classical.fusion import Blocks, find_blocks, fit_fusion
from trainers.classical.models import MODELS, Params, build, candidates
from trainers.classical.table import Table, group_columns
from trainers.data.pipeline import available_memory
from trainers.evaluation.calibration import class_scores, fit_score_temperature, log_loss
from trainers.evaluation.folds import Rows, can_choose, check_genres, count_folds, deal_folds, split_by_artist
from transforms.errors import UsageError
from transforms.runtime import children, console
from transforms.tracks import SPLITS

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline

COPIES = 6  # of the rows' values that a process holds at its peak: fitted rows, scaled, rotated, and the solver's own

Pool = Callable[[Iterable[Any]], Iterable[Any]]  # joblib.Parallel: runs tasks, gives their results in order


@dataclass(frozen=True)
class Round:
    """An experiment; no row of `test` is in any of the others, nor is an artist where folds were made here."""

    tuning: list[tuple[Rows, Rows]]  # (fitted rows, scored rows) of each fold that hyper-parameters are chosen on
    fit: Rows  # rows that the chosen model is then fitted on
    test: Rows  # rows that it is scored on, once


@dataclass(frozen=True)
class Job(Round):
    """A model on a feature group in a round, whose rows are sampled down to the model's limits."""

    model: str  # a key of `MODELS`
    group: str  # name of the feature group
    fold: int  # the round's number

    def candidates(self, columns: int) -> list[Params]:
        """Return what the search tries on that many columns."""
        return candidates(self.model, columns, min(len(fitted) for fitted, _ in self.tuning))


@dataclass(frozen=True)
class Data:
    """Values float32 [rows, columns] of a feature group, labels int64 [rows], and the number of classes."""

    values: np.ndarray
    labels: np.ndarray
    classes: int
    blocks: Blocks = field(default_factory=dict)  # of the columns, for the fusion


@dataclass(frozen=True)
class Trial:
    """A candidate on the validation rows."""

    params: Params  # of the pipeline
    accuracy: float  # share of right predictions
    log_loss: float  # at the best temperature; the lowest wins
    temperature: float  # for probabilities
    converged: bool  # whether every fit ended by itself


@dataclass(frozen=True)
class Fitted:
    """A job's result: the chosen trial, the fitted pipeline and its scores, float32 [test rows, classes]."""

    job: Job
    chosen: Trial
    trials: list[Trial]
    pipeline: "Pipeline"
    scores: np.ndarray


def make_rounds(table: Table, refit: bool, seed: int, folds: int | None = None) -> list[Round]:
    """Return the experiments that a table allows.

    - With a training, a validation and a test split: one. Hyper-parameters are chosen on validation, or where it has
      too few tracks of the genres (`can_choose`), by cross-validation within training and validation, artists kept
      together.
    - Without any split, or with `folds`: that many (default `FOLDS`). The rows are dealt into folds, artists kept
      together; each fold is the test once, the next one is then its validation, and the others are its training.

    With `refit`, the chosen model is fitted on training and validation together.

    Raises:
      UsageError: no training or no test split, or too few artists or genres for the folds.
    """
    if folds or not (table.splits != "").any():
        return _cross_validation(table, refit, seed, folds)
    splits = [table.rows(split) for split in SPLITS]
    for name, rows in zip(SPLITS, splits, strict=True):
        if not len(rows) and name != "validation":
            raise UsageError(
                f"{table.name} has no track in the {name} split: add music by other artists, or give splits in a csv"
            )
    check_genres(table, splits[0])
    found = _make_round(table, splits, refit=refit, seed=seed)
    if len(found.tuning) > 1:
        console.log(
            f"{console.counted(len(splits[1]), 'validation track')}, too few of some genre: hyper-parameters are "
            "chosen by cross-validation within training and validation instead, artists kept together"
        )
    return [found]


def _make_round(table: Table, splits: Sequence[Rows], *, refit: bool, seed: int) -> Round:
    """Return an experiment on rows of training, validation and test."""
    training, validation, test = splits
    both = np.sort(np.concatenate([training, validation]))
    tuning = [(training, validation)]
    if not len(validation) or (
        count_folds(table, both) > 1 and not can_choose(table.labels[training], table.labels[validation])
    ):
        tuning = split_by_artist(table, both, seed)
    return Round(tuning, both if refit else training, test)


def _cross_validation(table: Table, refit: bool, seed: int, count: int | None) -> list[Round]:
    return [_make_round(table, splits, refit=refit, seed=seed) for splits in deal_folds(table, seed, count)]


def stratified_sample(labels: np.ndarray, rows: Rows, most: int | None, seed: int) -> Rows:
    """Return at most `most` of the rows, each genre in its share and none left out."""
    if most is None or len(rows) <= most:
        return rows
    shuffled = np.random.default_rng(seed).permutation(rows)
    of_row = labels[shuffled]
    position = np.empty(len(rows))
    for label in np.unique(of_row):
        at = np.flatnonzero(of_row == label)
        position[at] = np.arange(len(at)) / len(at)
    return np.sort(shuffled[np.argsort(position, kind="stable")[:most]])


def make_jobs(
    table: Table, models: Sequence[str], groups: Sequence[str], rounds: Sequence[Round], *, svm_rows: int, seed: int
) -> list[Job]:
    """Return every job, group by group, and log which models get a sample of the rows only."""

    def sample(rows: Rows, most: int | None) -> Rows:
        return stratified_sample(table.labels, rows, most, seed)

    jobs = []
    for group, model, (fold, rows) in product(groups, models, enumerate(rounds)):
        most, tuning = MODELS[model].search_rows, rows.tuning
        if MODELS[model].fused and count_folds(table, rows.fit) > 1:
            tuning = split_by_artist(table, rows.fit, seed)
        tuning = [(sample(fitted, most), sample(scored, most)) for fitted, scored in tuning]
        fit = sample(rows.fit, svm_rows if MODELS[model].kernel_rows else None)
        jobs.append(Job(tuning, fit, rows.test, model, group, fold))
    for model in models:  # the first job of each is in the first round
        if MODELS[model].search_rows:
            _log_sample(next(job for job in jobs if job.model == model), rounds[0])
    return jobs


def _log_sample(job: Job, rows: Round) -> None:
    tuned, all_tuned = len(job.tuning[0][0]), len(rows.tuning[0][0])
    if tuned < all_tuned or len(job.fit) < len(rows.fit):
        console.log(
            f"{job.model}: hyper-parameters are chosen on {tuned:,} of {all_tuned:,} rows, the chosen one is fitted "
            f"on {len(job.fit):,} of {len(rows.fit):,} (samples, each genre in its share), for its time grows with "
            f"the square of the rows{'; --svm-rows sets the second number' if MODELS[job.model].kernel_rows else ''}"
        )


def run_jobs(table: Table, jobs: Sequence[Job], workers: int) -> list[Fitted]:
    """Search for every job, then fit every chosen candidate; equal results in the jobs' order for any `workers`."""
    groups = {job.group: group_columns(table.columns, job.group) for job in jobs}
    total = sum(len(job.candidates(len(groups[job.group]))) * len(job.tuning) + 1 for job in jobs)
    results: list[Fitted] = []
    with _start_processes(workers) as pool, console.progress("baselines", total, "fits") as progress:

        def run(tasks: Iterable[Any]) -> Iterator[Any]:
            for result in pool(tasks):
                progress.advance()
                yield result

        for group, columns in groups.items():  # jobs come group by group
            everything = len(columns) == len(table.columns)
            values = table.values if everything else np.ascontiguousarray(table.values[:, columns])
            blocks = find_blocks([table.columns[at] for at in columns], table.genres)
            data = Data(values, table.labels, len(table.genres), blocks)
            results += _run_group(data, [job for job in jobs if job.group == group], run)
    _log_convergence(results)
    return results


def _run_group(data: Data, jobs: list[Job], pool: Pool) -> list[Fitted]:
    from joblib import delayed

    trials = [search(job, data, pool) for job in jobs]
    chosen = [best_trial(found) for found in trials]
    tasks = (delayed(_fit_and_test)(job, trial.params, data) for job, trial in zip(jobs, chosen, strict=True))
    return [
        Fitted(job, trial, found, pipeline, scores)
        for job, trial, found, (pipeline, scores) in zip(jobs, chosen, trials, pool(tasks), strict=True)
    ]


def search(job: Job, data: Data, pool: Pool) -> list[Trial]:
    """Try every candidate on every tuning fold, in their order; a trial counts the rows of all its folds alike.

    `data` has all rows, and the columns of the job's feature group.
    """
    from joblib import delayed

    tried = job.candidates(data.values.shape[1])
    fit = delayed(_fit_and_score)
    results = list(pool(fit(job.model, params, data, rows) for params in tried for rows in job.tuning))
    truth, folds = data.labels[np.concatenate([scored for _, scored in job.tuning])], len(job.tuning)
    return [_make_trial(params, results[i * folds : (i + 1) * folds], truth) for i, params in enumerate(tried)]


def _fit_and_score(model: str, params: Params, data: Data, rows: tuple[Rows, Rows]) -> tuple[np.ndarray, bool]:
    fitted, scored = rows
    pipeline, converged = fit_pipeline(model, params, data, fitted)
    return class_scores(pipeline, MODELS[model].scores, data.values[scored], data.classes), converged


def _make_trial(params: Params, folds: Sequence[tuple[np.ndarray, bool]], truth: np.ndarray) -> Trial:
    scores = np.concatenate([scores for scores, _ in folds])
    temperature = fit_score_temperature(scores, truth)
    accuracy = float((scores.argmax(axis=1) == truth).mean())
    converged = all(converged for _, converged in folds)
    return Trial(params, accuracy, log_loss(scores, truth, temperature), temperature, converged)


def best_trial(trials: Sequence[Trial]) -> Trial:
    """Return the trial with the lowest log loss; of those that are equal to 9 digits, the first.

    The log loss, not the accuracy: with few validation tracks many candidates share an accuracy, and which of them
    happens to have one track more says little.
    """
    return min(trials, key=lambda trial: round(trial.log_loss, 9))


def fit_pipeline(model: str, params: Params, data: Data, rows: Rows) -> tuple["Pipeline", bool]:
    """Fit a pipeline, scaler and PCA included, on some rows; returns it, and whether the solver ended by itself."""
    from sklearn.exceptions import ConvergenceWarning

    values, labels = data.values[rows], data.labels[rows]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        if MODELS[model].fused:
            pipeline = fit_fusion(data.blocks, params["C"], values, labels)
        else:
            pipeline = build(model, params).fit(values, labels)
    stopped = [warning for warning in caught if issubclass(warning.category, ConvergenceWarning)]
    for warning in caught:
        if warning not in stopped:
            warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)
    return pipeline, not stopped


def _fit_and_test(job: Job, params: Params, data: Data) -> tuple["Pipeline", np.ndarray]:
    pipeline, _ = fit_pipeline(job.model, params, data, job.fit)
    return pipeline, class_scores(pipeline, MODELS[job.model].scores, data.values[job.test], data.classes)


def _log_convergence(results: Sequence[Fitted]) -> None:
    for model in dict.fromkeys(fitted.job.model for fitted in results):
        trials = [trial for fitted in results if fitted.job.model == model for trial in fitted.trials]
        stopped = sum(not trial.converged for trial in trials)
        if stopped:
            console.log(
                f"{model}: {stopped} of {len(trials)} candidates were stopped before they had converged: see search.csv"
            )


@contextmanager
def _start_processes(workers: int) -> Iterator[Pool]:
    """Start processes of one BLAS thread each; arrays are shared with them as memory-mapped files."""
    from joblib import Parallel, parallel_config

    attaching = {"initializer": children.attach, "initargs": (os.getpid(),)}
    with (
        children.safe_environment(),
        parallel_config("loky", inner_max_num_threads=1, **attaching),
        Parallel(workers, return_as="generator") as pool,
    ):
        yield pool


def choose_workers(table: Table) -> int:
    """Return how many processes to start: one a core, but no more than memory has room for."""
    from joblib import cpu_count

    cores = cpu_count()
    fit = int(available_memory() / (COPIES * table.values.nbytes))
    if fit < cores:
        console.log(f"{max(1, fit)} processes instead of {cores}: memory has room for no more (--jobs overrides this)")
    return max(1, min(cores, fit))
