"""At the size of all of FMA (106,574 tracks), jobs stay within Dataflow's limits, mostly far below.

Its published limits: 20 MB for a job's request as JSON, 10 MB for its graph, 2 GB for one element, or 80 MB with
Streaming Engine. The graph of the statistics job, which needs a dataset, is held to them in test_submit.
"""

import json

import apache_beam as beam
import pytest
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.dataflow.internal import apiclient

from pipelines.ingest.beam import BuildJob, BuildShard
from pipelines.job_files import ReadLines
from pipelines.runners.dataflow import with_runner_defaults
from pipelines.runners.options import make_pipeline
from transforms.audio.features import KINDS
from transforms.config import DatasetConfig
from transforms.dataset.plan import make_plan
from transforms.taxonomy import Vocabulary
from transforms.tracks import Track

TRACKS = 106_574
MB = 1_000_000
GENRES = ("Blues", "Classical", "Country", "Easy Listening", "Electronic", "Experimental", "Folk", "Hip-Hop")
WORDS = "a title that is as long as titles on the Free Music Archive are when they are long, or longer"


def track(number: int) -> Track:
    """A track as long as whole songs are, with long metadata."""
    path = f"fma_full/{number // 1000:03d}/{number:06d}.mp3"
    facts = {"artist": WORDS, "album": WORDS, "title": WORDS, "license": WORDS, "subset": "full"}
    split = ("training",) * 8 + ("validation", "test")
    return Track(
        number, GENRES[number % 8], split[number % 10], path, "gs://bucket/fma/fma_full.zip", **facts, duration=270.0
    )


@pytest.fixture(scope="module")
def plan():
    return make_plan(map(track, range(TRACKS)), DatasetConfig(features=tuple(KINDS)))


def test_an_element_is_a_line_of_some_kilobytes(plan):
    assert sum(len(shard.tracks) for shard in plan) == TRACKS
    sizes = [len(shard.to_line().encode()) for shard in plan]
    assert max(sizes) < 0.1 * MB
    assert len(plan) > 1000, "too few shards for many workers"


def test_the_jobs_request_does_not_grow_with_the_corpus():
    arguments = [
        "--runner",
        "DataflowRunner",
        "--project",
        "my-project",
        "--region",
        "us-central1",
        "--dry_run=True",
        "--no_auth",
    ]
    arguments += ["--sdk_container_image", "image", "--staging_location", "gs://bucket/staging"]
    genres = tuple(f"genre {i}" for i in range(161))  # as many as FMA has
    job = BuildJob(
        dataset="gs://bucket/data",
        name="0001-0123abcd",
        vocabulary=Vocabulary(genres, genres),
        config=DatasetConfig(),
    )
    options = PipelineOptions(with_runner_defaults(arguments, job.dataset, "ingest", job.name))
    pipeline = make_pipeline(options)
    _ = pipeline | ReadLines(job.plan_path) | beam.ParDo(BuildShard(job))
    result = pipeline.run()
    environment = apiclient.Environment(
        packages=[],
        options=options,
        environment_version="8",
        proto_pipeline_staged_url="gs://bucket/staging/pipeline.pb",
        proto_pipeline=result.job.proto_pipeline,
    )
    result.job.proto.environment = environment.proto
    assert len(result.job.json()) < 0.1 * MB
    assert len(result.job.proto_pipeline.SerializeToString()) < 0.1 * MB
    assert json.loads(result.job.json())["name"].startswith("fma-ingest-0001-0123abcd-")
