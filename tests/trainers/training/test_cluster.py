"""Several hosts that train one model with JAX: processes of this machine stand for them."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import chain
from pathlib import Path
from threading import Thread

import numpy as np
import pytest

import fma
from trainers.runs.directory import load_config
from trainers.runs.state import load_state
from trainers.training.cluster import Cluster, Membership, join
from trainers.training.membership import find_slice, read_membership
from transforms.dataset.manifest import load
from transforms.errors import FmaError, UsageError

ROOT = Path(__file__).resolve().parents[3]


def free_address() -> str:
    with socket.create_server(("localhost", 0)) as server:
        return f"localhost:{server.getsockname()[1]}"


def start(devices: int, *words: object) -> subprocess.Popen:
    command = [sys.executable, "-m", "tests.trainers.training.jax_runs", str(devices), *map(str, words)]
    return subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )


def train_words(dataset: Path, run: Path, model: str) -> list[object]:
    return ["fma", "train", model, "--data", dataset, "--run", run]


def start_hosts(processes: int, *words: object) -> list[subprocess.Popen]:
    """The same command on each host, with one device."""
    options = ["--coordinator", free_address(), "--processes", processes, "--process"]
    return [start(1, *words, *options, process) for process in range(processes)]


def end(process: subprocess.Popen, seconds: float = 240) -> tuple[int, list[str]]:
    """Wait for the end; return the exit code and the lines on standard error."""
    try:
        _, said = process.communicate(timeout=seconds)
    finally:
        process.kill()
    return process.returncode, said.splitlines()


def succeed(processes: list[subprocess.Popen]) -> None:
    for process in processes:
        code, said = end(process)
        assert code == 0, said[-30:]


# What the processes tell each other.


def together(count: int, do, seconds: float = 60) -> list:
    """What `do` returns for each process of a cluster; here they are threads."""
    address = free_address()

    def one(process: int):
        with join(Membership(address, count, process), seconds) as cluster:
            return do(cluster)

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(one, range(count)))


def test_process_0_sends_to_all_and_each_gets_the_rows_of_all_in_order():
    def do(cluster: Cluster):
        assert cluster.leads == (cluster.process == 0)
        state = cluster.broadcast_json(lambda: {"epoch": 3, "of": cluster.process})
        (weights,) = cluster.broadcast_arrays(lambda: [np.full((2, 2), cluster.process, np.float32)])
        rows = cluster.gather_rows(np.full((cluster.process, 1), 2**40 + cluster.process))  # of none, one and two rows
        cluster.wait()
        return state, weights.tolist(), rows.tolist()

    rows = [[2**40 + 1], [2**40 + 2], [2**40 + 2]]
    assert together(3, do) == [({"epoch": 3, "of": 0}, [[0, 0], [0, 0]], rows)] * 3


def test_a_large_array_reaches_every_process():
    array = np.random.default_rng(0).normal(size=(1 << 20, 4)).astype(np.float32)
    for (found,) in together(2, lambda cluster: cluster.broadcast_arrays(lambda: [array])):
        np.testing.assert_array_equal(found, array)


def test_a_process_that_is_alone_waits_for_nobody():
    for member in (None, Membership("localhost:1", 1, 0)):
        with join(member) as cluster:
            assert (cluster.leads, cluster.processes) == (True, 1)
            assert cluster.broadcast_json(lambda: [1]) == [1]


# Who does not come.


def enter(member: Membership, seconds: float) -> None:
    with join(member, seconds):
        pass


def test_a_coordinator_that_does_not_answer_in_time_is_one_line():
    address = free_address()
    with pytest.raises(FmaError, match=f"process 0 did not answer at {address} in 0.5 s .*same command on every host"):
        enter(Membership(address, 2, 1), seconds=0.5)


def test_a_process_that_does_not_come_in_time_is_named():
    with pytest.raises(FmaError, match=r"process 1, 2 of 3 has not come to localhost:.* in 0.5 s"):
        enter(Membership(free_address(), 3, 0), seconds=0.5)


def test_a_caller_that_is_not_of_the_cluster_is_left_out():
    address = free_address()
    host, port = address.split(":")

    def call_wrongly():
        for words in (
            b"GET / HTTP/1.1\r\n\r\n",
            b"D" + (2**60).to_bytes(8, "big"),
            b"D" + (2).to_bytes(8, "big") + b"{}",
        ):
            while True:
                try:
                    with socket.create_connection((host, int(port)), timeout=5) as caller:
                        caller.sendall(words)
                        assert caller.recv(1) == b""
                    break
                except ConnectionRefusedError:
                    time.sleep(0.02)
                except ConnectionResetError:
                    break

    def one(process: int):
        if process == 1:
            call_wrongly()
        with join(Membership(address, 2, process), 60) as cluster:
            return cluster.gather(b"%d" % process)

    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(one, range(2))) == [[b"0", b"1"]] * 2


def test_a_port_that_is_taken_is_one_line():
    with socket.create_server(("", 0)) as server:
        address = f"localhost:{server.getsockname()[1]}"
        with pytest.raises(FmaError, match=f"--coordinator {address}: port .* cannot be used here"):
            enter(Membership(address, 2, 0), seconds=5)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (("here:1", 2, None), "give --process, too"),
        ((None, 2, None), "give --coordinator and --process, too"),
        (("here", 2, 0), "HOST:PORT"),
        (("here:port", 2, 0), "HOST:PORT"),
        (("here:99999", 2, 0), "HOST:PORT"),
        (("here:1", 2, 2), "0 to 1"),
    ],
)
def test_options_that_are_half_set_or_do_not_fit_are_one_line(given, says):
    with pytest.raises(UsageError, match=says):
        read_membership(*given)


def test_tensorflow_trains_on_one_host_only(dataset, tmp_path, capsys):
    words = ["--coordinator", "here:1", "--processes", "2", "--process", "0"]
    assert fma.main(["train", "mel_cnn", "--data", str(dataset), "--run", str(tmp_path / "run"), *words]) == 2
    assert "--backend jax" in capsys.readouterr().err


# A slice of TPU hosts.


@pytest.fixture
def metadata(monkeypatch) -> Iterator[dict[str, str]]:
    """What a machine of Google Cloud is asked for about itself, by key."""
    answers: dict[str, str] = {}

    class Server(BaseHTTPRequestHandler):
        def do_GET(self):
            found = answers.get(self.path.rpartition("/")[2]) if self.headers["Metadata-Flavor"] == "Google" else None
            self.send_response(200 if found else 404)
            self.end_headers()
            self.wfile.write((found or "").encode())

        def log_message(self, *_):
            pass

    for name in ("TPU_WORKER_HOSTNAMES", "TPU_WORKER_ID"):
        monkeypatch.delenv(name, raising=False)
    with ThreadingHTTPServer(("localhost", 0), Server) as server:
        monkeypatch.setenv("GCE_METADATA_HOST", f"localhost:{server.server_port}")
        Thread(target=server.serve_forever, daemon=True).start()
        yield answers
        server.shutdown()


@pytest.mark.parametrize("endpoints", ["10.0.0.5,10.0.0.6", "unknown:unknown:10.0.0.5,unknown:unknown:10.0.0.6"])
def test_a_host_of_a_slice_learns_its_place_from_the_machine(metadata, endpoints):
    metadata |= {"worker-network-endpoints": endpoints, "agent-worker-number": "1"}
    assert find_slice() == Membership("10.0.0.5:8490", 2, 1)


def test_a_tpu_host_without_others_is_alone(metadata):
    metadata |= {"worker-network-endpoints": "10.0.0.5", "agent-worker-number": "0"}
    assert find_slice() is None


def test_a_slice_in_kubernetes_learns_its_place_from_the_environment(monkeypatch):
    monkeypatch.setenv("TPU_WORKER_HOSTNAMES", "host-0.slice,host-1.slice,host-2.slice")
    monkeypatch.setenv("TPU_WORKER_ID", "2")
    assert find_slice() == Membership("host-0.slice:8490", 3, 2)


def test_a_tpu_host_that_knows_nothing_of_itself_says_which_options_to_give(metadata):
    with pytest.raises(FmaError, match=r"whether it is one of several .*--coordinator, --processes and --process"):
        find_slice()


# What goes wrong before the training.


def test_hosts_with_other_settings_or_a_run_that_is_refused_end_all_with_one_line(dataset, finished, tmp_path):
    address, run = free_address(), tmp_path / "run"
    where = ["--coordinator", address, "--processes", "2", "--process"]
    words = train_words(dataset, run, "tiny")
    hosts = [start(1, *words, "--seed", process, *where, process) for process in range(2)]
    for code, said in map(end, hosts):
        assert code == 1
        assert "process 1 has other settings than process 0" in said[-1]
    assert not run.exists()
    leader, follower = map(end, start_hosts(2, *train_words(dataset, finished, "tiny"), "--seed", 5))
    assert leader[0] == 2
    assert "holds a run with other settings: seed is 0, not 5" in leader[1][-1]
    assert follower[0] == 1
    assert "process 0 has failed" in follower[1][-1]
    assert "seed is 0, not 5" in follower[1][-1]
    assert len(follower[1]) == 1


# Whole trainings.


@pytest.mark.long
def test_the_global_batch_is_of_one_size_and_an_epoch_of_the_same_records_on_any_number_of_devices_and_hosts(
    dataset, tmp_path
):
    def run(devices: int, processes: int) -> list[list[str]]:
        address, file = free_address(), tmp_path / f"{devices}-{processes}.json"
        succeed(
            [
                start(devices, "batches", dataset, file if not process else os.devnull, processes, process, address)
                for process in range(processes)
            ]
        )
        return json.loads(file.read_text())

    one = run(1, 1)
    assert [len(batch) for batch in one] == [8] * 4
    for devices in (2, 8):
        assert [set(batch) for batch in run(devices, 1)] == [set(batch) for batch in one]
    two = run(1, 2)
    assert [len(batch) for batch in two] == [8] * 4
    assert sorted(chain(*two)) == sorted(chain(*one))


@pytest.mark.long
def test_two_hosts_train_to_the_loss_of_two_devices_and_predict_every_track(dataset, tmp_path):
    # A batch is the whole split, so it is the same set; the features of the first phase are shuffled alike on any host.
    options = ["--no-augment", "--dropout", 0.0, "--batch-size", 16]
    succeed([start(2, *train_words(dataset, tmp_path / "devices", "tiny_transfer"), *options)])
    succeed(start_hosts(2, *train_words(dataset, tmp_path / "hosts", "tiny_transfer"), *options))
    devices, hosts = (load_state(str(tmp_path / name)).history for name in ("devices", "hosts"))
    for column in ("loss", "val_loss", "accuracy", "val_accuracy"):
        one, other = ([row[column] for row in rows] for rows in (devices, hosts))
        np.testing.assert_allclose(other, one, atol=1e-5, err_msg=column)
    made_with = load_config(str(tmp_path / "hosts")).made_with
    assert (made_with["replicas"], made_with["processes"]) == (2, 2)
    for split in ("validation", "test"):
        one, other = (dict(np.load(tmp_path / name / "predictions" / f"{split}.npz")) for name in ("devices", "hosts"))
        assert one.keys() == other.keys()
        np.testing.assert_array_equal(one["track_id"], other["track_id"])
        key = "log_probabilities/tiny_transfer"
        np.testing.assert_allclose(np.exp(other[key]), np.exp(one[key]), atol=1e-5)


@pytest.mark.long
def test_where_one_host_is_killed_the_others_end_with_one_line_and_the_same_command_carries_on(dataset, tmp_path):
    run = tmp_path / "run"
    words = [*train_words(dataset, run, "tiny"), "--epochs", 40, "--patience", 100, "--batch-size", 4]
    for victim, epoch in ((1, 2), (0, 5)):
        hosts = start_hosts(2, *words)
        while load_state(str(run)).epoch < epoch:
            assert all(host.poll() is None for host in hosts)
            time.sleep(0.05)
        os.kill(hosts[victim].pid, signal.SIGKILL)
        code, said = end(hosts[1 - victim], seconds=30)
        assert code == 1
        line = (
            f"fma: error: process {victim} has ended or cannot be reached any more; process {1 - victim} ends with it"
        )
        text = "\n".join(said)  # JAX's own threads may write into the same line
        assert (text.count("fma: error: "), text.count(line)) == (1, 1), said[-30:]
        end(hosts[victim])
        assert not load_state(str(run)).finished
    succeed(start_hosts(2, *words))
    state = load_state(str(run))
    assert state.finished
    assert [row["epoch"] for row in state.history] == list(range(1, 41))


@pytest.mark.long
def test_a_damaged_shard_of_one_host_ends_all_before_an_epoch_is_committed(dataset, tmp_path):
    copy = Path(shutil.copytree(dataset, tmp_path / "dataset"))
    last = load(str(copy)).shards("mel", "training")[-1]  # only process 1 reads it
    content = bytearray((copy / last.path).read_bytes())
    content[-100] ^= 1
    (copy / last.path).write_bytes(content)
    leader, follower = map(end, start_hosts(2, *train_words(copy, tmp_path / "run", "tiny"), "--batch-size", 4))
    assert (leader[0], follower[0]) == (1, 1)
    (line,) = (line for line in follower[1] if line.startswith("fma: error: "))  # TensorFlow may add a warning
    assert last.path in line
    (line,) = (line for line in leader[1] if line.startswith("fma: error: process 1 has failed: "))
    assert last.path in line
    assert load_state(str(tmp_path / "run")).epoch == 0
