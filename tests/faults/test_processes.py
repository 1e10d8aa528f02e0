"""Processes of commands that are killed, interrupted or lose a worker: what ends, and that the next command works."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import fma
from pipelines.runners.local import DIED
from tests.pipelines.ingest.test_ingest import SMALL, make_music
from tests.processes import assert_all_end, descendants, start, wait_for

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="finds processes through /proc"),
]

WORKER, DECODER = "sdk_worker_main", "decoder_main"
IN_PROCESSES = "import sys, fma; from transforms.dataset import shard_map; shard_map.IN_PROCESS_UP_TO = -1; "


@pytest.fixture(scope="module")
def music(tmp_path_factory) -> Path:
    """Music, and a dataset of two generations."""
    folder = tmp_path_factory.mktemp("music")
    make_music(folder, 6, name="some.csv")
    make_music(folder, 24)
    for name in ("some", "tracks"):
        assert fma.main(command(folder, f"{name}.csv", "old", "--direct_running_mode", "in_memory")) == 0
    return folder


def command(folder: Path, metadata: str, out: str, *more: str) -> list[str]:
    paths = ["--audio", str(folder), "--metadata", str(folder / metadata), "--out", str(folder / out)]
    return ["ingest", *paths, *SMALL, *more]


def remarks(process: subprocess.Popen, seconds: float) -> list[str]:
    """What a command that ends within some seconds has shown on standard error, but for its progress."""
    _, shown = process.communicate(timeout=seconds)
    return [line for line in shown.splitlines() if not line.startswith("ingest: ")]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGHUP])
def test_a_compaction_that_is_killed_leaves_no_process_and_no_lock(music, tmp_path, number):
    words = ["compact", str(shutil.copytree(music / "old", tmp_path / "data"))]
    process = start(words, IN_PROCESSES)
    pool = wait_for(process.pid, "runtime.pool")
    process.send_signal(number)
    process.communicate()
    assert process.returncode == (-number if number == signal.SIGKILL else 128 + number)
    assert_all_end(pool)
    assert fma.main(words) == 0


def test_a_worker_that_dies_while_others_start_ends_the_command_with_one_line(music):
    process = start(command(music, "tracks.csv", "dies", "--workers", "4"))
    os.kill(wait_for(process.pid, WORKER)[0], signal.SIGKILL)
    below = descendants(process.pid)
    assert remarks(process, 30) == [f"fma: error: {DIED}"]
    assert process.returncode == 1
    assert_all_end(below)


@pytest.mark.parametrize(
    ("number", "line"),
    [
        (signal.SIGINT, "fma: interrupted"),
        (signal.SIGTERM, "fma: ended by SIGTERM"),
        (signal.SIGHUP, "fma: ended by SIGHUP"),
    ],
)
def test_a_signal_to_an_ingestion_and_its_workers_is_one_line(music, number, line):
    process = start(command(music, "tracks.csv", f"ended-by-{number:d}", "--workers", "2"))
    wait_for(process.pid, DECODER)
    below = descendants(process.pid)
    os.killpg(process.pid, number)
    assert remarks(process, 60) == [line]
    assert process.returncode == 128 + number
    assert_all_end(below)


def test_a_killed_ingestion_leaves_no_worker_and_the_next_run_removes_its_temporary_files(music, tmp_path):
    process = start(command(music, "tracks.csv", "killed", "--workers", "2"), temporary=tmp_path)
    wait_for(process.pid, DECODER)
    below = descendants(process.pid)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert_all_end(below)
    users = tmp_path / f"fma-{os.getuid()}"
    assert list(users.iterdir())
    again = start(command(music, "tracks.csv", "killed"), temporary=tmp_path)
    assert again.wait(120) == 0, again.stderr.read()
    assert not list(users.iterdir())


def test_a_killed_workflow_takes_its_step_along_and_can_be_run_again_at_once(music):
    paths = ["--audio", str(music), "--metadata", str(music / "tracks.csv"), "--out", str(music / "work")]
    process = start(["run", *paths, *SMALL, "--models", "baselines"])
    step = wait_for(process.pid, "fma.main()) ingest")
    while not list((music / "work").rglob("plan.jsonl")):  # the step has the lock
        time.sleep(0.01)
    step = [*step, *descendants(step[0])]
    process.send_signal(signal.SIGKILL)
    process.communicate()
    again = start(command(music, "tracks.csv", "work/dataset"))
    assert_all_end(step)
    assert again.wait(120) == 0, again.stderr.read()


def test_an_interrupted_workflow_is_one_line(music):
    paths = ["--audio", str(music), "--metadata", str(music / "tracks.csv"), "--out", str(music / "stopped")]
    process = start(["run", *paths, *SMALL, "--models", "baselines"])
    below = wait_for(process.pid, "fma.main()) ingest")
    while not list((music / "stopped").rglob("plan.jsonl")):
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGINT)
    assert remarks(process, 60)[-1:] == ["fma: interrupted"]
    assert process.returncode == 130
    assert_all_end(below)
