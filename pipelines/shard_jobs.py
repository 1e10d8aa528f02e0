"""Jobs that make files of a dataset shard by shard: a plan line for each shard goes out, a result line comes back.

Workers write the files; only small lines move through the runner. The launcher commits what has come back.
"""

import functools
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions

from pipelines.job_files import ReadLines, WriteLines, read_lines, write_lines
from pipelines.runners import translate_runner_errors
from pipelines.runners.options import LOCAL_RUNNERS, make_pipeline, runner_name
from pipelines.runners.portable import wait
from transforms import storage
from transforms.dataset.generation import ShardResult
from transforms.dataset.leftovers import ELSEWHERE, PLAN, RESULTS, SHARDS
from transforms.errors import FmaError, TemplateWrittenError
from transforms.runtime import console

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
    ticks: str = ""  # local folder where workers of this machine note each finished track, or ""
    retried: bool = False  # whether the runner itself makes a shard again that failed
    code: str = field(default_factory=code_digest)  # `code_digest` of the program that made the job

    @property
    def folder(self) -> str:
        """The folder of the plan and the results while the job runs."""
        return storage.join(self.dataset, PLAN, self.name)

    @property
    def plan_path(self) -> str:
        """The file with one line for each shard to make."""
        return storage.join(self.folder, SHARDS)

    @property
    def results_path(self) -> str:
        """The file with one line for each shard that was made."""
        return storage.join(self.folder, RESULTS)

    @property
    def elsewhere_path(self) -> str:
        """A file that exists where the job does not end with this process; holds `code`. See `jobs_elsewhere`."""
        return storage.join(self.folder, ELSEWHERE)


class MakeShards(beam.PTransform):
    """Makes every shard of a job's plan: `make` takes plan lines and gives `ShardResult` lines."""

    def __init__(self, job: ShardJob, make: beam.PTransform):
        super().__init__()
        self._job, self._make = job, make

    def expand(self, begin: beam.pvalue.PBegin) -> beam.PCollection:
        shards = begin | "OneShardEach" >> ReadLines(self._job.plan_path)
        return shards | self._make | "WriteResults" >> WriteLines(self._job.results_path)


def run_job(
    job: ShardJob, plan: Sequence[tuple[str, str]], make: beam.PTransform, options: PipelineOptions
) -> list[ShardResult]:
    """Write the plan, run the pipeline to its end and return the shards' results.

    Args:
      plan: (the name that its result has, its line) of each shard.
      make: from these lines to `ShardResult` lines.

    A job elsewhere that an earlier command of this version began, and that has succeeded since, is not run again.

    Raises:
      FmaError: a shard could not be made for a reason that the user can fix, or the runner lost one.
      TemplateWrittenError: the options ask for a template.
    """
    planned = {name for name, _ in plan}
    if storage.exists(job.elsewhere_path) and storage.read_bytes(job.elsewhere_path) == job.code.encode():
        found = read_results(job)
        if set(found) == planned and not any(result.error for result in found.values()):
            console.log("using what an earlier command's job has built")
            return list(found.values())
    write_lines((line for _, line in plan), job.plan_path)
    _run_pipeline(job, make, options)
    found = read_results(job)
    errors = sorted(result.error for result in found.values() if result.error)
    if errors:
        raise FmaError(f"{errors[0]} ({len(errors)} of {len(plan)} shards failed)")
    if planned != set(found):
        raise FmaError(f"the runner lost {len(planned - set(found))} of {len(planned)} shards; run the command again")
    return list(found.values())


def read_results(job: ShardJob) -> dict[str, ShardResult]:
    """Return the shards' results by name; {} where the job has not ended."""
    try:
        return {result.name: result for result in map(ShardResult.from_line, read_lines(job.results_path))}
    except FileNotFoundError:
        return {}


def _run_pipeline(job: ShardJob, make: beam.PTransform, options: PipelineOptions) -> None:
    """Run the job to its end.

    Raises:
      FmaError: it failed.
      TemplateWrittenError: the options ask for a template.
    """
    if runner_name(options) not in LOCAL_RUNNERS:
        storage.write_bytes(job.elsewhere_path, job.code.encode())
    with translate_runner_errors(options, job.dataset):
        pipeline = make_pipeline(options)
        _ = pipeline | MakeShards(job, make)
        running = pipeline.run()
        template = options.get_all_options().get("template_location")
        if template:
            raise TemplateWrittenError(
                f"written to {template}, and not run. When the job has been run from there, the same command "
                "without --template_location uses what it has built"
            )
        wait(running, options)
