"""Jobs that make files of a dataset shard by shard: a plan line for each shard goes out, a worker writes its files.

Then it keeps the shard's result in a file. Only plan lines move through the runner, the launcher reads the results and
commits, and after a job that died those that are there need not be made again.
"""

import functools
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from pathlib import Path
from typing import TypeVar

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions

from pipelines.job_files import ReadLines, write_lines
from pipelines.runners import progress, translate_runner_errors
from pipelines.runners.options import LOCAL_RUNNERS, RETRYING_RUNNERS, make_pipeline, runner_name
from pipelines.runners.portable import wait
from transforms import storage
from transforms.dataset.generation import ShardResult
from transforms.dataset.leftovers import ELSEWHERE, PLAN, SHARDS, result_path
from transforms.dataset.shard_results import find_built, keep_result, read_results
from transforms.errors import FmaError, TemplateWrittenError, UnreachableError
from transforms.runtime import console
from transforms.runtime.os_errors import os_message

OTHER_CODE = (
    "the workers run another version of this program than the one that started the job; rebuild their image "
    "(--sdk_container_image), or install this one there with --setup_file ./setup.py"
)

WORKER_PACKAGES = ("pipelines", "transforms")
NOT_IN_WORKERS = ("commands", "corpus", "workflow.py")
"""Folders and files at the top of these packages that only the launcher runs."""


@functools.cache
def code_digest() -> str:
    """Return 12 hexadecimal digits that are equal where workers run equal source, wherever it is installed."""
    specs = {package: find_spec(package) for package in WORKER_PACKAGES}
    return digest_source({package: Path(spec.origin).parent for package, spec in specs.items() if spec and spec.origin})


def digest_source(packages: Mapping[str, Path]) -> str:
    """Return `code_digest` of packages, by the folders where they lie."""
    hashed = hashlib.sha256()
    for package, folder in packages.items():
        for path in sorted(folder.rglob("*.py")):
            relative = path.relative_to(folder)
            if relative.parts[0] not in NOT_IN_WORKERS:
                content = path.read_bytes()
                hashed.update(f"{package}/{relative} {len(content)}\n".encode() + content)
    return hashed.hexdigest()[:12]


@dataclass(frozen=True, kw_only=True)
class ShardJob:
    """A job as its launcher and its workers see it, and the paths of its files."""

    dataset: str  # path of the dataset
    name: str  # of its plan: a generation that it writes, or another name of that form
    command: str  # that runs it, such as `ingest`, for the progress
    unit: str = "tracks"  # of the progress
    ticks: str = ""  # local folder where workers of this machine note each finished track, or ""
    retried: bool = False  # whether the runner itself makes a shard again that failed
    code: str = field(default_factory=code_digest)  # `code_digest` of the program that made the job

    @property
    def settings(self) -> str:
        """What a shard's result depends on beside its plan line, the program and what the job's name stands for."""
        return ""

    @property
    def plan_path(self) -> str:
        """The file with one line for each shard to make."""
        return storage.join(self.dataset, PLAN, self.name, SHARDS)

    @property
    def elsewhere_path(self) -> str:
        """A file that exists where the job does not end with this process; see `jobs_elsewhere`."""
        return storage.join(self.dataset, PLAN, self.name, ELSEWHERE)

    def count(self, result: ShardResult) -> int:
        """Return how much of the progress a result stands for."""
        return result.tracks

    def key(self, line: str) -> str:
        """Return the name under which the result of a plan line is kept."""
        return hashlib.sha256(json.dumps([self.code, self.settings, line]).encode()).hexdigest()[:32]

    def keep(self, line: str, result: ShardResult) -> None:
        """Keep the result of a plan line; for a worker that has written the shard's files, or could not."""
        keep_result(self.dataset, self.name, self.key(line), result)


def attempt(job: ShardJob, name: str, make: Callable[[], ShardResult]) -> ShardResult:
    """Return what `make` does in a worker, with an error that is the user's to fix in the result.

    Raises:
      UnreachableError: the shard's place cannot be reached, and the runner tries again.
    """
    try:
        return make()
    except UnreachableError as error:
        if job.retried:
            raise
        return ShardResult(name, error=str(error))
    except FmaError as error:
        return ShardResult(name, error=str(error))
    except OSError as error:
        return ShardResult(name, error=f"{name}: {os_message(error)}")


Job = TypeVar("Job", bound=ShardJob)


def run_job(
    job: Job, plan: Sequence[str], make: Callable[[Job], beam.PTransform], options: PipelineOptions, *, total: int
) -> list[ShardResult]:
    """Make the shards of a plan that no earlier job has made, and return the results of all.

    Args:
      plan: a line for each shard.
      make: returns what makes the shards of a job from their lines and keeps their results.
      total: of the progress, in the job's unit.

    Raises:
      FmaError: a shard could not be made for a reason that the user can fix, or the runner lost one.
      TemplateWrittenError: the options ask for a template.
    """
    lines = {job.key(line): line for line in plan}
    found = find_built(job.dataset, job.name, lines)
    missing = {key: line for key, line in lines.items() if key not in found}
    if found:
        console.log(f"{len(found):,} of {console.counted(len(lines), 'shard')} were built before")
    if missing:
        # Neither what failed before nor what does not describe its files any more is to be taken for what is made now.
        storage.remove_listed(job.dataset, [result_path(job.name, key) for key in missing])
        write_lines(missing.values(), job.plan_path)
        before = sum(job.count(result) for result in found.values())
        with progress(options, job.command, total, job.unit, before) as ticks:
            retried = runner_name(options) in RETRYING_RUNNERS
            _run_pipeline(replace(job, ticks=ticks, retried=retried), make, options)
        found |= read_results(job.dataset, job.name, missing)
    errors = sorted(result.error for result in found.values() if result.error)
    if errors:
        raise FmaError(f"{errors[0]} ({len(errors)} of {len(lines)} shards failed)")
    lost = len(lines) - len(found)
    if lost:
        raise FmaError(f"the runner lost {lost} of {len(lines)} shards; run the command again")
    return list(found.values())


def _run_pipeline(job: Job, make: Callable[[Job], beam.PTransform], options: PipelineOptions) -> None:
    """Run the job to its end.

    Raises:
      FmaError: it failed.
      TemplateWrittenError: the options ask for a template.
    """
    if runner_name(options) not in LOCAL_RUNNERS:
        storage.write_bytes(job.elsewhere_path, b"")
    with translate_runner_errors(options, job.dataset):
        pipeline = make_pipeline(options)
        _ = pipeline | "OneShardEach" >> ReadLines(job.plan_path) | make(job)
        running = pipeline.run()
        template = options.get_all_options().get("template_location")
        if template:
            raise TemplateWrittenError(
                f"written to {template}, and not run. When the job has been run from there, the same command "
                "without --template_location uses what it has built"
            )
        wait(running, options)
