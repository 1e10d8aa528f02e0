"""The most similar tracks: by comparison with all others, and by an index."""

import sys

import numpy as np
import pytest

import fma
from tests.embeddings import add_embeddings
from tests.trainers.synthetic import write_dataset
from transforms.dataset.manifest import load
from transforms.dataset.neighbours import (
    Neighbours,
    choose_encoder,
    directions,
    place,
    read_neighbours,
    share_of_same,
)
from transforms.errors import FmaError, UsageError

WIDTH = 40


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> str:
    """Twelve tracks of each of two genres, embedded."""
    folder = tmp_path_factory.mktemp("neighbours") / "data"
    write_dataset(folder, ("mel",), tracks={"training": 16, "validation": 4, "test": 4})
    add_embeddings(folder, outputs={"embedding": WIDTH})
    return str(folder)


@pytest.fixture
def neighbours(dataset) -> Neighbours:
    return read_neighbours(dataset, load(dataset), "yamnet")


def test_a_track_is_not_among_its_neighbours_and_the_nearest_come_first(neighbours):
    found = neighbours.nearest_to(3, 100)
    assert len(found) == 23
    assert 3 not in [one["track_id"] for one in found]
    similarity = [one["similarity"] for one in found]
    assert similarity == sorted(similarity, reverse=True)
    assert found[0] == {
        "track_id": found[0]["track_id"],
        "genre": found[0]["genre"],
        "artist": f"artist {found[0]['track_id']}",
        "similarity": similarity[0],
    }
    with pytest.raises(KeyError):
        neighbours.nearest_to(99, 1)


def test_a_tracks_own_embedding_finds_it_first_with_similarity_1(dataset, neighbours):
    from transforms.dataset.embeddings import read_embeddings

    embedding = read_embeddings(dataset, load(dataset), "yamnet").mean[4]
    first, *others = neighbours.nearest(embedding, 5)
    assert (first["track_id"], first["similarity"]) == (5, 1.0)
    assert others == neighbours.nearest_to(5, 4)


def test_similarity_is_the_cosine_of_standardised_values(neighbours):
    values = np.random.default_rng(0).normal(5, [1, 100, 0], (50, 3)).astype(np.float32)
    found = place(values)
    standardised = (values - values.mean(axis=0)) / np.where(values.std(axis=0) > 0, values.std(axis=0), 1)
    expected = standardised / np.linalg.norm(standardised, axis=1, keepdims=True)
    np.testing.assert_allclose(found["vectors"], expected, atol=1e-5)
    assert found["scale"][2] == 0


def test_neighbours_agree_on_the_genre_where_it_can_be_heard():
    rng = np.random.default_rng(0)
    label, artist = np.repeat([0, 1, -1], 40), np.array([f"artist {i}" for i in range(120)])
    centres = 4 * rng.standard_normal((3, 8))
    heard = directions((rng.standard_normal((120, 8)) + centres[label]).astype(np.float32))
    assert share_of_same(heard, label, artist, 3) == 1
    noise = directions(rng.standard_normal((120, 8)).astype(np.float32))
    assert 0.3 < share_of_same(noise, label, artist) < 0.7


def test_tracks_of_the_same_artist_do_not_count_as_neighbours():
    vectors = directions(np.array([[1, 0], [1, 0.01], [0, 1], [0.01, 1]], np.float32))
    label = np.array([0, 0, 1, 1])
    assert share_of_same(vectors, label, np.array(["a", "b", "c", "d"])) == 1
    assert share_of_same(vectors, label, np.array(["a", "a", "c", "c"])) == 0
    assert share_of_same(vectors, label, np.array(["", "", "", ""])) == 1
    assert share_of_same(vectors, np.array([0, 1, 0, 1]), np.array(["", "", "", ""])) == 0


def test_the_encoder_need_not_be_named_where_there_is_one(dataset, tmp_path):
    assert choose_encoder(dataset, load(dataset), None) == "yamnet"
    write_dataset(tmp_path, ("mel",))
    with pytest.raises(UsageError, match=rf"has no embeddings.*: run .*embed {tmp_path} --encoder yamnet"):
        choose_encoder(str(tmp_path), load(str(tmp_path)), None)
    add_embeddings(tmp_path)
    add_embeddings(tmp_path, "other")
    with pytest.raises(UsageError, match="several encoders: choose one, --encoder yamnet or other"):
        choose_encoder(str(tmp_path), load(str(tmp_path)), None)
    assert choose_encoder(str(tmp_path), load(str(tmp_path)), "other") == "other"


def test_an_index_finds_what_a_comparison_with_all_tracks_finds(dataset, neighbours, tmp_path):
    pytest.importorskip("usearch", reason="usearch is not installed")
    folder = tmp_path / "index"
    for _ in range(2):  # made, then read
        indexed = read_neighbours(dataset, load(dataset), "yamnet", str(folder))
        files = {file: file.stat().st_mtime_ns for file in folder.iterdir()}
        for track_id in (1, 12, 24):
            exact, found = neighbours.nearest_to(track_id, 5), indexed.nearest_to(track_id, 5)
            assert [one["track_id"] for one in found] == [one["track_id"] for one in exact]
            np.testing.assert_allclose(*([one["similarity"] for one in each] for each in (found, exact)), atol=2e-3)
    assert len(files) == 2
    assert {file: file.stat().st_mtime_ns for file in folder.iterdir()} == files


def test_an_index_of_other_embeddings_is_not_used_and_a_damaged_one_is_one_line(tmp_path):
    pytest.importorskip("usearch", reason="usearch is not installed")
    write_dataset(tmp_path / "data", ("mel",))
    add_embeddings(tmp_path / "data")
    dataset, folder = str(tmp_path / "data"), tmp_path / "index"
    read_neighbours(dataset, load(dataset), "yamnet", str(folder))
    add_embeddings(dataset, "other", seed=1)
    read_neighbours(dataset, load(dataset), "other", str(folder))
    assert len(list(folder.iterdir())) == 4
    (vectors,) = folder.glob("yamnet-*.usearch")
    vectors.write_bytes(vectors.read_bytes()[:-100])
    with pytest.raises(FmaError, match=r"index/yamnet-[0-9a-f]+ is damaged \(.*\): remove its two files"):
        read_neighbours(dataset, load(dataset), "yamnet", str(folder))


def test_without_usearch_the_command_says_what_to_install(dataset, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "usearch.index", None)
    assert fma.main(["search", dataset, "3", "--index", str(tmp_path)]) == 2
    assert "--index needs usearch: pip install 'fma-genres[search]'" in capsys.readouterr().err
    assert fma.main(["search", dataset, "3", "--index", "gs://bucket/index"]) == 2
    assert "--index gs://bucket/index: give a folder of this machine" in capsys.readouterr().err
