"""The Beam pipeline: plan lines in, shards out. Only small lines move between its steps."""

import os
from collections.abc import Iterator
from dataclasses import dataclass, field

import apache_beam as beam
from apache_beam.metrics import Metrics
from apache_beam.options.pipeline_options import PipelineOptions

from pipelines.disk_errors import disk_errors_named
from pipelines.lines import ReadLines, WriteLines, read_lines, write_lines
from pipelines.workers import watched_workers
from transforms import storage
from transforms.config import DatasetConfig
from transforms.errors import FmaError
from transforms.plan import ShardPlan
from transforms.sandbox import Limits
from transforms.shards import ShardBuilder, ShardResult


@dataclass(frozen=True)
class BuildJob:
    """What a worker has to know beside its plan lines.

    Attributes:
      dataset: path of the dataset.
      generation: name of the generation to write.
      labels: genre names in label order.
      config: the dataset's.
      limits: what one track may cost.
      ticks: local folder where workers of this machine note each finished track, or "".
    """

    dataset: str
    generation: str
    labels: tuple[str, ...]
    config: DatasetConfig
    limits: Limits = field(default_factory=Limits)
    ticks: str = ""

    @property
    def folder(self) -> str:
        """Where the plan and the results lie while the job runs."""
        return storage.join(self.dataset, "plan", self.generation)

    @property
    def plan_path(self) -> str:
        """One line for each shard to build."""
        return storage.join(self.folder, "plan.jsonl")

    @property
    def results_path(self) -> str:
        """One line for each shard that was built."""
        return storage.join(self.folder, "results.jsonl")


class BuildShard(beam.DoFn):
    """`ShardBuilder.build` for plan lines; yields `ShardResult` lines."""

    def __init__(self, job: BuildJob):
        self._job = job

    def setup(self) -> None:
        job = self._job
        self._ticks = _Ticks(job.ticks)
        self._builder = ShardBuilder(
            job.dataset, job.generation, job.labels, job.config, limits=job.limits, on_track=self._on_track
        )

    def process(self, line: str) -> Iterator[str]:
        yield self._builder.build(ShardPlan.from_line(line)).to_line()

    def teardown(self) -> None:
        self._builder.close()
        self._ticks.close()

    def _on_track(self, reason: str) -> None:
        Metrics.counter("fma", f"failed_{reason}" if reason else "ingested").inc()
        self._ticks.add(reason)


class _Ticks:
    """One byte for each finished track, in a file of this worker's own: how the launcher sees progress locally."""

    def __init__(self, folder: str):
        known = folder and os.path.isdir(folder)
        name = f"{os.getpid()}-{os.urandom(4).hex()}"
        self._file = open(os.path.join(folder, name), "wb", buffering=0) if known else None  # noqa: SIM115

    def add(self, reason: str) -> None:
        if self._file:
            self._file.write(b"x" if reason else b".")

    def close(self) -> None:
        if self._file:
            self._file.close()


class BuildShards(beam.PTransform):
    """Builds every shard of a plan.

    Args:
      job: what and where.
    """

    def __init__(self, job: BuildJob):
        super().__init__()
        self._job = job

    def expand(self, begin: beam.pvalue.PBegin) -> beam.PCollection:
        return (
            begin | "OneShardEach" >> ReadLines(self._job.plan_path) | "BuildShard" >> beam.ParDo(BuildShard(self._job))
        )


def run_build(job: BuildJob, plan: list[ShardPlan], options: PipelineOptions) -> list[ShardResult]:
    """Writes the plan, runs the pipeline to its end and reads what the shards came to.

    Raises:
      FmaError: a shard could not be built for a reason that a user can mend, or the runner lost one.
    """
    write_lines((shard.to_line() for shard in plan), job.plan_path)
    pipeline = beam.Pipeline(options=options)
    results = pipeline | BuildShards(job)
    results | "WriteResults" >> WriteLines(job.results_path)
    with watched_workers(), disk_errors_named(job.dataset):
        pipeline.run().wait_until_finish()
    found = {result.name: result for result in map(ShardResult.from_line, read_lines(job.results_path))}
    errors = sorted(result.error for result in found.values() if result.error)
    if errors:
        raise FmaError(f"{errors[0]} ({len(errors)} of {len(plan)} shards failed)")
    planned = {shard.name for shard in plan}
    if planned != set(found):
        raise FmaError(f"the runner lost {len(planned - set(found))} of {len(planned)} shards; run the command again")
    return list(found.values())


def describe_job(options: PipelineOptions) -> dict[str, str]:
    """Runner and versions for the manifest: what may move a value by a rounding step."""
    import platform

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
    }
