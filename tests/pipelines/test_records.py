"""`ReadRecords` in a Beam pipeline of one's own."""

import apache_beam as beam
import numpy as np
import pytest
from apache_beam.testing.util import assert_that, equal_to

from pipelines.records import ReadRecords
from tests.embeddings import add_embeddings
from tests.trainers.synthetic import TRACKS, write_dataset
from transforms.dataset.embeddings import read_embeddings
from transforms.dataset.manifest import load
from transforms.errors import FmaError, UsageError


@pytest.fixture
def dataset(tmp_path) -> str:
    write_dataset(tmp_path / "d", ("mel", "stats"), tree={"Rock": "", "Punk": "Rock", "Folk": ""}, shards=2)
    add_embeddings(tmp_path / "d")
    return str(tmp_path / "d")


def test_windows_come_with_track_genres_and_time(dataset):
    def describe(record) -> tuple:
        return record.split, record.genre, record.genres, record.window, record.start_s, record.values.shape

    with beam.Pipeline() as pipeline:
        found = pipeline | ReadRecords(dataset, "mel", "test") | beam.Map(describe)
        seconds = load(dataset).config.window_seconds
        folk, punk = ("Folk", ("Folk",)), ("Rock", ("Punk", "Rock"))
        wanted = [
            ("test", genre, genres, window, window * seconds, (32, 32))
            for genre, genres in (punk, folk, ("", ("Folk", "Punk", "Rock")), folk)
            for window in range(2)
        ]
        assert_that(found, equal_to(wanted))


def test_embeddings_are_read_as_they_are_by_track(dataset):
    want = read_embeddings(dataset, load(dataset), "yamnet")
    rows = [(int(i), *want.mean[at].tolist(), *want.deviation[at].tolist()) for at, i in enumerate(want.track_id)]
    with beam.Pipeline() as pipeline:
        found = pipeline | ReadRecords(dataset, "embedding/yamnet")
        assert_that(found | beam.Map(lambda one: (one.track_id, *one.values.ravel().tolist())), equal_to(rows))
    assert len(rows) == sum(TRACKS.values())
    assert want.mean.dtype == np.float32


def test_records_that_there_are_not_are_named_when_the_pipeline_is_made(dataset):
    with pytest.raises(UsageError, match=r"has no raw records of split test: it has mel, stats, embedding/yamnet"):
        ReadRecords(dataset, "raw", "test")


def test_a_damaged_shard_ends_the_pipeline(dataset):
    path = f"{dataset}/{load(dataset).shards('stats')[0].path}"
    with open(path, "r+b") as file:
        file.seek(500)
        file.write(b"\0\0\0\0")
    with pytest.raises(FmaError, match="checksum"), beam.Pipeline() as pipeline:
        _ = pipeline | ReadRecords(dataset, "stats")
