import json
import shutil
from pathlib import Path

import pytest

import fma
from tests.pipelines.ingest.test_ingest import ingest, make_music
from transforms.dataset.leaks import find_leaks
from transforms.dataset.ledger import IngestedTrack
from transforms.dataset.manifest import load


@pytest.fixture(scope="module")
def sound(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("verify")
    make_music(folder)
    assert ingest(folder) == 0
    return folder / "out"


@pytest.fixture
def dataset(sound, tmp_path) -> Path:
    """A copy that may be damaged."""
    return Path(shutil.copytree(sound, tmp_path / "copy"))


def problems(dataset: Path, capsys) -> list[str]:
    code = fma.main(["verify", str(dataset), "--json"])
    verdict = json.loads(capsys.readouterr().out)
    assert code == (0 if verdict["ok"] else 1)
    return verdict["problems"]


def first_shard(dataset: Path, kind: str = "mel") -> Path:
    return dataset / load(str(dataset)).shards(kind)[0].path


def test_a_sound_dataset_has_no_problems(dataset, capsys):
    assert problems(dataset, capsys) == []


def test_one_flipped_bit_is_found_with_file_and_record(dataset, capsys):
    path = first_shard(dataset)
    data = bytearray(path.read_bytes())
    data[len(data) - 100] ^= 1
    path.write_bytes(data)
    (found,) = problems(dataset, capsys)
    assert path.name in found
    assert "record" in found
    assert "checksum" in found


def test_a_shard_cut_short_is_found(dataset, capsys):
    path = first_shard(dataset, "raw")
    path.write_bytes(path.read_bytes()[:-7])
    (found,) = problems(dataset, capsys)
    assert path.name in found
    assert "cut short" in found


def test_a_shard_cut_between_two_records_is_found(dataset, capsys):
    from transforms.records import frame, read_records

    path = first_shard(dataset)
    with path.open("rb") as file:
        records = list(read_records(file, path.name))
    path.write_bytes(b"".join(map(frame, records[:-1])))
    found = problems(dataset, capsys)
    assert any(f"has {len(records) - 1:,} records, not {len(records):,}" in line for line in found)


def test_a_missing_shard_is_found(dataset, capsys):
    path = first_shard(dataset)
    path.unlink()
    assert problems(dataset, capsys) == [f"{path.relative_to(dataset)} is missing"]


def test_records_that_were_replaced_by_others_of_the_same_form_are_found(dataset, capsys):
    shards = load(str(dataset)).shards("mel")
    shutil.copy(dataset / shards[0].path, dataset / shards[1].path)
    assert problems(dataset, capsys)


def test_an_edited_ledger_is_found(dataset, capsys):
    ledger = dataset / load(str(dataset)).ledgers("tracks")[0].path
    ledger.write_text(ledger.read_text().replace("artist", "artiste"))
    (found,) = problems(dataset, capsys)
    assert ledger.name in found


def test_a_file_that_the_manifest_does_not_list_is_nobodys_problem(dataset, capsys):
    (dataset / "mel" / "notes.txt").write_text("mine")
    assert problems(dataset, capsys) == []


def track(track_id: int, split: str, artist: str = "", audio: str = "", silent: bool = False) -> IngestedTrack:
    return IngestedTrack(
        track_id, "Rock", split, artist=artist, audio_sha256=audio or str(track_id), silent=silent, windows=1
    )


def test_an_artist_that_is_spelled_in_two_ways_is_one():
    tracks = [track(1, "training", "The  Band"), track(2, "test", "the band ")]
    assert [str(leak) for leak in find_leaks(tracks)] == ["the same artist 'The Band' in training (1), test (2)"]


def test_an_artist_on_both_sides_of_a_split_is_a_leak():
    (leak,) = find_leaks([track(1, "training", "Ann"), track(2, "test", "Ann"), track(3, "training", "Bob")])
    assert (leak.what, leak.name, leak.where) == ("artist", "Ann", {"training": [1], "test": [2]})
    assert str(leak) == "the same artist 'Ann' in training (1), test (2)"


def test_equal_audio_on_both_sides_of_a_split_is_a_leak():
    (leak,) = find_leaks([track(1, "training", audio="f00"), track(2, "validation", audio="f00")])
    assert (leak.what, leak.where) == ("audio", {"training": [1], "validation": [2]})


def test_tracks_within_a_split_and_unknown_artists_and_silence_are_no_leaks():
    tracks = [track(1, "test", "Ann", "f00"), track(2, "test", "Ann", "f00"), track(3, "training"), track(4, "test")]
    assert (
        find_leaks([*tracks, track(5, "training", audio="0", silent=True), track(6, "test", audio="0", silent=True)])
        == []
    )


def test_leaks_are_reported_without_failing(tmp_path, capsys):
    csv = make_music(tmp_path)
    csv.write_text(csv.read_text().replace("artist 7", "artist 1"))
    assert ingest(tmp_path) == 0
    capsys.readouterr()
    assert fma.main(["verify", str(tmp_path / "out")]) == 0
    assert "leak: the same artist 'artist 1' in training" in capsys.readouterr().out
