"""How Prism and Flink differ beyond the matrix: how they are found, how they end, who starts their workers."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import grpc
import pytest
from apache_beam.portability.api import beam_fn_api_pb2 as api
from apache_beam.portability.api import beam_fn_api_pb2_grpc as api_grpc

from tests.processes import descendants
from tests.runners import tools

NO_NETWORK = {"https_proxy": "http://localhost:9", "no_proxy": "localhost"}


def started(command: list[str], out: Path) -> subprocess.Popen:
    """The running command, after it has written a shard."""
    job = subprocess.Popen(command, cwd=tools.ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while job.poll() is None and not list(out.glob("mel/*/*.tfrecord")):
        time.sleep(0.1)
    assert job.poll() is None, job.stderr.read()[-4000:]
    return job


def wait_for_end(*pids: int) -> None:
    """Waits a little for processes to end."""
    for _ in range(100):
        left = [pid for pid in pids if os.path.exists(f"/proc/{pid}")]
        if not left:
            return
        time.sleep(0.1)
    raise AssertionError(f"{left} still run")


def test_directrunner_does_without_prism_where_it_cannot_be_downloaded(sample, tmp_path):
    command = tools.ingest_command(sample.corpus, tmp_path / "dataset", "--runner=DirectRunner")
    environment = {**os.environ, **NO_NETWORK, "HOME": str(tmp_path)}
    ran = subprocess.run(command, cwd=tools.ROOT, env=environment, capture_output=True, text=True, check=True)
    assert json.loads(ran.stdout)["digest"] == sample.digest


def test_a_prism_that_dies_is_one_line_and_the_same_command_carries_on(prism, sample, tmp_path):
    out = tmp_path / "dataset"
    options = ["--runner=PrismRunner", f"--prism_location={prism}"]
    job = started(tools.ingest_command(sample.corpus, out, *options), out)
    (server,) = [pid for pid in descendants(job.pid) if os.readlink(f"/proc/{pid}/exe") == str(prism)]
    os.kill(server, signal.SIGKILL)
    _, stderr = job.communicate(timeout=60)
    assert job.returncode == 1
    assert stderr.splitlines()[-1] == "fma: error: Prism went away; run the command again, it carries on"
    assert "Traceback" not in stderr
    assert not (out / "dataset.json").exists()
    assert tools.ingest(sample.corpus, out, *options)[0] == sample.digest


def test_ctrl_c_ends_prism_too(prism, sample, tmp_path):
    out = tmp_path / "dataset"
    job = started(tools.ingest_command(sample.corpus, out, "--runner=PrismRunner", f"--prism_location={prism}"), out)
    below = descendants(job.pid)
    job.send_signal(signal.SIGINT)
    _, stderr = job.communicate(timeout=60)
    assert job.returncode == 130
    assert stderr.splitlines()[-1] == "fma: interrupted"
    assert "Traceback" not in stderr
    wait_for_end(*below)


@pytest.mark.timeout(600)
def test_ctrl_c_ends_the_job_on_flink_too(cluster, sample, tmp_path):
    out = tmp_path / "dataset"
    job = started(tools.ingest_command(sample.corpus, out, *cluster.options), out)
    job.send_signal(signal.SIGINT)
    _, stderr = job.communicate(timeout=60)
    assert job.returncode == 130
    assert stderr.splitlines()[-1] == "fma: interrupted"
    assert "Traceback" not in stderr
    assert "CANCEL" in cluster.jobs()[-1]["state"]


@pytest.mark.timeout(600)
def test_a_job_that_outlives_its_command_is_not_run_twice_but_taken_up(cluster, sample, tmp_path):
    out = tmp_path / "dataset"
    command = tools.ingest_command(sample.corpus, out, *cluster.options)
    job = started(command, out)
    (job_server,) = descendants(job.pid)
    job.kill()
    job.communicate()
    os.kill(job_server, signal.SIGTERM)  # it would wait for ever for other jobs
    again = subprocess.run(command, cwd=tools.ROOT, capture_output=True, text=True, check=False)
    assert again.returncode == 1
    assert "runs this job already" in again.stderr.splitlines()[-1]
    while cluster.jobs()[-1]["state"] == "RUNNING":
        time.sleep(0.5)
    jobs = len(cluster.jobs())
    _, stdout = tools.timed(command)
    assert json.loads(stdout)["digest"] == sample.digest
    assert len(cluster.jobs()) == jobs


def test_two_taskmanagers_may_give_their_workers_the_same_id():
    """Beam's own pool would end one's worker when the other asks for it."""
    (port,) = tools.free_ports(1)
    pool = subprocess.Popen([sys.executable, str(tools.WORKER_POOL), f"--port={port}"], stdout=subprocess.PIPE)
    assert pool.stdout.readline()
    try:
        managers = [
            api_grpc.BeamFnExternalWorkerPoolStub(
                grpc.insecure_channel(f"localhost:{port}", [("grpc.use_local_subchannel_pool", 1)])
            )
            for _ in range(2)
        ]
        request = api.StartWorkerRequest(worker_id="1-1")
        request.control_endpoint.url = "localhost:9"
        workers: list[int] = []
        for manager in managers:
            manager.StartWorker(request)
            workers += [pid for pid in descendants(pool.pid) if pid not in workers]
        assert len(workers) == 2
        managers[0].StopWorker(api.StopWorkerRequest(worker_id="1-1"))
        assert not os.path.exists(f"/proc/{workers[0]}")
        assert os.path.exists(f"/proc/{workers[1]}")
    finally:
        pool.terminate()
        assert pool.wait(30) == 0
    assert not os.path.exists(f"/proc/{workers[1]}")
