"""Hyper-parameters by grid search on validation rows, over processes; the final fit and its one look at the test."""

import warnings
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from trainers.classical.models import MODELS, Params, build, candidates
from trainers.classical.table import Table, group_columns
from trainers.data.pipeline import available_memory
from trainers.evaluation.calibration import class_scores, fit_score_temperature, log_loss
from transforms.errors import UsageError
from transforms.runtime import console
from transforms.tracks import artist_key

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline


FOLDS = 5

Rows = np.ndarray


@dataclass(frozen=True)
class Round:
    """One fair experiment; no row of `test` is in any of the others, nor is an artist where folds were made here.

    Attributes:
      tuning: (fitted rows, scored rows) of each fold that hyper-parameters are chosen on.
      fit: rows that the chosen model is then fitted on.
      test: rows that it is scored on, once.
    """

    tuning: list[tuple[Rows, Rows]]
    fit: Rows
    test: Rows


def make_rounds(table: Table, refit: bool, seed: int) -> list[Round]:
    """The experiments that a table allows.

    - With a training, a validation and a test split: one. Hyper-parameters are chosen on validation alone.
    - Without a validation split: one, and they are chosen by cross-validation within training, artists kept together.
    - Without any split: five. The rows are dealt into five folds, artists kept together; each fold is the test once,
      the next one is then its validation, and the other three are its training.

    Args:
      table: all splits.
      refit: whether the chosen model is fitted on training and validation together.
      seed: of the folds.

    Raises:
      UsageError: no training or no test split, or too few artists or genres for the folds.
    """
    if not (table.splits != "").any():
        return _cross_validation(table, refit, seed)
    training, validation, test = (table.rows(split) for split in ("training", "validation", "test"))
    for name, rows in (("training", training), ("test", test)):
        if not len(rows):
            raise UsageError(f"{table.name} has no track in the {name} split")
    _check_genres(table, training)
    if len(validation):
        from sklearn.model_selection import PredefinedSplit

        both = np.concatenate([training, validation])
        fold = np.repeat([-1, 0], [len(training), len(validation)])
        tuning = [(both[fitted], both[scored]) for fitted, scored in PredefinedSplit(fold).split()]
        return [Round(tuning, np.sort(both) if refit else training, test)]
    return [Round(_folds_of(table, training, seed), training, test)]


def _cross_validation(table: Table, refit: bool, seed: int) -> list[Round]:
    folds = [scored for _, scored in _folds_of(table, np.arange(len(table.labels)), seed)]
    if len(folds) < 3:
        raise UsageError(f"{table.name} has no split, and too few artists to make training, validation and test of")
    rounds = []
    for i, test in enumerate(folds):
        at = (i + 1) % len(folds)
        training = np.sort(np.concatenate([fold for j, fold in enumerate(folds) if j not in (i, at)]))
        _check_genres(table, training)
        fit = np.sort(np.concatenate([training, folds[at]])) if refit else training
        rounds.append(Round([(training, folds[at])], fit, test))
    return rounds


