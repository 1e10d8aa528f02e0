"""`fma search`: what it prints of the nearest tracks."""

import json

import pytest

import fma
from tests.embeddings import add_embeddings
from tests.trainers.synthetic import write_dataset


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> str:
    folder = tmp_path_factory.mktemp("search") / "data"
    write_dataset(folder, ("mel",))
    add_embeddings(folder)
    return str(folder)


def test_a_track_lists_its_nearest_tracks(dataset, capsys):
    assert fma.main(["search", dataset, "4", "--k", "3"]) == 0
    title, columns, _, *rows = capsys.readouterr().out.splitlines()
    assert title == "nearest to 4 by yamnet"
    assert columns.split() == ["similarity", "track", "genre", "title", "artist"]
    assert len(rows) == 3
    assert fma.main(["search", dataset, "4", "--k", "3", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["query"], found["encoder"]) == ("4", "yamnet")
    assert [str(one["track_id"]) for one in found["nearest"]] == [row.split()[1] for row in rows]
    assert found["nearest"][0].keys() == {"track_id", "similarity", "artist", "genre"}


def test_a_track_that_is_not_there_and_an_encoder_that_is_not_there_are_one_line(dataset, capsys):
    assert fma.main(["search", dataset, "99"]) == 2
    assert f"99 is neither a track of {dataset} (" in capsys.readouterr().err
    assert fma.main(["search", dataset, "4", "--encoder", "other"]) == 2
    assert "has no embeddings by other (it has yamnet)" in capsys.readouterr().err
