import hashlib
import json
import os
import resource
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tests.conftest import tone
from tests.trainers.serving.bad_songs import write_ten_hours
from transforms import storage
from transforms.audio.decoder_process import Limits, TrackProcess
from transforms.config import DatasetConfig
from transforms.dataset.build import ShardBuilder
from transforms.dataset.generation import ShardResult
from transforms.dataset.plan import ShardPlan
from transforms.records import deserialize, read_records
from transforms.taxonomy import Vocabulary
from transforms.tracks import Track

LIMITS = Limits()
CONFIG = DatasetConfig(features=("mel", "raw"), n_mels=32, window_frames=20, window_hop_frames=20)


def make_tracks(folder, seconds=(2.0, 2.5, 3.0)) -> list[Track]:
    tracks = []
    for i, length in enumerate(seconds):
        path = folder / f"{i}.wav"
        soundfile.write(path, tone(length, hz=200 + 50 * i), 22_050)
        tracks.append(Track(i, "Rock", "training", str(path), duration=length, size=path.stat().st_size))
    return tracks


def build(dataset, tracks, labels=("Pop", "Rock"), config=CONFIG, limits=LIMITS) -> ShardResult:
    reasons: list[str] = []
    names = Vocabulary(tuple(labels), tuple(sorted(labels)))
    builder = ShardBuilder(str(dataset), "0001-test", names, config, limits=limits, on_track=reasons.append)
    try:
        result = builder.build(ShardPlan("training", 0, 1, tuple(tracks)))
    finally:
        builder.close()
    assert result.error or len(reasons) == len(tracks)
    return result


def records_of(dataset, result, kind):
    shard = next(file for file in result.files if file.kind == kind)
    with open(dataset / shard.path, "rb") as file:
        return [deserialize(data) for data in read_records(file, shard.path)]


def test_a_shard_has_one_file_for_each_kind_with_the_windows_in_order(tmp_path):
    tracks = make_tracks(tmp_path)
    result = build(tmp_path / "out", tracks)
    assert [file.kind for file in result.files] == ["mel", "raw", "tracks"]
    for kind in ("mel", "raw"):
        records = records_of(tmp_path / "out", result, kind)
        assert [(record.track_id, record.window) for record in records] == [
            (track.track_id, window)
            for track in tracks
            for window in range(CONFIG.count_windows(round(track.duration * 22_050)))
        ]
        assert {record.label for record in records} == {1}
    for file in result.files:
        data = (tmp_path / "out" / file.path).read_bytes()
        assert (len(data), hashlib.sha256(data).hexdigest()) == (file.bytes, file.sha256)
        assert file.tracks == 3


def test_a_shard_that_is_built_twice_has_the_same_bytes(tmp_path):
    tracks = make_tracks(tmp_path)
    first, second = build(tmp_path / "a", tracks), build(tmp_path / "b", tracks)
    assert first == second
    for file in first.files:
        assert (tmp_path / "a" / file.path).read_bytes() == (tmp_path / "b" / file.path).read_bytes()


def test_a_track_that_turns_out_bad_at_its_end_leaves_nothing_in_the_shard(tmp_path):
    tracks = make_tracks(tmp_path)
    cut_off = Track(1, "Rock", "training", tracks[1].path, duration=30.0)
    with_failure = build(tmp_path / "a", [tracks[0], cut_off, tracks[2]])
    without = build(tmp_path / "b", [tracks[0], tracks[2]])
    assert with_failure.failures == {"truncated_audio": 1}
    assert [file for file in with_failure.files if file.kind != "failures"] == without.files
    ledger = next(file for file in with_failure.files if file.kind == "failures")
    line = json.loads((tmp_path / "a" / ledger.path).read_text())
    assert (line["track_id"], line["reason"]) == (1, "truncated_audio")
    assert line["path"] == tracks[1].path
    assert "30.0 s are declared" in line["message"]


def test_a_shard_of_failures_alone_has_no_record_files(tmp_path):
    result = build(tmp_path / "out", [Track(5, "Rock", "training", str(tmp_path / "none.mp3"))])
    assert [file.kind for file in result.files] == ["failures"]
    assert result.failures == {"missing_audio": 1}
    assert [path for path, _ in storage.list_files(str(tmp_path / "out"))] == [
        str(tmp_path / "out" / result.files[0].path)
    ]


