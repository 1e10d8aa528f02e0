"""What is removed from a dataset's folder: files that a list names and dataset.json does not, and nothing else."""

import json
import os
from pathlib import Path

import pytest

from transforms import storage
from transforms.config import DatasetConfig
from transforms.dataset.generation import Generation, ShardFile
from transforms.dataset.leftovers import (
    announce,
    find_foreign,
    planned_files,
    remove_leftovers,
    result_path,
    scratch_folder,
    settle,
)
from transforms.dataset.manifest import Manifest
from transforms.dataset.plan import ShardPlan
from transforms.errors import FmaError
from transforms.tracks import Track

NAME = "0001-c0ffee00"
SHARD = f"mel/{NAME}/test-00000-of-00001.tfrecord"
LISTED = ShardFile(SHARD, "mel", "test")
EMPTY = Manifest(DatasetConfig())
WHOLE = Manifest(DatasetConfig(), [], [Generation(NAME, "small", shards=[LISTED])])


def write(folder: Path, *paths: str) -> None:
    for path in paths:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(path)


def left(folder: Path) -> set[str]:
    found = (path for path in folder.rglob("*") if path.is_file() or path.is_symlink())
    return {str(path.relative_to(folder)) for path in found}


def test_only_files_that_are_listed_and_not_in_the_manifest_are_removed(tmp_path):
    old, ledger = f"mel/{NAME}/0000-aaaaaaaa-test-00000-of-00001.tfrecord", "tracks/0002-deadbeef/a.jsonl"
    theirs = (f"mel/{NAME}/thesis.doc", f"mel/{NAME}/training-00000-of-00001.tfrecord", "notes/c", f"plan/{NAME}/d")
    write(tmp_path, SHARD, old, ledger, *theirs)
    announce(str(tmp_path), NAME, [SHARD, old])
    announce(str(tmp_path), "0002-deadbeef", [ledger, "tracks/0002-deadbeef/absent.jsonl"])
    assert remove_leftovers(str(tmp_path), WHOLE) == 4, "two files and two lists"
    assert left(tmp_path) == {SHARD, *theirs}
    assert not (tmp_path / "tracks").exists()


def test_what_was_staged_for_a_listed_file_goes_and_names_that_only_look_so_stay(tmp_path):
    staged = storage.staging_path(f"{tmp_path}/{SHARD}")
    theirs = [f"mel/{NAME}/{name}" for name in (".notes.tmp", ".thesis.doc.12.0123abcd.tmp", f".{SHARD[-33:]}.1.tmp")]
    write(tmp_path, os.path.relpath(staged, tmp_path), *theirs)
    announce(str(tmp_path), NAME, [SHARD])
    for manifest in (WHOLE, EMPTY):
        announce(str(tmp_path), NAME, [SHARD])
        write(tmp_path, os.path.relpath(staged, tmp_path), SHARD)
        remove_leftovers(str(tmp_path), manifest)
        assert left(tmp_path) == {*theirs, *(file.path for file in manifest.files())}


def test_what_a_job_wrote_beyond_what_was_committed_goes_after_the_commit(tmp_path):
    result = result_path(NAME, "0" * 32)
    staged, ledger = storage.staging_path(f"{tmp_path}/{result}"), f"failures/{NAME}/test-00000-of-00001.jsonl"
    theirs = (f"plan/{NAME}/results/mine.json", f"plan/{NAME}/results/{'0' * 32}.json.gz")
    announce(str(tmp_path), NAME, [SHARD, ledger])
    job = (f"plan/{NAME}/plan.jsonl", f"plan/{NAME}/results.jsonl", result, os.path.relpath(staged, tmp_path))
    write(tmp_path, SHARD, ledger, *job)
    assert find_foreign(str(tmp_path)) is None
    write(tmp_path, *theirs)
    assert find_foreign(str(tmp_path)) == theirs[1]
    settle(str(tmp_path), NAME, WHOLE)
    assert left(tmp_path) == {SHARD, *theirs}
    write(tmp_path, result)
    assert remove_leftovers(str(tmp_path), WHOLE) == 1, "a worker that was thought dead wrote it after that"
    assert left(tmp_path) == {SHARD, *theirs}


