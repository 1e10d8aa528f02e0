"""Tracks with many genres, from the table to the shards: which are ingested, how they grow, what a trainer reads."""

import json
import shutil
from pathlib import Path

import pytest

import fma
from tests.pipelines.ingest.test_ingest import digest_of, ingest, make_music
from trainers.data.pipeline import count_records
from transforms.dataset.manifest import load
from transforms.dataset.shard_io import read_shard

CELLS = ("Punk", "Punk|Indie", "Punk|Jazz", "", "Jazz|Free", "Rock") * 2
TREE = "genre,parent\nPunk,Rock\nIndie,Rock\nFree,Jazz\n"


def write_tables(folder: Path, tracks: int = len(CELLS), tree: str = TREE) -> None:
    splits = ("training", "training", "validation", "test")
    paths = {int(path.stem): path.name for path in folder.iterdir() if path.stem.isdigit()}
    rows = [f"{i},{paths[i]},{genre},{splits[i % 4]}\n" for i, genre in enumerate(CELLS[:tracks])]
    (folder / "tracks.csv").write_text("track_id,path,genre,split\n" + "".join(rows))
    (folder / "tree.csv").write_text(tree)


def grow(folder: Path, *words: str, out: str = "many") -> int:
    return ingest(folder, out, "--genres", str(folder / "tree.csv"), *words)


@pytest.fixture(scope="module")
def original(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("genres")
    make_music(folder)
    write_tables(folder)
    assert grow(folder) == 0
    return folder


@pytest.fixture
def music(original, tmp_path) -> Path:
    """Twelve tracks and their dataset in many/, which a test may change."""
    return Path(shutil.copytree(original, tmp_path / "music", copy_function=shutil.copy2))


def test_records_hold_the_ids_of_all_genres_and_a_label_where_one_genre_is_above_all(music):
    manifest = load(str(music / "many"))
    assert manifest.labels == ["Jazz", "Rock"]
    assert manifest.genres == {"Free": "Jazz", "Indie": "Rock", "Jazz": "", "Punk": "Rock", "Rock": ""}
    found = {}
    for shard in manifest.shards("raw"):
        for record, _ in read_shard(str(music / "many"), shard, manifest.schema):
            found[record.track_id] = manifest.vocabulary.names(record)
    assert found[0] == found[6] == ("Rock", ("Punk", "Rock"))
    assert found[1] == ("Rock", ("Indie", "Punk", "Rock"))
    assert found[2] == ("", ("Jazz", "Punk", "Rock"))
    assert found[4] == ("Jazz", ("Free", "Jazz"))
    assert found[5] == ("Rock", ("Rock",))
    assert 3 not in found


def test_a_trainer_on_one_label_each_does_not_read_the_other_tracks(music):
    manifest = load(str(music / "many"))
    assert manifest.totals["labelled"] == {"top": 8, "genres": 2, "none": 0}
    labelled = sum(count_records(manifest, "raw", split) for split in ("training", "validation", "test"))
    assert labelled == sum(shard.records for shard in manifest.shards("raw") if shard.labelled == "top") < 64
    assert sum(shard.tracks for shard in manifest.shards("raw", labels="top")) == 8
    assert {shard.labelled for shard in manifest.shards("raw", labels="all")} == {"top", "genres"}


def test_the_summary_accounts_for_every_row(music, capsys):
    assert grow(music, "--unlabelled", "keep") == 0
    out = capsys.readouterr().out
    assert "metadata of 12 tracks: 8 with a top genre, 2 with genres of several trees, 2 without a genre" in out
    assert "(genres of several trees)       2" in out
    assert "(no genre)                      2" in out
    assert "2 new, 10 kept" in out


def test_growing_in_steps_equals_ingesting_at_once(music, capsys):
    for tracks in (2, 7, 12):
        write_tables(music, tracks)
        assert grow(music, out="steps") == 0
    assert digest_of(music / "steps") == digest_of(music / "many")
    assert list(load(str(music / "steps")).genres) != list(load(str(music / "many")).genres)
    assert fma.main(["verify", str(music / "steps")]) == 0
    assert fma.main(["compact", str(music / "steps")]) == 0
    assert digest_of(music / "steps") == digest_of(music / "many")
    write_tables(music, tree="genre,parent\n")
    assert ingest(music, "flat") == 0
    assert digest_of(music / "flat") != digest_of(music / "many")


def test_the_tree_is_remembered_where_it_is_not_given_again(music, capsys):
    assert ingest(music, "many") == 0
    assert "0 new, 10 kept" in capsys.readouterr().out


def test_a_genre_whose_parent_changed_is_reported_and_kept_until_it_is_to_be_updated(music, capsys):
    before = digest_of(music / "many")
    write_tables(music, tree=TREE.replace("Punk,Rock", "Punk,Noise"))
    assert grow(music) == 0
    out = capsys.readouterr().out
    assert (
        "genre Punk: its parent is Rock, in the metadata Noise; kept as before (--update takes the metadata's)" in out
    )
    assert digest_of(music / "many") == before
    assert grow(music, "--update") == 0
    out = capsys.readouterr().out
    assert "6 tracks changed, read again: 0, 1, 2, 6, 7 and 1 more" in out
    assert load(str(music / "many")).genres["Punk"] == "Noise"
    assert grow(music, out="fresh") == 0
    assert digest_of(music / "many") == digest_of(music / "fresh")


def test_a_parent_that_no_track_depends_on_is_taken_over_too(music):
    write_tables(music, 1)
    assert grow(music, "--update") == 0
    write_tables(music, 1, tree=TREE.replace("Indie,Rock", "Indie,Pop"))
    assert grow(music, "--update") == 0
    assert load(str(music / "many")).genres["Indie"] == "Pop"
    assert fma.main(["verify", str(music / "many")]) == 0


def test_a_track_whose_genres_changed_is_read_again_with_update(music, capsys):
    rows = (music / "tracks.csv").read_text()
    (music / "tracks.csv").write_text(rows.replace("5,5.wav,Rock,", "5,5.wav,Rock|Jazz,"))
    assert grow(music, "--update") == 0
    assert "1 track changed, read again: 5" in capsys.readouterr().out
    assert load(str(music / "many")).totals["labelled"] == {"top": 7, "genres": 3, "none": 0}


def test_show_lists_the_tree_with_tracks_by_split_and_draws_it(music, capsys):
    assert fma.main(["show", str(music / "many"), "--genres", "--tree", str(music / "tree.png")]) == 0
    out = capsys.readouterr().out
    assert ["Rock", "4", "2", "2", "8"] in [line.split() for line in out.splitlines()]
    assert out.index("Jazz") < out.index("  Free") < out.index("Rock") < out.index("  Indie")
    assert "without validation tracks: Indie\nwithout test tracks: Jazz, Free" in out
    assert (music / "tree.png").read_bytes()[:4] == b"\x89PNG"
    assert fma.main(["show", str(music / "many"), "--genres", "--json"]) == 0
    genres = {row["name"]: row for row in json.loads(capsys.readouterr().out)["genres"]}
    assert genres["Indie"] == {
        "name": "Indie",
        "parent": "Rock",
        "depth": 1,
        "tracks": {"training": 1, "validation": 0, "test": 1},
    }