def test_equal_sound_has_an_equal_hash_under_any_name(tmp_path):
    one, two, _ = make_tracks(tmp_path)
    copy = Track(9, "Pop", "training", one.path)
    result = build(tmp_path / "out", [one, two, copy])
    ledger = next(file for file in result.files if file.kind == "tracks")
    lines = [json.loads(line) for line in (tmp_path / "out" / ledger.path).read_text().splitlines()]
    assert lines[0]["audio_sha256"] == lines[2]["audio_sha256"] != lines[1]["audio_sha256"]
    assert lines[0]["digest"] != lines[2]["digest"]


def test_a_file_system_that_takes_no_more_is_an_error_that_names_the_shard_and_leaves_no_file(tmp_path):
    tracks = make_tracks(tmp_path)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, limits[1]))
    try:
        result = build(tmp_path / "out", tracks)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert result.error.startswith("training-00000-of-00001: file too large: this file system takes no file")
    assert list(storage.list_files(str(tmp_path / "out"))) == []


def test_an_unexpected_exception_is_raised_with_the_track_named(tmp_path):
    tracks = make_tracks(tmp_path)
    with pytest.raises(RuntimeError, match=r"track 0 \(.*0\.wav\): KeyError"):
        build(tmp_path / "out", tracks, labels=("Pop",))
    assert list(storage.list_files(str(tmp_path / "out"))) == []


def test_an_unexpected_exception_while_decoding_is_raised_with_track_and_traceback(tmp_path):
    tracks = make_tracks(tmp_path)
    with pytest.raises(RuntimeError, match=r"track 0 \(.*0\.wav\): (.|\n)*unknown quality") as error:
        build(tmp_path / "out", tracks, config=replace(CONFIG, sample_rate=8000, resampler="unknown quality"))
    assert "Traceback" in str(error.value)


def message(folder: Path) -> str:
    """Return what the one failed track of a dataset's folder has in its ledger line."""
    (ledger,) = [path for path in folder.rglob("*.jsonl") if "failures" in path.parts and path.stat().st_size]
    return json.loads(ledger.read_text())["message"]


def test_a_track_that_hangs_is_a_timeout_and_the_others_go_on(tmp_path):
    tracks = make_tracks(tmp_path)
    write_ten_hours(tmp_path / "long.wav")
    hangs = replace(tracks[1], path=str(tmp_path / "long.wav"), duration=None)
    with_hang = build(tmp_path / "a", [tracks[0], hangs, tracks[2]], limits=Limits(seconds=4))
    assert with_hang.failures == {"timeout": 1}
    assert message(tmp_path / "a") == "not done within 4 s: --retry-failed timeout --track-timeout 8 allows more"
    without = build(tmp_path / "b", [tracks[0], tracks[2]])
    assert [file for file in with_hang.files if file.kind != "failures"] == without.files


def test_a_track_that_takes_too_much_memory_is_out_of_memory_and_the_others_go_on(tmp_path):
    tracks = make_tracks(tmp_path)
    soundfile.write(tmp_path / "bomb.wav", np.zeros(100_000, np.float32), 1)  # at 1 Hz: 28 hours
    bomb = replace(tracks[1], path=str(tmp_path / "bomb.wav"), duration=None)
    result = build(tmp_path / "a", [tracks[0], bomb, tracks[2]], limits=Limits(megabytes=500))
    assert result.failures == {"out_of_memory": 1}
    assert message(tmp_path / "a").endswith("): --retry-failed out_of_memory --track-memory 1000 allows more")
    assert result.genres == {"Rock": 2}


def test_a_decoder_process_that_is_killed_once_costs_nothing(tmp_path):
    tracks = make_tracks(tmp_path)
    undisturbed = build(tmp_path / "a", tracks)
    builder = ShardBuilder(str(tmp_path / "b"), "0001-test", Vocabulary(("Pop", "Rock"), ("Pop", "Rock")), CONFIG)
    written = TrackProcess.extract

    def kill_after_the_first_record(self, track, label, write, **options):
        def kill_then_write(*record):
            TrackProcess.extract = written
            os.kill(self._process.pid, signal.SIGKILL)
            write(*record)

        return written(self, track, label, kill_then_write, **options)

    try:
        TrackProcess.extract = kill_after_the_first_record
        result = builder.build(ShardPlan("training", 0, 1, tuple(tracks)))
    finally:
        TrackProcess.extract = written
        builder.close()
    assert result == undisturbed


def test_a_result_comes_back_from_its_line(tmp_path):
    result = build(tmp_path / "out", make_tracks(tmp_path))
    assert ShardResult.from_line(result.to_line()) == result
