"""The Beam job of `fma ingest`: a worker builds the shards of its plan lines."""

import json
import platform
from dataclasses import dataclass, field
from importlib.metadata import version

import apache_beam as beam
from apache_beam.metrics import Metrics
from apache_beam.options.pipeline_options import PipelineOptions

from pipelines.job_files import count_progress
from pipelines.shard_jobs import OTHER_CODE, ShardJob, code_digest, run_job
from transforms.audio.decoder_process import Limits
from transforms.config import DatasetConfig
from transforms.dataset.build import ShardBuilder
from transforms.dataset.generation import ShardResult
from transforms.dataset.plan import ShardPlan
from transforms.errors import UnreachableError
from transforms.taxonomy import Vocabulary


@dataclass(frozen=True, kw_only=True)
class BuildJob(ShardJob):
    """The settings that workers need beside their plan lines; the job's name is that of the generation."""

    vocabulary: Vocabulary  # of the dataset
    config: DatasetConfig  # the dataset's
    limits: Limits = field(default_factory=Limits)  # what one track may cost
    command: str = "ingest"

    @property
    def settings(self) -> str:
        return json.dumps([self.limits.seconds, self.limits.megabytes, self.limits.audio_seconds])


class BuildShard(beam.DoFn):
    """Builds the shards of plan lines with `ShardBuilder`, and keeps their results."""

    def __init__(self, job: BuildJob):
        self._job = job

    def setup(self) -> None:
        job = self._job
        self._builder = ShardBuilder(
            job.dataset, job.name, job.vocabulary, job.config, limits=job.limits, on_track=self._on_track
        )

    def process(self, line: str) -> None:
        job, plan = self._job, ShardPlan.from_line(line)
        if job.code != code_digest():
            job.keep(line, ShardResult(plan.name, error=OTHER_CODE))
        else:
            with count_progress(job.ticks, plan.name) as self._tick:
                job.keep(line, self._build(plan))

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


def run_build(job: BuildJob, plan: list[ShardPlan], options: PipelineOptions) -> list[ShardResult]:
    """Build the shards of a plan; see `run_job`."""
    lines, tracks = [shard.to_line() for shard in plan], sum(len(shard.tracks) for shard in plan)
    return run_job(job, lines, lambda job: "BuildShard" >> beam.ParDo(BuildShard(job)), options, total=tracks)


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