def _folds_of(table: Table, rows: Rows, seed: int) -> list[tuple[Rows, Rows]]:
    """(others, fold) for each of at most five folds: an artist is in one fold, genres are spread evenly."""
    import warnings

    from sklearn.model_selection import StratifiedGroupKFold

    artists = artist_groups(table)[rows]
    labels = table.labels[rows]
    count = min(FOLDS, len(np.unique(artists)), int(np.bincount(labels).max()))
    if count < 2:
        raise UsageError(f"{table.name}: one artist is too few to choose hyper-parameters; add a validation split")
    splitter = StratifiedGroupKFold(count, shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The least populated class")  # some genres have few tracks
        return [(rows[others], rows[fold]) for others, fold in splitter.split(rows, labels, artists) if len(fold)]


def artist_groups(table: Table) -> np.ndarray:
    """int64 [tracks]: equal for tracks of one artist, blind to case and spacing; unknown artists are all different."""
    names = [
        artist_key(artist) or f"\0{track_id}"
        for artist, track_id in zip(table.artists.tolist(), table.track_ids.tolist(), strict=True)
    ]
    return np.unique(names, return_inverse=True)[1]


def _check_genres(table: Table, training: Rows) -> None:
    if len(np.unique(table.labels[training])) < 2:
        raise UsageError(f"{table.name}: all training tracks have one genre; there is nothing to tell apart")


def stratified_sample(labels: np.ndarray, rows: Rows, most: int | None, seed: int) -> Rows:
    """At most `most` of the rows, each genre in its share and none left out; all rows where there are fewer."""
    if most is None or len(rows) <= most:
        return rows
    shuffled = np.random.default_rng(seed).permutation(rows)
    of_row = labels[shuffled]
    position = np.empty(len(rows))
    for label in np.unique(of_row):
        at = np.flatnonzero(of_row == label)
        position[at] = np.arange(len(at)) / len(at)
    return np.sort(shuffled[np.argsort(position, kind="stable")[:most]])


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
    temperature = fit_score_temperature(scores, truth)
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


COPIES = 6
"""Of the rows' values that a process holds at its peak: fitted rows, scaled, rotated, and the solver's own."""


def make_jobs(
    table: Table, models: Sequence[str], groups: Sequence[str], rounds: Sequence[Round], *, svm_rows: int, seed: int
) -> list[Job]:
    """Every job, group by group; says where a model does not get all rows."""
    jobs = [
        make_job(model, group, fold, round_, labels=table.labels, svm_rows=svm_rows, seed=seed)
        for group in groups
        for model in models
        for fold, round_ in enumerate(rounds)
    ]
    for model in models:
        job = next(job for job in jobs if job.model == model)
        _say_what_is_left_out(job, rounds[job.fold])
    return jobs


def _say_what_is_left_out(job: Job, round_: Round) -> None:
    tuned, all_tuned = len(job.tuning[0][0]), len(round_.tuning[0][0])
    if tuned < all_tuned or len(job.fit) < len(round_.fit):
        console.log(
            f"{job.model}: hyper-parameters are chosen on {tuned:,} of {all_tuned:,} rows, the chosen one is fitted "
            f"on {len(job.fit):,} of {len(round_.fit):,} (samples, each genre in its share), for its time grows with "
            f"the square of the rows{'; --svm-rows sets the second number' if MODELS[job.model].kernel_rows else ''}"
        )


def run_jobs(table: Table, jobs: Sequence[Job], workers: int) -> list[Fitted]:
    """Searches for every job, then fits every chosen candidate; results in the jobs' order, whatever `workers` is."""
    groups = {job.group: group_columns(table.columns, job.group) for job in jobs}
    total = sum(len(job.candidates(len(groups[job.group]))) * len(job.tuning) + 1 for job in jobs)
    results: dict[int, Fitted] = {}
    with _processes(workers) as pool, console.progress("baselines", total, "fits") as progress:
        for group, columns in groups.items():
            of_group = {number: job for number, job in enumerate(jobs) if job.group == group}
            everything = len(columns) == len(table.columns)
            values = table.values if everything else np.ascontiguousarray(table.values[:, columns])
            data = Data(values, table.labels, len(table.genres))
            results |= _run_group(data, of_group, pool, progress.advance)
    _say_what_did_not_converge(jobs, [results[number] for number in sorted(results)])
    return [results[number] for number in sorted(results)]


def _run_group(data: Data, jobs: dict[int, Job], pool: Pool, advance: Callable[[], None]) -> dict[int, Fitted]:
    from joblib import delayed

    trials = {number: search(job, data, pool, advance) for number, job in jobs.items()}
    chosen = {number: best(found) for number, found in trials.items()}
    tasks = (delayed(fit_final)(number, job, chosen[number].params, data) for number, job in jobs.items())
    results = {}
    for number, pipeline, scores in pool(tasks):
        advance()
        results[number] = Fitted(jobs[number], chosen[number], trials[number], pipeline, scores)
    return results


def _say_what_did_not_converge(jobs: Sequence[Job], results: Sequence[Fitted]) -> None:
    for model in dict.fromkeys(job.model for job in jobs):
        trials = [trial for fitted in results if fitted.job.model == model for trial in fitted.trials]
        stopped = sum(not trial.converged for trial in trials)
        if stopped:
            console.log(
                f"{model}: {stopped} of {len(trials)} candidates were stopped before they had converged: see search.csv"
            )


@contextmanager
def _processes(workers: int) -> Iterator[Pool]:
    """Runs tasks in processes of one BLAS thread each; arrays are shared with them as memory-mapped files."""
    from joblib import Parallel, parallel_config

    with parallel_config("loky", inner_max_num_threads=1), Parallel(workers, return_as="generator_unordered") as pool:
        yield pool


def choose_workers(asked: int | None, table: Table) -> int:
    """How many processes: as asked, else the cores, but no more than memory has room for."""
    from joblib import cpu_count

    if asked is not None:
        return asked
    cores = cpu_count()
    fit = int(available_memory() / (COPIES * table.values.nbytes))
    if fit < cores:
        console.log(f"{max(1, fit)} processes instead of {cores}: memory has room for no more (--jobs overrides this)")
    return max(1, min(cores, fit))
