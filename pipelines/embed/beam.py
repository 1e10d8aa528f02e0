"""The Beam job of `fma embed`: RunInference over plan lines, with the encoder loaded once for each worker process.

An element is a shard, not a window: the worker reads its windows and writes its tracks' embeddings, so no window moves
through the runner, and the encoder's batches do not depend on the runner's.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from apache_beam.ml.inference.base import ModelHandler, RunInference
from apache_beam.options.pipeline_options import PipelineOptions

from pipelines.job_files import count_progress
from pipelines.shard_jobs import OTHER_CODE, ShardJob, attempt, code_digest, run_job
from transforms.dataset.embed import embed_shard
from transforms.dataset.generation import ShardFile, ShardResult
from transforms.encoders.encoder import Encoder, on_this_machine, open_encoder
from transforms.encoders.facts import EncoderFacts
from transforms.encoders.networks import ONE_THREAD
from transforms.errors import FmaError, UnreachableError
from transforms.records import Schema


@dataclass(frozen=True, kw_only=True)
class EmbedJob(ShardJob):
    """The settings that workers need beside their plan lines."""

    schema: Schema  # of the dataset, with the encoder among its encoders
    facts: EncoderFacts  # of the encoder
    encoder: str  # path of its file or folder, where workers see it
    command: str = "embed"


@dataclass
class Loaded:
    """An encoder in a worker, or why it could not be loaded."""

    encoder: Encoder | None
    error: str = ""


class EmbedShard(ModelHandler[str, str, Loaded]):
    """Embeds the shards of plan lines, and keeps their results; gives the shards' paths."""

    def __init__(self, job: EmbedJob):
        super().__init__(min_batch_size=1, max_batch_size=1, env_vars=ONE_THREAD)
        self._job = job

    def load_model(self) -> Loaded:
        job = self._job
        if job.code != code_digest():
            return Loaded(None, OTHER_CODE)
        try:
            with on_this_machine(job.encoder) as path:
                return Loaded(open_encoder(path, job.facts, job.schema.config))
        except UnreachableError as error:
            if job.retried:
                raise
            return Loaded(None, str(error))
        except FmaError as error:
            return Loaded(None, str(error))

    def run_inference(
        self, batch: Sequence[str], model: Loaded, inference_args: dict[str, Any] | None = None
    ) -> Iterator[str]:
        for line in batch:
            source = ShardFile.from_line(line)
            self._job.keep(line, self._embed(source, model))
            yield source.path

    def _embed(self, source: ShardFile, model: Loaded) -> ShardResult:
        job = self._job
        if model.encoder is None:
            return ShardResult(source.path, error=model.error)
        encoder = model.encoder
        with count_progress(job.ticks, source.path) as tick:

            def make() -> ShardResult:
                made = embed_shard(job.dataset, source, encoder, job.schema, lambda: tick(b"."))
                return ShardResult(source.path, [made])

            return attempt(job, source.path, make)


def run_embed(job: EmbedJob, sources: Sequence[ShardFile], options: PipelineOptions) -> dict[str, ShardFile]:
    """Embed the tracks of shards; return the new files by their sources' paths. See `run_job`."""
    plan, tracks = [source.to_line() for source in sources], sum(source.tracks for source in sources)
    results = run_job(job, plan, lambda job: "Embed" >> RunInference(EmbedShard(job)), options, total=tracks)
    return {result.name: result.files[0] for result in results}
