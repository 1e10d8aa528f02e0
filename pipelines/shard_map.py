"""Work on many shards on Beam: `transforms.dataset.shard_map` has it on this machine, with the same functions."""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions

from pipelines.job_files import count_progress
from pipelines.runners import prepare_options, sees_this_machine
from pipelines.runners.dataflow import own_folders
from pipelines.shard_jobs import OTHER_CODE, ShardJob, attempt, code_digest, run_job
from transforms import storage
from transforms.dataset.generation import ShardResult
from transforms.dataset.leftovers import announce, remove_list, scratch_folder
from transforms.dataset.manifest import Manifest
from transforms.dataset.shard_map import ShardFunction, ShardTask
from transforms.runtime import temporary
from transforms.runtime.stderr import capture_native_stderr


@dataclass(frozen=True, kw_only=True)
class MapJob(ShardJob):
    """The settings that workers need beside their plan lines."""

    function: ShardFunction  # of a task's line
    unit: str = "shards"

    def count(self, result: ShardResult) -> int:
        """Return how much of the progress a result stands for."""
        return 1


class RunFunction(beam.DoFn):
    """Runs a job's function on plan lines, which have the task's name before a tab, and keeps the results."""

    def __init__(self, job: MapJob):
        self._job = job

    def process(self, line: str) -> None:
        job = self._job
        name, _, task = line.partition("\t")
        if job.code != code_digest():
            job.keep(line, ShardResult(name, error=OTHER_CODE))
            return
        with count_progress(job.ticks, name) as tick:
            job.keep(line, attempt(job, name, lambda: job.function(task)))
            tick(b".")


@dataclass(frozen=True, slots=True)
class BeamMap:
    """A `ShardMap` whose workers are those of the runner that Beam's options name."""

    dataset: str  # its path
    command: str  # for the names of jobs
    arguments: tuple[str, ...]  # the user's options for Beam
    manifest: Manifest  # its manifest
    workers: int | None = None  # local worker processes, or None for one for each core

    @property
    def needs_lock(self) -> bool:
        """Whether files lie in the dataset's folder while the work is done: workers see nothing else."""
        return not (storage.is_local(self.dataset) and sees_this_machine(PipelineOptions(list(self.arguments))))

    @contextmanager
    def folder(self) -> Iterator[str]:
        """Yield a new folder that all workers see, and remove it; where they are elsewhere, it is in the dataset's."""
        if not self.needs_lock:
            with temporary.new_folder() as here:
                yield here
            return
        name = f"0000-{os.urandom(4).hex()}"
        folder = scratch_folder(name)
        announce(self.dataset, name, [f"{folder}/"])
        try:
            yield storage.join(self.dataset, folder)
        finally:
            remove_list(self.dataset, name, self.manifest)

    def run(
        self,
        label: str,
        function: ShardFunction,
        tasks: Sequence[ShardTask],
        *,
        generation: str = "",
        note: Callable[[], str] = str,
    ) -> Iterator[ShardResult]:
        """Return the tasks' results in order, when all are there, so that `note` is not asked; see `ShardMap`."""
        if generation:
            found = self._run(label, function, tasks, self.dataset, generation)
        else:
            with self.folder() as folder:
                found = self._run(label, function, tasks, folder, f"0000-{os.urandom(4).hex()}")
        return (found[task.name] for task in tasks)

    def _run(
        self, label: str, function: ShardFunction, tasks: Sequence[ShardTask], place: str, name: str
    ) -> dict[str, ShardResult]:
        """Run a job whose plan and results lie below `place`; return its results by their names."""
        given, tracks = list(self.arguments), self.manifest.totals["tracks"]
        options = prepare_options(given, place, self.command, name, tracks=tracks, workers=self.workers)
        announce(place, name, own_folders(options, place))
        job = MapJob(dataset=place, name=name, command=label, function=function)
        plan = [f"{task.name}\t{task.line}" for task in tasks]
        with capture_native_stderr():
            results = run_job(job, plan, lambda job: "Run" >> beam.ParDo(RunFunction(job)), options, total=len(plan))
        return {result.name: result for result in results}
