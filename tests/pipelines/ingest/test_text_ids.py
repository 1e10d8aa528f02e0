"""Tracks whose ids are text are named by it wherever a person or a program reads of them."""

import json
from pathlib import Path

import pytest
import soundfile

import fma
from tests.conftest import tone
from tests.pipelines.ingest.test_ingest import ingest
from transforms.tracks import number_of

IDS = ("b-17", "b-18", "live/3", "11")


def write_table(folder: Path, ids=IDS) -> None:
    """Two tracks of each split; all are by one artist, whom they leak."""
    rows = [f"{name},{i}.wav,Rock,Ann,{('training', 'test')[i % 2]}\n" for i, name in enumerate(ids)]
    (folder / "tracks.csv").write_text("track_id,path,genre,artist,split\n" + "".join(rows))


@pytest.fixture(scope="module")
def music(tmp_path_factory) -> Path:
    """Four tracks, their dataset in out/, and then other sound in 0.wav and no row for live/3 and 11."""
    folder = tmp_path_factory.mktemp("text")
    for i in range(4):
        soundfile.write(folder / f"{i}.wav", tone(2, hz=300 + 50 * i, seed=i), 22_050)
    write_table(folder)
    assert ingest(folder) == 0
    soundfile.write(folder / "0.wav", tone(3, seed=9), 22_050)
    write_table(folder, IDS[:2])
    return folder


def said(capsys) -> str:
    return capsys.readouterr().out


def test_changed_and_vanished_tracks_are_listed_by_their_text(music, capsys):
    assert ingest(music) == 0
    out = said(capsys)
    assert "1 track changed, kept as before (--update reads them again): b-17" in out
    assert "2 tracks not in the metadata, kept (--update takes them out): 11, live/3" in out
    assert ingest(music, "out", "--json") == 0
    found = json.loads(said(capsys))
    assert (found["changed"], found["vanished"]) == (["b-17"], [11, "live/3"])


def test_leaks_name_tracks_by_their_text(music, capsys):
    assert fma.main(["verify", str(music / "out")]) == 0
    assert "the same artist 'Ann' in training (live/3, b-17), test (11, b-18)" in said(capsys)
    assert fma.main(["verify", str(music / "out"), "--json"]) == 0
    leak, *_ = json.loads(said(capsys))["leaks"]
    assert {split: set(ids) for split, ids in leak["where"].items()} == {
        "training": {"b-17", "live/3"},
        "test": {11, "b-18"},
    }


def test_a_track_is_found_by_its_text_and_by_its_number_and_shown_with_its_text(music, capsys):
    for given in ("live/3", str(number_of("live/3"))):
        assert fma.main(["explain", str(music / "out"), given]) == 0
        assert "track live/3, ingested" in said(capsys)


def test_a_path_that_leads_out_of_the_folder_is_named_with_its_track(music, tmp_path, capsys):
    (tmp_path / "tracks.csv").write_text("track_id,path,genre,split\nb-17,../0.wav,Rock,training\n")
    assert ingest(tmp_path) == 2
    assert "track b-17: the path ../0.wav leads out" in capsys.readouterr().err
