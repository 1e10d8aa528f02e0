"""The map of a dataset: where its tracks lie, which are shown, and how genres are distinguished."""

import itertools

import numpy as np
import pytest

import fma
from tests.embeddings import add_embeddings
from tests.trainers.synthetic import write_dataset
from transforms.dataset.manifest import load
from transforms.dataset.neighbours import directions
from transforms.dataset.track_map import NO_GENRE, OTHERS, draw_sample, group, project, read_map


def clusters(each: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    centres = np.repeat(6 * rng.standard_normal((3, 20)), each, axis=0)
    return directions((rng.standard_normal((3 * each, 20)) + centres).astype(np.float32))


def test_similar_tracks_lie_together_and_the_same_vectors_give_the_same_places():
    vectors = clusters(20)
    places = project(vectors)
    assert places.shape == (60, 2)
    assert places.min() == 0
    assert places.max() == 1
    distance = np.linalg.norm(places[:, None] - places, axis=2) + 9 * np.eye(60)
    assert (distance.argmin(axis=1) // 20 == np.arange(60) // 20).all()
    np.testing.assert_array_equal(project(vectors), places)


@pytest.mark.parametrize(("count", "width"), [(1, 20), (2, 20), (3, 20), (8, 20), (8, 1)])
def test_few_tracks_and_dimensions_have_a_map_too(count, width):
    places = project(clusters(3)[:count, :width])
    assert places.shape == (count, 2)
    assert np.isfinite(places).all()


def test_equal_tracks_have_a_map_too():
    assert np.isfinite(project(np.tile(directions(np.ones((1, 5), np.float32)), (20, 1)))).all()


def test_the_sample_of_a_large_dataset_mostly_stays_when_it_grows():
    few, many = np.arange(500), np.arange(600)
    first, second = draw_sample(few, 100), draw_sample(many, 100)
    assert len(first) == len(second) == 100
    assert (np.diff(first) > 0).all()
    assert first.max() > 400
    assert len(np.intersect1d(first, second)) > 70
    np.testing.assert_array_equal(draw_sample(few[:50], 100), np.arange(50))


def test_each_genre_has_a_look_of_its_own_and_the_rarest_share_one():
    labels = [f"genre {i}" for i in range(30)]
    label = np.concatenate([np.repeat(np.arange(30), [1] * 12 + [2] * 18), [-1]])
    groups = group(label, labels)
    assert [one.name for one in groups] == [*labels[12:], OTHERS, NO_GENRE]
    assert len({(one.colour, one.shape) for one in groups}) == 20
    rows = np.concatenate([one.rows for one in groups])
    np.testing.assert_array_equal(np.sort(rows), np.arange(len(label)))
    assert all((label[one.rows] == 12 + i).all() for i, one in enumerate(groups[:18]))


def test_neighbouring_looks_differ_in_colour_and_in_shape():
    groups = group(np.arange(18), [f"genre {i}" for i in range(18)])
    for one, other in itertools.pairwise(groups):
        assert one.colour != other.colour
        assert one.shape != other.shape


def test_show_draws_the_map(tmp_path, capsys):
    write_dataset(tmp_path / "data", ("mel",), ("Folk $\\x$", "Rock"))
    assert fma.main(["show", str(tmp_path / "data"), "--map", str(tmp_path / "map.png")]) == 2
    assert "has no embeddings" in capsys.readouterr().err
    add_embeddings(tmp_path / "data")
    for name in ("map.png", "again.png"):
        assert fma.main(["show", str(tmp_path / "data"), "--map", str(tmp_path / name)]) == 0
    assert (tmp_path / "map.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "map.png").read_bytes() == (tmp_path / "again.png").read_bytes()
    found = read_map(str(tmp_path / "data"), load(str(tmp_path / "data")), "yamnet")
    assert [one.name for one in found.groups] == ["Folk $\\x$", "Rock"]
    assert found.tracks == len(found.track_id) == 20
