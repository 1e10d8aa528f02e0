"""Runners that repeat a bundle: no record appears twice, and no file is left over."""

from collections import Counter
from pathlib import Path

import pytest

import fma
from pipelines.ingest.beam import BuildJob, BuildShard, run_build
from pipelines.runners.options import parse_beam_options
from tests.pipelines.ingest.test_growth import files_of
from tests.pipelines.ingest.test_ingest import digest_of, ingest, make_music
from transforms.dataset import manifest as manifests
from transforms.dataset.generation import Generation
from transforms.dataset.ledger import read_tracks
from transforms.dataset.plan import make_plan
from transforms.records import add_digests
from transforms.tracks import Track

RETRYING_RUNNER = "--runner=apache_beam.runners.direct.direct_runner.BundleBasedDirectRunner"
"""The only local runner of Beam that retries bundles, as Dataflow does; FnApiRunner and Prism fail the job."""


@pytest.fixture(scope="module")
def music(tmp_path_factory) -> Path:
    """Twelve tracks, and in out/ their dataset, made without retries."""
    folder = tmp_path_factory.mktemp("retries")
    make_music(folder)
    assert ingest(folder) == 0
    return folder


def test_a_bundle_that_fails_after_it_has_written_and_is_retried_leaves_each_record_once(music, monkeypatch):
    attempts: Counter[str] = Counter()
    process = BuildShard.process

    def fail_once_after_writing(self, line):
        process(self, line)
        attempts[line] += 1
        if sum(attempts.values()) == 3:
            raise ConnectionError("the worker is gone before it could say that it is done")

    monkeypatch.setattr(BuildShard, "process", fail_once_after_writing)
    assert ingest(music, "retried", RETRYING_RUNNER) == 0
    assert sorted(attempts.values()) == [1, 2, 2, 2]
    assert_equal_to_undisturbed(music, "retried")


def assert_equal_to_undisturbed(music: Path, name: str) -> None:
    assert digest_of(music / name) == digest_of(music / "out")
    whole, retried = (manifests.load(str(music / one)) for one in ("out", name))
    assert retried.files() == whole.files()
    assert set(files_of(music / name)) == {file.path for file in retried.files()}
    assert fma.main(["verify", str(music / name)]) == 0


@pytest.mark.long
def test_shards_that_two_workers_build_at_the_same_time_are_there_once(music):
    whole = manifests.load(str(music / "out"))
    (generation,) = whole.generations
    ingested = read_tracks(str(music / "out"), whole)
    tracks = [Track(**{field: getattr(track, field) for field in Track.__dataclass_fields__}) for track in ingested]
    plan = make_plan(tracks, whole.config)
    job = BuildJob(dataset=str(music / "twice"), name=generation.name, vocabulary=whole.vocabulary, config=whole.config)
    results = run_build(job, plan + plan, parse_beam_options([], len(tracks), 2))
    assert Generation.from_results(generation.name, "", {}, {}, results).shards == generation.shards
    total = add_digests(*(int(shard.digest, 16) for shard in generation.shards))
    assert total == add_digests(*(int(file.digest, 16) for result in results for file in result.files))
