"""Jobs that die: the next run uses what they have built, if it is what was written and what is still asked for."""

import json
import os
import shutil
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pipelines import shard_jobs
from pipelines.ingest.beam import BuildShard
from tests.pipelines.ingest.test_ingest import SMALL, break_some, ingest, make_music
from tests.processes import start
from transforms.dataset import manifest as manifests
from transforms.dataset.generation import ShardResult
from transforms.dataset.plan import ShardPlan

MORE = ("--shards", "3", "--max-failures", "30")
BROKEN = ("4.au", "5.wav", "6.flac")
BUILT = 3  # shards that are built before the job dies


def built(dataset: Path) -> dict[Path, int]:
    """Modification times of the record files of the shards whose results a job has kept."""
    lines = [path.read_text().splitlines()[0] for path in dataset.glob("plan/*/results/*.json")]
    files = (file for line in lines for file in ShardResult.from_line(line).files)
    return {dataset / file.path: (dataset / file.path).stat().st_mtime_ns for file in files}


def names_of(dataset: Path) -> set[str]:
    """The names of a dataset's shards."""
    return {file.name for file in manifests.load(str(dataset)).files()}


def folders_of(dataset: Path, kind: str) -> set[str]:
    """The folders of a kind, relative to the dataset."""
    return {os.path.dirname(file.path) for file in manifests.load(str(dataset)).files() if file.kind == kind}


@pytest.fixture(scope="module")
def music(tmp_path_factory) -> Path:
    """Twelve tracks, three of them broken; whole/ is their dataset, out/ what a job has left that died on the way."""
    folder = tmp_path_factory.mktemp("resume")
    make_music(folder)
    break_some(folder)
    assert ingest(folder, "whole", *MORE) == 0
    with pytest.MonkeyPatch.context() as patch:
        process, calls = BuildShard.process, Counter[str]()

        def die(self, line):
            calls["shards"] += 1
            if calls["shards"] > BUILT:
                raise ConnectionError("the worker is gone")
            process(self, line)

        patch.setattr(BuildShard, "process", die)
        with pytest.raises(ConnectionError, match="the worker is gone"):
            ingest(folder, "out", *MORE)
    return folder


@pytest.fixture
def dead(music, tmp_path) -> Path:
    """A copy of out/ that may be changed."""
    return Path(shutil.copytree(music / "out", tmp_path / "out", copy_function=shutil.copy2))


@pytest.fixture
def shards(monkeypatch) -> Iterator[list[str]]:
    """The plan lines of the shards that are built."""
    lines: list[str] = []
    process = BuildShard.process
    monkeypatch.setattr(BuildShard, "process", lambda self, line: lines.append(line) or process(self, line))
    return lines


def assert_equal(dataset: Path, undisturbed: Path) -> None:
    """Compares all that is stored, failures included."""
    manifest = manifests.load(str(dataset))
    assert manifest == manifests.load(str(undisturbed))
    assert sum(manifest.totals["failures"].values()) == 3
    found = {str(path.relative_to(dataset)) for path in dataset.rglob("*") if path.is_file()}
    assert found == {file.path for file in manifest.files()} | {"dataset.json", ".lock"}
    for file in manifest.files():
        assert (dataset / file.path).read_bytes() == (undisturbed / file.path).read_bytes()


def test_the_next_run_builds_the_rest_and_ends_in_what_an_undisturbed_run_ends_in(music, dead, shards, capsys):
    before = built(dead)
    names = names_of(music / "whole")
    assert ingest(music, str(dead), *MORE) == 0
    said = capsys.readouterr().err
    assert f"{BUILT} of {len(names)} shards were built before" in said
    assert "ingest: 12 of 12 tracks" in said
    assert len(shards) == len(names) - BUILT
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert_equal(dead, music / "whole")


@pytest.fixture
def refused(tmp_path) -> Path:
    """A folder of music, three of twelve tracks of the right size broken; out/ is what a run left that was refused."""
    make_music(tmp_path)
    shutil.copytree(tmp_path, tmp_path / "intact")
    for name in BROKEN:
        (tmp_path / name).write_bytes(b"x" * (tmp_path / name).stat().st_size)
    assert ingest(tmp_path, "out", "--shards", "3") == 1
    return tmp_path


def test_where_the_failures_of_a_refused_run_are_accepted_nothing_is_built_again(music, refused, shards, capsys):
    assert ingest(refused, "out", *MORE) == 0
    assert not shards
    assert manifests.load(str(refused / "out")).digest == manifests.load(str(music / "whole")).digest


def test_tracks_that_were_mended_after_a_refusal_are_read_again(refused, shards, capsys):
    failed = {path.stem for path in refused.glob("out/failures/*/*.jsonl")}
    shutil.copytree(refused / "intact", refused, dirs_exist_ok=True)
    assert ingest(refused, "out", "--shards", "3") == 0
    assert {ShardPlan.from_line(line).name for line in shards} == failed
    assert manifests.load(str(refused / "out")).totals["tracks"] == 12


def flip_a_byte(dataset: Path) -> None:
    path = min(dataset.glob("mel/*/*.tfrecord"))
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def change_a_result(dataset: Path) -> None:
    path = next(path for path in dataset.glob("plan/*/results/*.json") if '"records": ' in path.read_text())
    path.write_text(path.read_text().replace('"records": ', '"records": 1', 1))


