"""Cloud storage that does not answer a worker: a retrying runner tries again; for others it is a one-line error."""

import pytest

from pipelines.ingest.beam import BuildJob, BuildShard
from transforms.config import DatasetConfig
from transforms.dataset.generation import ShardResult
from transforms.dataset.plan import ShardPlan
from transforms.dataset.shard_results import read_results
from transforms.errors import UnreachableError
from transforms.taxonomy import Vocabulary
from transforms.tracks import Track

PLAN = ShardPlan("training", 0, 1, (Track(1, "Rock", "training", "gs://music/1.mp3"),))


def build(folder, retried: bool) -> ShardResult:
    """A worker's result for the plan's line."""
    job = BuildJob(
        dataset=str(folder),
        name="0001-c0ffee00",
        retried=retried,
        vocabulary=Vocabulary(("Rock",), ("Rock",)),
        config=DatasetConfig(),
    )
    step, line = BuildShard(job), PLAN.to_line()
    step.setup()
    try:
        step.process(line)
    finally:
        step.teardown()
    return read_results(job.dataset, job.name, [job.key(line)])[job.key(line)]


@pytest.fixture(autouse=True)
def silence(monkeypatch):
    def extract(*_, **__):
        raise UnreachableError("gs://music/1.mp3: did not answer for 120 s")

    monkeypatch.setattr("transforms.audio.decoder_process.TrackProcess.extract", extract)


def test_a_runner_that_begins_work_again_gets_to_see_it(tmp_path):
    with pytest.raises(UnreachableError, match="did not answer"):
        build(tmp_path, retried=True)
    assert not list(tmp_path.rglob("*.tfrecord"))


def test_for_other_runners_it_is_the_shards_error(tmp_path):
    assert build(tmp_path, retried=False).error == (
        "training-00000-of-00001: gs://music/1.mp3: did not answer for 120 s"
    )
