"""Tools of the runners' tests: Prism and Flink, built or fetched once into `.runners/`; a corpus; commands."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import apache_beam

from pipelines.runners.portable import RUNNING

ROOT = Path(__file__).resolve().parents[2]
HOME = ROOT / ".runners"
PRISM_MODULE = f"github.com/apache/beam/sdks/v2/go/cmd/prism@v{apache_beam.__version__}"
CLUSTER = ROOT / "deploy" / "flink" / "cluster.py"
WORKER_POOL = ROOT / "deploy" / "flink" / "worker_pool.py"
SETTINGS = ["--subset", "small", "--max-failures", "20", "--shards", "8"]


@dataclass(frozen=True)
class Sample:
    """A corpus, and the digest of a dataset of it that was made in one process."""

    corpus: Path
    digest: str


@dataclass(frozen=True)
class Embedded:
    """A dataset without embeddings, an encoder, and the digest of the embeddings that it gives in one process."""

    dataset: Path
    encoder: Path
    digest: str


def build_prism() -> Path:
    """Prism's binary, of Beam's version."""
    folder = HOME / f"prism-{apache_beam.__version__}"
    if not (folder / "prism").exists():
        subprocess.run(["go", "install", PRISM_MODULE], env={**os.environ, "GOBIN": str(folder)}, check=True)
    return folder / "prism"


def make_corpus(folder: Path) -> Path:
    """An FMA-shaped corpus, with files that fail."""
    fma = [sys.executable, "-m", "fma", "sample", "--out", str(folder)]
    subprocess.run([*fma, "--tracks-per-genre", "10", "--clip-seconds", "12", "--subset", "small"], check=True)
    return folder


def ingest_command(corpus: Path, out: Path, *more: str) -> list[str]:
    """`fma ingest` of the whole corpus."""
    paths = ["--audio", str(corpus / "audio"), "--metadata", str(corpus / "fma_metadata"), "--out", str(out)]
    return [sys.executable, "-m", "fma", "ingest", *paths, *SETTINGS, "--json", *more]


def ingest(corpus: Path, out: Path, *more: str) -> tuple[str, float]:
    """Ingests; returns the digest and the seconds that the command took."""
    seconds, stdout = timed(ingest_command(corpus, out, *more))
    return json.loads(stdout)["digest"], seconds


def analyse(dataset: Path, *more: str) -> float:
    """`fma statistics`; returns the seconds that the command took."""
    return timed([sys.executable, "-m", "fma", "statistics", str(dataset), *more])[0]


def embed(dataset: Path, encoder: Path, *more: str) -> tuple[str, float]:
    """`fma embed`; returns the embeddings' digest and the seconds that the command took."""
    words = ["embed", str(dataset), "--encoder", str(encoder), "--json"]
    seconds, stdout = timed([sys.executable, "-m", "fma", *words, *more])
    return json.loads(stdout)["digest"], seconds


def verify(dataset: Path, *more: str) -> tuple[dict, float]:
    """`fma verify`, whatever it finds; returns its verdict and the seconds that it took."""
    begin = time.monotonic()
    words = [sys.executable, "-m", "fma", "verify", str(dataset), "--json", *more]
    ran = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ran.stdout, ran.stderr[-4000:]
    return json.loads(ran.stdout), time.monotonic() - begin


def compact(dataset: Path, *more: str) -> float:
    """`fma compact`, without the old files; returns the seconds that it took."""
    return timed([sys.executable, "-m", "fma", "compact", str(dataset), "--remove-old", *more])[0]


def timed(command: list[str]) -> tuple[float, str]:
    """Runs a command that must succeed; returns its seconds and its output."""
    begin = time.monotonic()
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, f"{' '.join(command)}\n{ran.stderr[-4000:]}"
    return time.monotonic() - begin, ran.stdout


class Cluster:
    """A Flink cluster of deploy/flink: two TaskManagers of two slots, so that either can do all the work of two."""

    def __init__(self, home: Path):
        self.home = home
        self.port, self._rpc_port, self._pool_port = free_ports(3)

    def start(self) -> None:
        ports = {"port": self.port, "rpc-port": self._rpc_port, "pool-port": self._pool_port}
        numbers = [f"--{name}={number}" for name, number in ports.items()]
        self._run("start", *numbers)

    def stop(self) -> None:
        self._run("stop")

    def pid(self, name: str) -> int:
        """The process id of `jobmanager`, `taskmanager-1`, `taskmanager-2` or `pool`."""
        return int((self.home / "run" / f"{name}.pid").read_text())

    def jobs(self) -> list[dict]:
        """The cluster's jobs, in the order of their start."""
        with urllib.request.urlopen(f"http://localhost:{self.port}/jobs/overview") as answer:
            return sorted(json.load(answer)["jobs"], key=lambda job: job["start-time"])

    def cancel(self) -> None:
        """Ends the last job, and waits until it has ended."""
        url = f"http://localhost:{self.port}/jobs/{self.jobs()[-1]['jid']}?mode=cancel"
        urllib.request.urlopen(urllib.request.Request(url, method="PATCH")).close()
        while self.jobs()[-1]["state"] in RUNNING:
            time.sleep(0.1)

    def failures(self) -> list[dict]:
        """The failures after which the last job was restarted."""
        job = self.jobs()[-1]["jid"]
        with urllib.request.urlopen(f"http://localhost:{self.port}/jobs/{job}/exceptions") as answer:
            return json.load(answer)["exceptionHistory"]["entries"]

    @property
    def options(self) -> list[str]:
        """Options for the fma command."""
        jar, pool = self.home / "job-server.jar", f"localhost:{self._pool_port}"
        flink = ["--runner=FlinkRunner", f"--flink_master=localhost:{self.port}", f"--flink_job_server_jar={jar}"]
        return [*flink, "--parallelism=2", "--environment_type=EXTERNAL", f"--environment_config={pool}"]

    def _run(self, *arguments: str) -> None:
        timed([sys.executable, str(CLUSTER), *arguments, "--home", str(self.home)])


@contextmanager
def running_job_service():
    """Beam's own job server and a pool of workers; gives the options for the fma command."""
    endpoint, pool = free_ports(2)
    commands = (
        ["-m", "apache_beam.runners.portability.local_job_service_main", f"--port={endpoint}"],
        [str(WORKER_POOL), f"--port={pool}"],
    )
    started = [subprocess.Popen([sys.executable, *command], stderr=subprocess.DEVNULL) for command in commands]
    try:
        for port in (endpoint, pool):
            wait_for_port(port)
        runner = ["--runner=PortableRunner", f"--job_endpoint=localhost:{endpoint}"]
        yield [*runner, "--environment_type=EXTERNAL", f"--environment_config=localhost:{pool}"]
    finally:
        for process in started:
            process.terminate()
        for process in started:
            process.wait(30)


def wait_for_port(port: int) -> None:
    """Waits until a process listens at a port."""
    for _ in range(300):
        try:
            socket.create_connection(("localhost", port), 1).close()
            return
        except OSError:
            time.sleep(0.1)
    raise AssertionError(f"no process listens at port {port}")


def free_ports(count: int) -> list[int]:
    """Free ports of this machine."""
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("localhost", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


@contextmanager
def running_cluster():
    """Starts a cluster, and stops it whatever happens."""
    cluster = Cluster(HOME / "flink")
    cluster.start()
    try:
        yield cluster
    finally:
        cluster.stop()


def missing(*programs: str) -> str:
    """Those of some programs that are not installed, as text."""
    return ", ".join(program for program in programs if not shutil.which(program))
