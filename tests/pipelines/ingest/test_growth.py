"""Growth end to end: tracks that are added, change, vanish, fail and are fixed; batches; compaction."""

import json
import os
import re
import shutil
from collections import Counter
from pathlib import Path

import pytest
import soundfile

import fma
from tests.conftest import tone
from tests.pipelines.ingest.test_ingest import digest_of, ingest, make_music
from transforms.dataset import manifest as manifests
from transforms.dataset.ledger import read_failures, read_tracks


def last_line(capsys) -> str:
    return capsys.readouterr().out.splitlines()[-1]


def files_of(dataset: Path) -> dict[str, int]:
    """Modification times of every file of the dataset but dataset.json."""
    return {
        str(path.relative_to(dataset)): path.stat().st_mtime_ns
        for path in dataset.rglob("*")
        if path.is_file() and path.name not in ("dataset.json", ".lock")
    }


def load(dataset: Path) -> manifests.Manifest:
    return manifests.load(str(dataset))


def is_sound(dataset: Path) -> bool:
    return fma.main(["verify", str(dataset)]) == 0


@pytest.fixture(scope="module")
def original(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("growth")
    make_music(folder)
    assert ingest(folder) == 0
    return folder


@pytest.fixture
def music(original, tmp_path) -> Path:
    """Twelve tracks and their dataset in out/, which a test may change."""
    return Path(shutil.copytree(original, tmp_path / "music", copy_function=shutil.copy2))


def fresh_digest(music: Path) -> str:
    """The digest of a dataset made at once from the present files."""
    assert ingest(music, "fresh", "--max-failures", "50") == 0
    return digest_of(music / "fresh")


def test_a_changed_file_is_reported_and_kept_until_it_is_to_be_updated(music, capsys):
    soundfile.write(music / "0.wav", tone(4, seed=99), 22_050)
    before = digest_of(music / "out")
    assert ingest(music) == 0
    assert "1 track changed, kept as before (--update reads them again): 0" in capsys.readouterr().out
    assert digest_of(music / "out") == before
    assert ingest(music, "out", "--update") == 0
    assert "1 track changed, read again: 0" in capsys.readouterr().out
    assert digest_of(music / "out") == fresh_digest(music) != before
    assert is_sound(music / "out")


def test_an_update_writes_only_the_shards_that_held_the_track(music, capsys):
    soundfile.write(music / "0.wav", tone(4, seed=99), 22_050)
    before = files_of(music / "out")
    assert ingest(music, "out", "--update") == 0
    after = files_of(music / "out")
    assert {path: after[path] for path in before} == before, "an old file was touched"
    assert not last_line(capsys).endswith("0 bytes rewritten")


def test_splits_by_artist_are_kept_while_the_dataset_grows(tmp_path, capsys):
    csv = make_music(tmp_path, 15)
    lines = [line.rpartition(",")[0] for line in csv.read_text().splitlines()]  # without the split column
    csv.write_text("\n".join(lines[:11]) + "\n")
    assert ingest(tmp_path, "out", "--split", "artist") == 0
    first = {track.track_id: track.split for track in read_tracks(str(tmp_path / "out"), load(tmp_path / "out"))}
    assert Counter(first.values()) == {"training": 6, "validation": 2, "test": 2}, "3, 1 and 1 of each genre"
    csv.write_text("\n".join([*lines, "15,0.wav,Jazz,"]) + "\n")
    capsys.readouterr()
    assert ingest(tmp_path, "out", "--split", "artist") == 0
    said = capsys.readouterr()
    assert "changed" not in said.out and "6 new, 10 kept" in said.out
    assert "1 of 16 tracks without an artist" in said.err
    assert "too few to be in every split: Jazz; add music by other artists" in said.err
    grown = {track.track_id: track.split for track in read_tracks(str(tmp_path / "out"), load(tmp_path / "out"))}
    assert first.items() <= grown.items() and len(grown) == 16


def test_a_changed_genre_or_split_is_a_change_too(music, capsys):
    text = (music / "tracks.csv").read_text()
    (music / "tracks.csv").write_text(text.replace("0,0.wav,Rock", "0,0.wav,Blues"))
    assert ingest(music, "out", "--update") == 0
    manifest = manifests.load(str(music / "out"))
    assert manifest.labels == ["Folk", "Rock", "Blues"]
    assert manifest.totals["by_genre"] == {"Blues": 1, "Folk": 6, "Rock": 5}
    assert manifest.digest == fresh_digest(music)


def test_a_vanished_track_is_reported_and_kept_until_it_is_to_be_taken_out(music, capsys):
    lines = (music / "tracks.csv").read_text().splitlines()
    (music / "tracks.csv").write_text("\n".join(line for line in lines if not line.startswith("3,")) + "\n")
    assert ingest(music) == 0
    assert "1 track not in the metadata, kept (--update takes them out): 3" in capsys.readouterr().out
    assert ingest(music, "out", "--update") == 0
    assert "1 track not in the metadata, taken out: 3" in capsys.readouterr().out
    assert manifests.load(str(music / "out")).totals["tracks"] == 11
    assert digest_of(music / "out") == fresh_digest(music)
    assert is_sound(music / "out")


@pytest.mark.long
def test_failed_tracks_that_were_mended_move_into_the_dataset(music, capsys):
    text = (music / "tracks.csv").read_text()
    (music / "tracks.csv").write_text(text + "20,20.wav,Folk,new,training\n21,21.wav,Rock,new,training\n")
    assert ingest(music, "out", "--max-failures", "100") == 0
    (music / "21.wav").write_text("not audio")
    soundfile.write(music / "20.wav", tone(3), 22_050)
    capsys.readouterr()
    assert ingest(music, "out", "--retry-failed", "corrupt_audio") == 0
    assert last_line(capsys) == "nothing new, 0 new, 12 kept, 0 bytes rewritten"
    assert ingest(music, "out", "--retry-failed") == 0
    manifest = manifests.load(str(music / "out"))
    assert manifest.totals["tracks"] == 13
    assert manifest.totals["failures"] == {"corrupt_audio": 1}
    (failed,) = read_failures(str(music / "out"), manifest)
    assert (failed.track_id, failed.reason) == (21, "corrupt_audio")
    assert manifest.digest == fresh_digest(music)
    assert is_sound(music / "out")


def test_a_run_in_batches_equals_a_run_at_once(music, capsys):
    assert ingest(music, "batches", "--commit-every", "5") == 0
    manifest = manifests.load(str(music / "batches"))
    assert [sum(generation.genres.values()) for generation in manifest.generations] == [5, 5, 2]
    assert manifest.digest == digest_of(music / "out")
    assert manifest.labels == manifests.load(str(music / "out")).labels
    assert "12 new, 0 kept" in last_line(capsys)


def test_batches_before_a_bad_one_stay_and_the_next_run_carries_on(music, capsys):
    for name in ("10.wav", "11.flac"):
        shutil.move(music / name, music / f"{name}.away")
    assert ingest(music, "batches", "--commit-every", "5") == 1
    assert manifests.load(str(music / "batches")).totals["tracks"] == 10
    for name in ("10.wav", "11.flac"):
        shutil.move(music / f"{name}.away", music / name)
    capsys.readouterr()
    assert ingest(music, "batches") == 0
    assert last_line(capsys) == "2 new, 10 kept, 0 bytes rewritten"
    assert digest_of(music / "batches") == digest_of(music / "out")


def test_failures_are_counted_over_the_whole_run_and_not_by_the_batch_that_they_fall_into(music, capsys):
    os.unlink(music / "11.flac")
    assert ingest(music, "batches", "--commit-every", "11", "--max-failures", "10") == 0
    said = capsys.readouterr().out
    assert "1 of 12 tracks failed (once fixed, --retry-failed reads them again):" in said
    assert f"  missing_audio: 1, such as 11: {music}/11.flac: no such file or directory: put the file there, or" in said
    assert manifests.load(str(music / "batches")).totals["failures"] == {"missing_audio": 1}
    assert digest_of(music / "batches") == fresh_digest(music)


def test_a_run_that_is_resumed_accepts_the_failures_that_one_without_a_break_accepts(music, capsys):
    (music / "11.flac").write_text("not audio")
    assert ingest(music, "batches", "--commit-every", "10", "--max-failures", "0") == 1
    error = capsys.readouterr().err
    assert "1 of 12 tracks failed (8.3%: 1 corrupt_audio), more than --max-failures 0" in error
    assert re.search(r"^corrupt_audio: 1, such as \d+: not audio that .*get it again", error, re.MULTILINE)
    assert manifests.load(str(music / "batches")).totals["tracks"] == 10
    assert ingest(music, "batches", "--max-failures", "9") == 0
    assert digest_of(music / "batches") == fresh_digest(music)


def test_failures_of_earlier_runs_count_once_a_new_one_fails(music, capsys):
    (music / "tracks.csv").write_text((music / "tracks.csv").read_text() + "20,20.wav,Folk,new,training\n")
    assert ingest(music, "out", "--max-failures", "10") == 0
    with open(music / "tracks.csv", "a") as file:
        file.write("21,21.wav,Folk,new,training\n")
    assert ingest(music, "out", "--max-failures", "10") == 1
    assert "2 of 14 tracks failed (14.3%: 1 missing_audio, 1 in earlier runs)" in capsys.readouterr().err
    soundfile.write(music / "21.wav", tone(3), 22_050)
    assert ingest(music, "out", "--max-failures", "5") == 0, "no track failed that had not failed before"


def test_a_track_that_fails_again_when_it_is_retried_does_not_hold_up_those_that_were_mended(music, capsys):
    for name in ("10.wav", "11.flac"):
        shutil.move(music / name, music / f"{name}.away")
    assert ingest(music, "some", "--max-failures", "20") == 0
    shutil.move(music / "10.wav.away", music / "10.wav")
    assert ingest(music, "some", "--retry-failed") == 0
    totals = manifests.load(str(music / "some")).totals
    assert (totals["tracks"], totals["failures"]) == (11, {"missing_audio": 1})


def test_compaction_leaves_one_generation_with_the_same_digest(music, capsys):
    assert ingest(music, "batches", "--commit-every", "4") == 0
    dataset = music / "batches"
    before = manifests.load(str(dataset))
    old = {file.path for file in before.files()}
    assert fma.main(["compact", str(dataset)]) == 0
    after = manifests.load(str(dataset))
    assert (len(before.generations), len(after.generations)) == (3, 1)
    assert (after.digest, after.labels, after.totals) == (before.digest, before.labels, before.totals)
    assert all((dataset / path).exists() for path in old), "a reader may still have the old files open"
    assert is_sound(dataset)
    assert ingest(music, "batches") == 0
    assert not any((dataset / path).exists() for path in old)
    assert is_sound(dataset)


def test_a_compacted_dataset_equals_one_that_was_made_at_once_file_by_file(music):
    assert ingest(music, "batches", "--commit-every", "4") == 0
    assert fma.main(["compact", str(music / "batches"), "--remove-old"]) == 0
    whole, compacted = (manifests.load(str(music / name)) for name in ("out", "batches"))
    key = lambda shard: (shard.kind, os.path.basename(shard.path))  # noqa: E731
    assert {key(shard): shard.sha256 for kind in ("mel", "raw") for shard in whole.shards(kind)} == {
        key(shard): shard.sha256 for kind in ("mel", "raw") for shard in compacted.shards(kind)
    }


def test_files_that_are_not_the_datasets_outlive_updates_and_compaction(music):
    manifest = manifests.load(str(music / "out"))
    folder = music / "out" / "mel" / manifest.generations[0].name
    (folder / "notes.txt").write_text("dear to somebody")
    (folder / "training-00099-of-00100.tfrecord").write_text("a shard of another dataset")
    (music / "out" / "mel" / "0009-0123abcd").symlink_to(music)
    old = {file.path for file in manifest.files()}
    songs = {path.name for path in music.iterdir()}
    soundfile.write(music / "0.wav", tone(4, seed=99), 22_050)
    assert ingest(music, "out", "--update") == 0
    assert fma.main(["compact", str(music / "out"), "--remove-old"]) == 0
    assert not any((music / "out" / path).exists() for path in old)
    listed = {file.path for file in manifests.load(str(music / "out")).files()}
    theirs = {
        str((folder / name).relative_to(music / "out")) for name in ("notes.txt", "training-00099-of-00100.tfrecord")
    }
    assert set(files_of(music / "out")) == listed | theirs
    assert {path.name for path in music.iterdir()} == songs
    assert is_sound(music / "out")


def test_the_result_as_json_counts_what_was_done(music, capsys):
    soundfile.write(music / "0.wav", tone(4, seed=99), 22_050)
    capsys.readouterr()
    assert ingest(music, "out", "--update", "--json") == 0
    result = json.loads(capsys.readouterr().out)
    assert (result["new"], result["kept"], result["changed"]) == (1, 11, [0])
    assert result["bytes_rewritten"] > 0
    assert result["digest"] == digest_of(music / "out")


def test_a_reader_that_started_before_a_commit_keeps_its_list(music):
    manifest = manifests.load(str(music / "out"))
    soundfile.write(music / "0.wav", tone(4, seed=99), 22_050)
    assert ingest(music, "out", "--update") == 0
    from transforms.dataset.verify import verify

    assert verify(str(music / "out"), manifest).problems == []


def test_fma_clips_and_whole_songs_are_not_mixed(tmp_path, capsys):
    from transforms.config import DatasetConfig
    from transforms.dataset.generation import Generation
    from transforms.dataset.manifest import Manifest, commit

    commit(str(tmp_path / "out"), Manifest(DatasetConfig(), [], [Generation("0001-a", "small")]))
    (tmp_path / "000").mkdir()
    soundfile.write(tmp_path / "000" / "000002.mp3", tone(3), 22_050)
    (tmp_path / "tracks.csv").write_text(
        ",album,artist,set,set,track,track,track,track\n,title,name,split,subset,duration,genre_top,license,title\n"
        "track_id,,,,,,,,\n2,Al,Ann,training,small,300,Rock,CC,Song\n"
    )
    paths = ["--audio", str(tmp_path), "--metadata", str(tmp_path / "tracks.csv"), "--out", str(tmp_path / "out")]
    assert fma.main(["ingest", *paths, "--subset", "full"]) == 2
    assert "holds clips of 30 s" in capsys.readouterr().err