DAMAGE: dict[str, Callable[[Path], object]] = {
    "a byte of a shard is flipped": flip_a_byte,
    "a shard is cut": lambda dataset: os.truncate(min(dataset.glob("raw/*/*.tfrecord")), 1000),
    "a shard is missing": lambda dataset: min(dataset.glob("mel/*/*.tfrecord")).unlink(),
    "a ledger is missing": lambda dataset: min(dataset.glob("tracks/*/*.jsonl")).unlink(),
    "a result is missing": lambda dataset: min(dataset.glob("plan/*/results/*.json")).unlink(),
    "a result is cut": lambda dataset: os.truncate(min(dataset.glob("plan/*/results/*.json")), 100),
    "a result is changed": change_a_result,
}


@pytest.mark.parametrize("what", DAMAGE)
def test_what_is_not_what_was_written_is_built_again(music, dead, shards, capsys, what):
    DAMAGE[what](dead)
    names = names_of(music / "whole")
    assert ingest(music, str(dead), *MORE) == 0
    assert f"{BUILT - 1} of {len(names)} shards were built before" in capsys.readouterr().err
    assert len(shards) == len(names) - BUILT + 1
    assert_equal(dead, music / "whole")


def test_a_shard_whose_audio_has_another_size_since_is_built_again(music, dead, shards):
    ledger = min(dead.glob("tracks/*/*.jsonl"))
    number = json.loads(ledger.read_text().splitlines()[0])["track_id"]
    audio = next(music.glob(f"{number}.*"))
    size = audio.stat().st_size
    os.truncate(audio, size + 10)
    try:
        assert ingest(music, str(dead), *MORE) == 0
    finally:
        os.truncate(audio, size)
    assert len(shards) == len(names_of(music / "whole")) - BUILT + 1
    assert ledger.stem in {ShardPlan.from_line(line).name for line in shards}


@pytest.mark.parametrize("what", ["limits", "program"])
def test_other_limits_and_another_program_use_none_of_it(music, dead, shards, monkeypatch, what):
    more = ("--track-timeout", "300") if what == "limits" else ()
    if what == "program":
        monkeypatch.setattr(shard_jobs, "WORKER_PACKAGES", ("transforms",))
    shard_jobs.code_digest.cache_clear()
    try:
        assert ingest(music, str(dead), *MORE, *more) == 0
    finally:
        shard_jobs.code_digest.cache_clear()
    assert len(shards) == len(names_of(music / "whole"))
    assert_equal(dead, music / "whole")


def test_another_plan_uses_none_of_it_and_removes_it_first(music, dead, shards, capsys):
    assert ingest(music, str(dead), *MORE, "--shards", "1") == 0
    said = capsys.readouterr().err
    assert "files that an interrupted or earlier run had left behind" in said
    assert "were built before" not in said
    assert len(shards) == 3
    found = {str(path.relative_to(dead)) for path in dead.rglob("*") if path.is_file()}
    assert found == {file.path for file in manifests.load(str(dead)).files()} | {"dataset.json", ".lock"}


def test_a_shard_that_could_not_be_built_is_tried_again_and_the_others_are_not(music, dead, shards, capsys):
    missing = sorted(names_of(music / "whole") - {path.stem for path in dead.rglob("*.jsonl")})
    (obstacle,) = [dead / folder / f"{missing[0]}.tfrecord" for folder in folders_of(music / "whole", "raw")]
    obstacle.mkdir()
    assert ingest(music, str(dead), *MORE) == 1
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith(f"fma: error: {missing[0]}: ")
    assert line.endswith("(1 of 6 shards failed)")
    shards.clear()
    obstacle.rmdir()
    assert ingest(music, str(dead), *MORE) == 0
    assert [ShardPlan.from_line(line).name for line in shards] == [missing[0]]
    assert_equal(dead, music / "whole")


def test_a_run_that_was_refused_leaves_no_result_so_that_a_repaired_track_of_the_same_size_is_read_again(tmp_path):
    make_music(tmp_path, 4)
    whole = (tmp_path / "0.wav").read_bytes()
    (tmp_path / "0.wav").write_bytes(bytes(len(whole)))
    assert ingest(tmp_path, "out", "--shards", "8") == 1
    (tmp_path / "0.wav").write_bytes(whole)
    assert ingest(tmp_path, "out", "--shards", "8") == 0
    assert manifests.load(str(tmp_path / "out")).totals["failures"] == {}


@pytest.mark.long
def test_after_a_kill_of_launcher_and_workers_the_next_run_builds_at_most_the_rest(tmp_path, capsys):
    make_music(tmp_path, 60)
    paths = ["--audio", str(tmp_path), "--metadata", str(tmp_path / "tracks.csv"), "--out", str(tmp_path / "out")]
    command = ["ingest", *paths, *SMALL, "--shards", "12"]
    process = start([*command, "--workers", "2"])
    deadline = time.monotonic() + 120
    while len(list((tmp_path / "out").glob("plan/*/results/*.json"))) < 5:
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    before = built(tmp_path / "out")
    names = {path.name.partition(".")[0] for path in before}
    assert not (tmp_path / "out" / "dataset.json").exists()
    assert ingest(tmp_path, "out", "--shards", "12") == 0
    assert ingest(tmp_path, "whole", "--shards", "12") == 0
    manifest = manifests.load(str(tmp_path / "out"))
    total = len(names_of(tmp_path / "out"))
    assert 5 <= len(names) < total
    assert f"{len(names)} of {total} shards were built before" in capsys.readouterr().err
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert manifest == manifests.load(str(tmp_path / "whole"))
