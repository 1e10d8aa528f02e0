"""A dataset of format version 2, whose tracks have a genre_top and no other genres, is read and grows by this version.

`data/format-2.tar.xz` was made by the last commit before version 3: corpus/ holds silence in the form of FMA, with
genres of one tree and, in three rows, of several or none; dataset/ is what `fma ingest --subset large` made of it.
"""

import json
import tarfile
from pathlib import Path

import pytest

import fma
from transforms.dataset.manifest import load

ARCHIVE = Path(__file__).resolve().parent / "data" / "format-2.tar.xz"
WORDS = ["ingest", "--audio", "corpus/audio", "--metadata", "corpus/fma_metadata", "--subset", "large"]
SETTINGS = ["--n-mels", "16", "--window-frames", "64", "--features", "mel"]


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(tmp_path, filter="data")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_it_is_sound_and_each_track_has_its_top_genre_alone(folder, capsys):
    written = json.loads((folder / "dataset" / "dataset.json").read_text())
    assert written["format_version"] == 2
    assert fma.main(["verify", "dataset"]) == 0
    manifest = load("dataset")
    assert manifest.digest == written["digest"]
    assert manifest.genres == dict.fromkeys(manifest.labels, "")
    assert manifest.totals["labelled"] == {"top": 35, "genres": 0, "none": 0}
    assert fma.main(["show", "dataset", "--genres"]) == 0


def test_it_grows_by_what_it_lacks_and_its_tracks_get_their_genres_with_update(folder, capsys):
    assert fma.main([*WORDS, "--out", "dataset"]) == 0
    out = capsys.readouterr().out
    assert "9 tracks changed, kept as before (--update reads them again)" in out
    assert "2 new, 35 kept" in out
    assert fma.main(["verify", "dataset"]) == 0
    assert fma.main([*WORDS, "--out", "dataset", "--update"]) == 0
    assert fma.main([*WORDS, *SETTINGS, "--out", "fresh"]) == 0
    assert load("dataset").digest == load("fresh").digest
    assert load("dataset").genres["Techno"] == "Electronic"
    assert json.loads((folder / "dataset" / "dataset.json").read_text())["format_version"] == 4
