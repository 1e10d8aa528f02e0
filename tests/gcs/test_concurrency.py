"""Several commands at one dataset in a bucket, and commands that are killed."""

import json
import signal
import threading
import time

import pytest

from tests.gcs.corpus import arguments, digest_of, ingest, start
from tests.gcs.stack import Cloud
from transforms import storage
from transforms.config import DatasetConfig
from transforms.dataset import manifest as manifests
from transforms.dataset.growth import locked, locked_when_free
from transforms.dataset.manifest import Manifest, commit, load
from transforms.errors import FmaError
from transforms.runtime import processes
from transforms.storage import lease


def wait_for(cloud: Cloud, path: str, method: str = "POST") -> None:
    deadline = time.monotonic() + 60
    while not cloud.requests(method, path):
        assert time.monotonic() < deadline, f"nobody asked for {path}"
        time.sleep(0.05)


def is_sound(dataset: str) -> bool:
    from transforms.dataset.verify import verify

    return not verify(dataset, manifests.load(dataset)).problems


@pytest.mark.long
def test_of_two_ingests_at_once_one_wins_and_the_other_stops_with_one_line(corpus, folder, digests, cloud, capsys):
    with cloud.faults(every=1, kinds=["slow"], match="POST /upload", seconds=0.2):
        first = start(arguments(str(corpus), f"{folder}/out", "small", False))
        wait_for(cloud, "/upload")
        capsys.readouterr()
        assert ingest(str(corpus), f"{folder}/out", "medium") == 1
        lines = capsys.readouterr().err.splitlines()
        _, errors = first.communicate(timeout=120)
    assert lines == [f"fma: error: another command is writing to {folder}/out: wait until it is done"]
    assert first.returncode == 0, errors
    assert digest_of(f"{folder}/out") == digests["small"]
    assert is_sound(f"{folder}/out")


@pytest.mark.long
def test_a_run_that_is_killed_while_it_uploads_leaves_the_dataset_whole(corpus, folder, digests, cloud):
    out = f"{folder}/out"
    assert ingest(str(corpus), out, "small") == 0
    before = set(cloud.names(out.partition("music/")[2]))
    with cloud.faults(every=9, kinds=["slow"], match="POST /upload", seconds=30):
        killed = start(arguments(str(corpus), out, "medium", False))
        deadline = time.monotonic() + 60
        while not cloud.control("met"):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        killed.send_signal(signal.SIGKILL)
        killed.communicate()
    orphans = {name for name in cloud.names(out.partition("music/")[2]) if "/.lock" not in name} - before
    assert orphans
    assert digest_of(out) == digests["small"]
    assert is_sound(out)
    assert ingest(str(corpus), out, "medium") == 0
    assert digest_of(out) == digests["medium"]
    assert is_sound(out)
    listed = {file.path for file in manifests.load(out).files()} | {"dataset.json"}
    assert {path.removeprefix(f"{out}/") for path, _ in storage.list_files(out)} == listed


def test_a_commit_onto_a_dataset_that_has_changed_is_refused(folder):
    commit(folder, Manifest(DatasetConfig()))
    one, other = load(folder), load(folder)
    one.labels = ["Folk"]
    commit(folder, one)
    other.labels = ["Rock"]
    with pytest.raises(FmaError, match=r"dataset\.json was changed by another command meanwhile; run this one again"):
        commit(folder, other)
    assert load(folder).labels == ["Folk"]
    one.labels = ["Folk", "Blues"]
    commit(folder, one)
    assert load(folder).labels == ["Folk", "Blues"]


@pytest.mark.parametrize("fault", ["lost", "cut", "reset", "503"])
def test_a_commit_whose_answer_is_lost_is_no_conflict(folder, cloud, fault):
    manifest = Manifest(DatasetConfig())
    commit(folder, manifest)
    with cloud.faults(every=1, kinds=[fault], match="POST /upload", times=1) as met:
        manifest.labels = ["Folk"]
        commit(folder, manifest)
    assert met == [1]
    assert load(folder).labels == ["Folk"]
    manifest.labels = ["Folk", "Rock"]
    commit(folder, manifest)
    assert load(folder).labels == ["Folk", "Rock"]


@pytest.fixture
def quick(monkeypatch) -> None:
    """Signs of life every 0.2 s instead of 15 s."""
    monkeypatch.setattr(lease, "RENEW_EVERY", 0.2)
    monkeypatch.setattr(lease, "LAPSES_AFTER", 0.8)


def hold(folder: str, **others: object) -> bytes:
    """A hold of some other process' on the folder."""
    data = json.dumps(processes.identity() | {"key": "other"} | others).encode()
    storage.write_bytes(f"{folder}/.lock", data)
    return data


def test_a_holder_on_another_machine_that_is_silent_is_taken_over_from(folder, quick, capsys):
    hold(folder, host="elsewhere")
    begun = time.monotonic()
    with locked(folder):
        assert time.monotonic() - begun > 0.8
    assert f"{folder} was being written to from elsewhere; waiting 1 s for news" in capsys.readouterr().err
    assert not storage.exists(f"{folder}/.lock")


def test_another_machine_of_the_same_name_is_another_machine(folder, quick):
    hold(folder, boot="another start of another machine")
    begun = time.monotonic()
    with locked(folder):
        assert time.monotonic() - begun > 0.8


def test_a_holder_on_another_machine_that_gives_signs_of_life_is_left_alone(folder, quick):
    data = hold(folder, host="elsewhere")
    later = threading.Timer(0.3, storage.write_bytes, (f"{folder}/.lock", data))
    later.start()
    with pytest.raises(FmaError, match=f"another command is writing to {folder}"), locked(folder):
        pass
    later.join()


def test_who_waits_gets_the_folder_when_its_holder_is_done(folder, quick, capsys):
    data = hold(folder, host="elsewhere")
    later = threading.Timer(0.3, storage.write_bytes, (f"{folder}/.lock", data))
    later.start()
    with locked_when_free(folder):
        later.join()
    assert f"another command is writing to {folder}: waiting until it is done" in capsys.readouterr().err
    assert not storage.exists(f"{folder}/.lock")


def test_a_holder_of_this_machine_that_is_gone_is_taken_over_from_at_once(folder):
    begun = time.monotonic()
    hold(folder, pid=2**22 + 1)
    with locked(folder):
        pass
    hold(folder, started=1)  # the number is in use again
    with locked(folder):
        pass
    storage.write_bytes(f"{folder}/.lock", b"")  # a local dataset's, copied along
    with locked(folder):
        pass
    assert time.monotonic() - begun < 2


def test_a_holder_keeps_its_hold_over_many_renewals(folder, quick, cloud):
    with locked(folder):
        cloud.requests()
        time.sleep(1.0)
        assert len(cloud.requests("POST", "/upload")) >= 3
        commit(folder, Manifest(DatasetConfig()))
    assert not storage.exists(f"{folder}/.lock")


def test_who_slept_until_another_took_over_commits_nothing(folder):
    with locked(folder):
        hold(folder, host="elsewhere")
        with pytest.raises(FmaError, match="was taken over by another command"):
            commit(folder, Manifest(DatasetConfig()))
    assert not storage.exists(f"{folder}/dataset.json")
    assert storage.exists(f"{folder}/.lock"), "the other one's hold was removed"
