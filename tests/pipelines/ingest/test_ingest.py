"""`fma ingest` end to end, on real Beam and real audio files."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

import fma
from tests.conftest import tone
from tests.faults.mp3 import frames_of
from tests.transforms.catalog.test_locate import special_files
from transforms.dataset import manifest as manifests
from transforms.dataset.ledger import read_failures, read_tracks

GENRES = ("Rock", "Folk")
SMALL = ["--n-mels", "32", "--window-frames", "20", "--features", "mel,raw"]


def make_music(folder: Path, tracks: int = 12, start: int = 0, genres=GENRES, name: str = "tracks.csv") -> Path:
    """A plain csv and its files in several formats; returns the csv's path."""
    formats = ("wav", "flac", "ogg", "mp3", "au")
    rows = []
    for i in range(start, start + tracks):
        path = f"{i}.{formats[i % len(formats)]}"
        soundfile.write(
            folder / path,
            tone(2 + i % 3, (22_050, 44_100, 8000)[i % 3], 1 + i % 2, 200 + 9 * i, i),
            (22_050, 44_100, 8000)[i % 3],
        )
        split = ("training", "training", "validation", "test")[i // len(genres) % 4]
        rows.append((i, path, genres[i % len(genres)], f"artist {i}", split))
    with open(folder / name, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("track_id", "path", "genre", "artist", "split"))
        writer.writerows(rows)
    return folder / name


def ingest(folder: Path, out: str = "out", *more: str, metadata: str = "tracks.csv", settings=SMALL) -> int:
    paths = ["--audio", str(folder), "--metadata", str(folder / metadata), "--out", str(folder / out)]
    return fma.main(["ingest", *paths, *settings, *more])


def digest_of(dataset: Path) -> str:
    return manifests.load(str(dataset)).digest


@pytest.fixture(scope="module")
def music(tmp_path_factory) -> Path:
    """Twelve good tracks, and their dataset in out/."""
    folder = tmp_path_factory.mktemp("music")
    make_music(folder)
    assert ingest(folder) == 0
    return folder


def test_a_plain_csv_with_every_format_becomes_a_dataset(music):
    manifest = manifests.load(str(music / "out"))
    totals = manifest.totals
    assert totals["tracks"] == 12
    assert totals["by_split"] == {"training": 8, "validation": 2, "test": 2}
    assert totals["by_genre"] == {"Folk": 6, "Rock": 6}
    assert totals["records"]["mel"] == totals["records"]["raw"] > 12
    assert manifest.labels == ["Folk", "Rock"]
    assert not (music / "out" / "plan").is_dir() or not any((music / "out" / "plan").iterdir())


def test_tf_data_reads_every_record_back_through_the_parser(music):
    import tensorflow as tf

    from transforms.records import parse_example

    manifest = manifests.load(str(music / "out"))
    for kind, shape in (("mel", [32, 20]), ("raw", [20 * 512])):
        paths = [str(music / "out" / shard.path) for shard in manifest.shards(kind)]
        records = tf.data.TFRecordDataset(paths).map(
            lambda serialized, kind=kind: parse_example(kind, manifest.config, serialized)
        )
        assert records.element_spec[kind].shape.as_list() == shape
        found = list(records)
        assert len(found) == manifest.totals["records"][kind]
        assert {int(record["track_id"]) for record in found} == set(range(12))


def test_verify_finds_the_dataset_sound(music, capsys):
    assert fma.main(["verify", str(music / "out"), "--json"]) == 0
    verdict = json.loads(capsys.readouterr().out)
    assert verdict["ok"]
    assert verdict["digest"] == digest_of(music / "out")


@pytest.mark.parametrize("more", [["--workers", "2"], ["--shards", "1"], ["--direct_running_mode=multi_threading"]])
def test_another_worker_count_or_shard_count_gives_the_same_digest(music, tmp_path, more):
    out = str(tmp_path / "other")
    paths = ["--audio", str(music), "--metadata", str(music / "tracks.csv"), "--out", out]
    assert fma.main(["ingest", *paths, *SMALL, *more]) == 0
    assert digest_of(Path(out)) == digest_of(music / "out")


def test_a_second_run_has_nothing_new_and_does_not_start_beam(music):
    script = (
        "import sys, fma; code = fma.main(sys.argv[1:]); "
        "sys.exit(3 if 'apache_beam' in sys.modules or 'tensorflow' in sys.modules else code)"
    )
    paths = ["--audio", str(music), "--metadata", str(music / "tracks.csv"), "--out", str(music / "out")]
    before = (music / "out" / "dataset.json").stat().st_mtime_ns
    ran = subprocess.run([sys.executable, "-c", script, "ingest", *paths], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.splitlines()[-1] == "nothing new, 0 new, 12 kept, 0 bytes rewritten"
    assert (music / "out" / "dataset.json").stat().st_mtime_ns == before


def test_a_grown_dataset_equals_one_made_at_once(tmp_path, capsys):
    make_music(tmp_path, 12)
    assert ingest(tmp_path, "grown") == 0
    shards = {shard.path: shard for shard in manifests.load(str(tmp_path / "grown")).shards("mel")}
    stamps = {path: (tmp_path / "grown" / path).stat().st_mtime_ns for path in shards}
    make_music(tmp_path, 16, genres=("Rock", "Folk", "Blues", "Folk"), name="more.csv")
    make_music(tmp_path, 12)
    lines = (tmp_path / "tracks.csv").read_text().splitlines()
    more = (tmp_path / "more.csv").read_text().splitlines()
    (tmp_path / "all.csv").write_text("\n".join(lines + more[13:]) + "\n")
    capsys.readouterr()
    assert ingest(tmp_path, "grown", metadata="all.csv") == 0
    assert capsys.readouterr().out.splitlines()[-1] == "4 new, 12 kept, 0 bytes rewritten"
    assert ingest(tmp_path, "whole", metadata="all.csv") == 0
    grown, whole = manifests.load(str(tmp_path / "grown")), manifests.load(str(tmp_path / "whole"))
    assert grown.labels == ["Folk", "Rock", "Blues"]
    assert whole.labels == ["Blues", "Folk", "Rock"]
    assert grown.digest == whole.digest
    assert {path: (tmp_path / "grown" / path).stat().st_mtime_ns for path in shards} == stamps
    assert fma.main(["verify", str(tmp_path / "grown")]) == 0


def break_some(folder: Path) -> None:
    """Rows 4 to 6 get a missing, an empty and a corrupt file."""
    os.unlink(folder / "4.au")
    (folder / "5.wav").write_bytes(b"")
    (folder / "6.flac").write_bytes(b"not audio at all\n" * 20)


def test_broken_tracks_are_listed_with_reasons_and_the_rest_is_ingested(tmp_path, capsys):
    make_music(tmp_path)
    break_some(tmp_path)
    assert ingest(tmp_path, "out", "--max-failures", "30%") == 0
    out = capsys.readouterr().out
    assert "3 of 12 tracks failed" in out
    manifest = manifests.load(str(tmp_path / "out"))
    assert manifest.totals["tracks"] == 9
    assert manifest.totals["failures"] == {"corrupt_audio": 1, "empty_audio": 1, "missing_audio": 1}
    failures = list(read_failures(str(tmp_path / "out"), manifest))
    assert {track.track_id: track.reason for track in failures} == {
        4: "missing_audio",
        5: "empty_audio",
        6: "corrupt_audio",
    }
    assert all(track.path and track.message for track in failures)
    assert fma.main(["verify", str(tmp_path / "out")]) == 0


def test_rows_that_name_no_regular_file_cost_their_own_tracks_alone(tmp_path, capsys):
    make_music(tmp_path, 4)
    paths = [*special_files(tmp_path), "/proc/self/mem"]
    with open(tmp_path / "tracks.csv", "a") as file:
        file.writelines(f"{20 + i},{path},Rock,artist,training\n" for i, path in enumerate(paths))
    assert ingest(tmp_path, "out", "--max-failures", "100", "--workers", "1") == 0
    manifest = manifests.load(str(tmp_path / "out"))
    assert manifest.totals["tracks"] == 4
    assert manifest.totals["failures"] == {"not_a_file": len(paths) - 1, "unreadable_audio": 1}


def test_more_failures_than_allowed_leave_the_dataset_unchanged(tmp_path, capsys):
    make_music(tmp_path)
    break_some(tmp_path)
    assert ingest(tmp_path) == 1
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert "3 of 12 tracks failed (25.0%" in error
    assert error.endswith("to accept that many, without building them again, give --max-failures 25")
    assert not (tmp_path / "out" / "dataset.json").exists()
    failures = [line for path in (tmp_path / "out" / "failures").rglob("*.jsonl") for line in path.open()]
    assert len(failures) == 3


def test_failed_tracks_are_not_tried_again_silently(tmp_path, capsys):
    make_music(tmp_path)
    break_some(tmp_path)
    assert ingest(tmp_path, "out", "--max-failures", "30") == 0
    capsys.readouterr()
    assert ingest(tmp_path) == 0
    assert "not tried again, since they failed before (--retry-failed does): 3 tracks" in capsys.readouterr().out


def test_silence_is_ingested_and_flagged(tmp_path, capsys):
    make_music(tmp_path)
    soundfile.write(tmp_path / "0.wav", np.zeros(44_100, np.float32), 22_050)
    assert ingest(tmp_path) == 0
    assert "digital silence: 1 track\n" in capsys.readouterr().out


def test_frames_that_lost_their_content_are_counted_and_shown_with_the_tracks_share(tmp_path, capsys):
    make_music(tmp_path)
    mp3 = bytearray((tmp_path / "3.mp3").read_bytes())
    frames = frames_of(bytes(mp3))
    for frame in frames[10:30]:
        mp3[frame.start + 4 : frame.stop] = bytes(len(frame) - 4)
    (tmp_path / "3.mp3").write_bytes(mp3)
    assert ingest(tmp_path) == 0
    assert "as lost frames leave them (zeroed_share in a track's ledger line): 1 track\n" in capsys.readouterr().out
    manifest = manifests.load(str(tmp_path / "out"))
    assert manifest.totals["zeroed"] == 1
    shares = {track.track_id: track.zeroed_share for track in read_tracks(str(tmp_path / "out"), manifest)}
    assert shares.pop(3) == pytest.approx(20 / len(frames), rel=0.15)
    assert set(shares.values()) == {0}


def test_a_dataset_without_a_split_is_allowed_and_said_so(tmp_path, capsys):
    make_music(tmp_path)
    text = (tmp_path / "tracks.csv").read_text()
    (tmp_path / "tracks.csv").write_text(text.replace("training", "test").replace("validation", "test"))
    assert ingest(tmp_path) == 0
    out = capsys.readouterr().out
    assert "there are no training tracks" in out
    assert "there are no validation tracks" in out


def test_other_settings_than_the_datasets_are_refused_by_name(music, capsys):
    assert ingest(music, "out", settings=["--n-mels", "64"]) == 2
    error = capsys.readouterr().err
    assert "n_mels is 32, not 64" in error
    assert len(error.strip().splitlines()) == 1


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--runnr=FnApiRunner"], "unknown option --runnr"),
        (["--hop-length", "4096"], "--hop-length must be"),
        (["--features", "chroma"], "unknown kind chroma"),
        (["--features", ""], "name at least one kind"),
    ],
)
def test_bad_options_are_one_line_and_exit_code_2(tmp_path, capsys, more, message):
    make_music(tmp_path, 1)
    assert ingest(tmp_path, "out", *more, settings=[]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert len(error.strip().splitlines()) == 1
    assert not (tmp_path / "out" / "dataset.json").exists()


@pytest.mark.parametrize("what", ["audio", "metadata"])
def test_a_wrong_path_is_one_line_and_exit_code_2(tmp_path, capsys, what):
    make_music(tmp_path, 1)
    paths = {"audio": str(tmp_path), "metadata": str(tmp_path / "tracks.csv")} | {what: str(tmp_path / "nowhere")}
    arguments = [f"--{name}={path}" for name, path in paths.items()]
    assert fma.main(["ingest", *arguments, "--out", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert "nowhere" in error
    assert len(error.strip().splitlines()) == 1


def test_a_target_that_may_not_be_written_is_one_line_and_exit_code_1(tmp_path, capsys):
    make_music(tmp_path, 1)
    (tmp_path / "file").write_text("")
    assert ingest(tmp_path, "file/out") in (1, 2)
    assert len(capsys.readouterr().err.strip().splitlines()) == 1


@pytest.mark.long
def test_two_ingests_at_once_do_not_mix(music, capsys):
    from transforms.dataset.growth import locked

    with locked(str(music / "out")):
        assert ingest(music) == 1
    assert "another command is writing" in capsys.readouterr().err


def test_an_unexpected_exception_fails_the_job_with_the_track_named(tmp_path, monkeypatch):
    make_music(tmp_path, 4)
    monkeypatch.setattr("transforms.audio.decoder_process.TrackProcess.extract", lambda *args, **options: 1 / 0)
    with pytest.raises(Exception, match=r"track \d \(.*\): ZeroDivisionError"):
        ingest(tmp_path)
    assert not (tmp_path / "out" / "dataset.json").exists()


def test_music_in_the_folder_to_write_to_is_left_alone(tmp_path, capsys):
    make_music(tmp_path, 4)
    before = sorted(path.name for path in tmp_path.iterdir())
    assert ingest(tmp_path, ".") == 2
    assert "is not empty and holds no dataset (it holds 0.wav); give another" in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_a_dataset_whose_path_begins_with_file_grows_like_any_other(tmp_path, capsys):
    make_music(tmp_path, 4)
    paths = ["--audio", str(tmp_path), "--metadata", str(tmp_path / "tracks.csv"), "--out", f"file://{tmp_path}/out"]
    for _ in range(2):
        assert fma.main(["ingest", *paths, *SMALL]) == 0
        assert fma.main(["verify", f"file://{tmp_path}/out"]) == 0
    assert "nothing new, 0 new, 4 kept" in capsys.readouterr().out


def test_what_a_run_left_that_was_refused_is_removed_by_the_next_one_and_other_files_stay(tmp_path, capsys):
    make_music(tmp_path)
    break_some(tmp_path)
    assert ingest(tmp_path) == 1
    (ledger,) = {path.parent for path in (tmp_path / "out" / "failures").rglob("*.jsonl")}
    (ledger / "notes.txt").write_text("why they failed")
    assert ingest(tmp_path, "out", "--max-failures", "30", "--shards", "1") == 2
    assert "is not empty and holds no dataset (it holds failures/" in capsys.readouterr().err
    (ledger / "notes.txt").rename(tmp_path / "notes.txt")
    assert ingest(tmp_path, "out", "--max-failures", "30", "--shards", "1") == 0
    assert "files that an interrupted or earlier run had left behind" in capsys.readouterr().err
    manifest = manifests.load(str(tmp_path / "out"))
    found = {str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*") if path.is_file()}
    assert found == {file.path for file in manifest.files()} | {"dataset.json", ".lock"}


def test_ingest_runs_as_a_module_too(tmp_path):
    make_music(tmp_path, 4)
    paths = ["--audio", str(tmp_path), "--metadata", str(tmp_path / "tracks.csv"), "--out", str(tmp_path / "out")]
    ran = subprocess.run(
        [sys.executable, "-m", "pipelines.commands.ingest", *paths, *SMALL, "--json"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    assert json.loads(ran.stdout)["new"] == 4
