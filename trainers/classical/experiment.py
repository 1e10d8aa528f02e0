"""All jobs of a run: models x feature groups x rounds, over processes, with one progress line."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np

from trainers.classical.data import Table
from trainers.classical.groups import group_columns
from trainers.classical.models import MODELS
from trainers.classical.search import Data, Fitted, Job, Pool, best, fit_final, make_job, search
from trainers.classical.splits import Round
from trainers.data.budget import available_memory
from transforms.runtime import console

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