@pytest.mark.parametrize("link", ["mel", f"mel/{NAME}", SHARD, f"plan/{NAME}", "plan"])
def test_links_stay_and_so_does_what_they_lead_to(tmp_path, link):
    theirs, dataset = tmp_path / "theirs", tmp_path / "data"
    write(theirs, SHARD, f"plan/{NAME}/plan.jsonl", f"plan/{NAME}/files.json")
    (theirs / f"plan/{NAME}/files.json").write_text(json.dumps({"new": [SHARD], "replaced": []}))
    announce(str(dataset), NAME, [SHARD])
    write(dataset, SHARD, f"plan/{NAME}/plan.jsonl")
    moved = dataset / link
    moved.rename(tmp_path / "moved")
    moved.symlink_to(theirs / link)
    before = left(theirs)
    remove_leftovers(str(dataset), EMPTY)
    assert left(theirs) == before
    assert moved.is_symlink()


def test_a_folder_to_write_to_that_is_a_link_is_refused(tmp_path):
    write(tmp_path, "theirs/notes.txt", "data/mel/a")
    (tmp_path / "data/mel" / NAME).symlink_to(tmp_path / "theirs")
    with pytest.raises(FmaError, match=f"/data/mel/{NAME} is a link: remove it, or move its files here"):
        announce(f"{tmp_path}/data", NAME, [SHARD])


@pytest.mark.parametrize(
    "path", ["../mine/mel/a", "/etc/passwd", "mel/../../a", "mel//a", "mel/..", "dataset.json", "mel/a\\n"]
)
def test_a_list_that_names_what_is_no_file_of_a_dataset_is_refused(tmp_path, path):
    write(tmp_path, f"plan/{NAME}/files.json")
    for damaged in (json.dumps({"new": [path], "replaced": []}), "{}", "[", "[1]"):
        (tmp_path / "plan" / NAME / "files.json").write_text(damaged)
        with pytest.raises(FmaError, match=r"files\.json is damaged"):
            remove_leftovers(str(tmp_path), EMPTY)


def test_a_list_goes_after_the_commit_unless_it_names_files_that_were_replaced(tmp_path):
    old = f"mel/{NAME}/training-00000-of-00001.tfrecord"
    write(tmp_path, SHARD, old)
    announce(str(tmp_path), NAME, [SHARD])
    settle(str(tmp_path), NAME, WHOLE)
    assert left(tmp_path) == {SHARD, old}
    announce(str(tmp_path), NAME, [SHARD], replaced=[old])
    settle(str(tmp_path), NAME, WHOLE)
    assert left(tmp_path) == {SHARD, old, f"plan/{NAME}/files.json"}
    assert remove_leftovers(str(tmp_path), WHOLE) == 2
    assert left(tmp_path) == {SHARD}


def test_a_plan_of_version_0_1_0_is_a_list(tmp_path):
    plan = ShardPlan("test", 0, 1, (Track(1, "Rock", "test"),))
    write(
        tmp_path, SHARD, f"tracks/{NAME}/test-00000-of-00001.jsonl", f"mel/{NAME}/thesis.doc", f"plan/{NAME}/plan.jsonl"
    )
    (tmp_path / "plan" / NAME / "plan.jsonl").write_text(plan.to_line() + "\n")
    assert SHARD in planned_files(NAME, [plan], ["mel"])
    assert find_foreign(str(tmp_path)) == f"mel/{NAME}/thesis.doc"
    assert remove_leftovers(str(tmp_path), EMPTY) == 3
    assert left(tmp_path) == {f"mel/{NAME}/thesis.doc"}


def test_a_folder_for_a_librarys_files_goes_as_a_whole(tmp_path):
    scratch = f"{scratch_folder(NAME)}/"
    announce(str(tmp_path), NAME, [scratch])
    write(tmp_path, f"{scratch}a/b", "theirs/c")
    (tmp_path / scratch / "link").symlink_to(tmp_path / "theirs")
    assert find_foreign(str(tmp_path)) == "theirs/c"
    remove_leftovers(str(tmp_path), EMPTY)
    assert left(tmp_path) == {"theirs/c"}
