"""Which processes of a Flink cluster count as alive; the cluster itself is what `make test-runners` runs."""

import argparse
import os
import subprocess
import sys

import pytest


@pytest.fixture
def one_core():
    """So that a process that begins another looks at it before it has run at all."""
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cores)})
    yield
    os.sched_setaffinity(0, cores)


def run(name: str) -> subprocess.Popen:
    return subprocess.Popen([sys.executable, "-S", "-c", "import time; time.sleep(5)", name])


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="binds processes to a core")
def test_a_process_is_alive_from_its_first_moment(cluster, one_core):
    for _ in range(20):
        with run("worker_pool.py") as process:
            assert cluster.alive(process.pid)
            process.kill()


def test_a_process_that_has_ended_is_not_alive_whether_or_not_it_was_waited_for(cluster):
    process = run("worker_pool.py")
    process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert not cluster.alive(process.pid)
    process.wait()
    assert not cluster.alive(process.pid)


def test_another_program_under_the_same_number_is_none_of_the_cluster_s(cluster):
    assert not cluster.alive(os.getpid())


def test_a_cluster_that_does_not_come_up_says_which_process_has_ended_and_its_last_words(cluster, tmp_path):
    for folder in ("run", "log"):
        (tmp_path / folder).mkdir()
    pool = [sys.executable, "-c", "raise SystemExit('port 50000 is taken')", "worker_pool.py"]
    cluster.launch(tmp_path, "pool", pool)
    with pytest.raises(SystemExit) as error:
        cluster.wait_for_slots(tmp_path, 1, 4, seconds=30)
    assert str(error.value) == f"pool has ended (see {tmp_path / 'log' / 'pool.log'}): port 50000 is taken"


def test_a_home_that_holds_something_else_is_refused_before_anything_is_removed_there(cluster, tmp_path):
    (tmp_path / "log").mkdir()
    (tmp_path / "log" / "notes.txt").write_text("dear to somebody")
    with pytest.raises(SystemExit, match="is not empty and holds no cluster: give a new folder as --home"):
        cluster.start(argparse.Namespace(home=tmp_path))
    assert (tmp_path / "log" / "notes.txt").exists()
