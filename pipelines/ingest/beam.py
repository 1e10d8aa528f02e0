"""The Beam pipeline of `fma ingest`: plan lines in, shards out. Only small lines move between its steps."""

import functools
import hashlib
import platform
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import apache_beam as beam
from apache_beam.metrics import Metrics
from apache_beam.options.pipeline_options import PipelineOptions

from pipelines.job_files import ReadLines, WriteLines, count_progress, read_lines, write_lines
from pipelines.runners import translate_runner_errors
from pipelines.runners.options import LOCAL_RUNNERS, make_pipeline, runner_name
from pipelines.runners.portable import wait
from transforms import storage
from transforms.audio.decoder_process import Limits
from transforms.config import DatasetConfig
from transforms.dataset.build import ShardBuilder
from transforms.dataset.generation import ShardResult
from transforms.dataset.leftovers import ELSEWHERE, PLAN, RESULTS, SHARDS
from transforms.dataset.plan import ShardPlan
from transforms.errors import FmaError, TemplateWrittenError, UnreachableError
from transforms.runtime import console
from transforms.taxonomy import Vocabulary

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


@dataclass(frozen=True)
class BuildJob:
    """A job's settings that workers need beside their plan lines, and the paths of its files."""

    dataset: str  # path of the dataset
    generation: str  # name of the generation to write
    vocabulary: Vocabulary  # of the dataset
    config: DatasetConfig  # the dataset's
    limits: Limits = field(default_factory=Limits)  # what one track may cost
    ticks: str = ""  # local folder where workers of this machine note each finished track, or ""
    retried: bool = False  # whether the runner itself builds a shard again that failed
    code: str = field(default_factory=code_digest)  # `code_digest` of the program that made the job

    @property
    def folder(self) -> str:
        """The folder of the plan and the results while the job runs."""
        return storage.join(self.dataset, PLAN, self.generation)

    @property
    def plan_path(self) -> str:
        """The file with one line for each shard to build."""
        return storage.join(self.folder, SHARDS)

    @property
    def results_path(self) -> str:
        """The file with one line for each shard that was built."""
        return storage.join(self.folder, RESULTS)

    @property
    def elsewhere_path(self) -> str:
        """A file that exists where the job does not end with this process; holds `code`. See `jobs_elsewhere`."""
        return storage.join(self.folder, ELSEWHERE)


class BuildShard(beam.DoFn):
    """Builds the shards of plan lines with `ShardBuilder`; yields `ShardResult` lines."""

    def __init__(self, job: BuildJob):
        self._job = job

    def setup(self) -> None:
        job = self._job
        self._builder = ShardBuilder(
            job.dataset, job.generation, job.vocabulary, job.config, limits=job.limits, on_track=self._on_track
        )

    def process(self, line: str) -> Iterator[str]:
        job, plan = self._job, ShardPlan.from_line(line)
        if job.code != code_digest():
            yield ShardResult(plan.name, error=OTHER_CODE).to_line()
        else:
            with count_progress(job.ticks, plan.name) as self._tick:
                yield self._build(plan).to_line()

    def _build(self, plan: ShardPlan) -> ShardResult:
        try:
            return self._builder.build(plan)
        except UnreachableError as error:
            if self._job.retried:
                raise
            return ShardResult(plan.name, error=f"{plan.name}: {error}")

    def teardown(self) -> None:
        self._builder.close()

    def _on_track(self, reason: str) -> None:
        Metrics.counter("fma", f"failed_{reason}" if reason else "ingested").inc()
        self._tick(b"x" if reason else b".")


class BuildShards(beam.PTransform):
    """Builds every shard of a job's plan."""

    def __init__(self, job: BuildJob):
        super().__init__()
        self._job = job

    def expand(self, begin: beam.pvalue.PBegin) -> beam.PCollection:
        shards = begin | "OneShardEach" >> ReadLines(self._job.plan_path)
        return shards | "BuildShard" >> beam.ParDo(BuildShard(self._job))


def run_build(job: BuildJob, plan: list[ShardPlan], options: PipelineOptions) -> list[ShardResult]:
    """Write the plan, run the pipeline to its end and return the shards' results.

    A job elsewhere that an earlier command of this version began, and that has succeeded since, is not run again.

    Raises:
      FmaError: a shard could not be built for a reason that the user can fix, or the runner lost one.
      TemplateWrittenError: the options ask for a template.
    """
    planned = {shard.name for shard in plan}
    if storage.exists(job.elsewhere_path) and storage.read_bytes(job.elsewhere_path) == job.code.encode():
        found = read_results(job)
        if set(found) == planned and not any(result.error for result in found.values()):
            console.log("using what an earlier command's job has built")
            return list(found.values())
    run_pipeline(job, plan, options)
    found = read_results(job)
    errors = sorted(result.error for result in found.values() if result.error)
    if errors:
        raise FmaError(f"{errors[0]} ({len(errors)} of {len(plan)} shards failed)")
    if planned != set(found):
        raise FmaError(f"the runner lost {len(planned - set(found))} of {len(planned)} shards; run the command again")
    return list(found.values())


def read_results(job: BuildJob) -> dict[str, ShardResult]:
    """Return the shards' results by name; {} where the job has not ended."""
    try:
        return {result.name: result for result in map(ShardResult.from_line, read_lines(job.results_path))}
    except FileNotFoundError:
        return {}


def run_pipeline(job: BuildJob, plan: list[ShardPlan], options: PipelineOptions) -> None:
    """Run the job to its end.

    Raises:
      FmaError: it failed.
      TemplateWrittenError: the options ask for a template.
    """
    write_lines((shard.to_line() for shard in plan), job.plan_path)
    if runner_name(options) not in LOCAL_RUNNERS:
        storage.write_bytes(job.elsewhere_path, job.code.encode())
    with translate_runner_errors(options, job.dataset):
        pipeline = make_pipeline(options)
        results = pipeline | BuildShards(job)
        results | "WriteResults" >> WriteLines(job.results_path)
        running = pipeline.run()
        template = options.get_all_options().get("template_location")
        if template:
            raise TemplateWrittenError(
                f"written to {template}, and not run. When the job has been run from there, the same command "
                "without --template_location uses what it has built"
            )
        wait(running, options)


def describe_job(options: PipelineOptions) -> dict[str, str]:
    """Return runner and versions for the manifest: what may move a value by a rounding step."""
    import numpy
    import scipy
    import soundfile
    import soxr

    return {
        "runner": str(options.get_all_options()["runner"]),
        "beam": beam.version.__version__,
        "python": platform.python_version(),
        "machine": platform.machine(),
        "numpy": numpy.__version__,
        "scipy": scipy.__version__,
        "soxr": soxr.__version__,
        "soundfile": soundfile.__version__,
        "libsndfile": soundfile.__libsndfile_version__,
        "av": version("av"),
    }
