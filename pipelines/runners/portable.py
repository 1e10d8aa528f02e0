"""Prism, Flink and other runners behind a job server: the options that they need, and their errors as one line."""

import contextlib
import os
import shutil
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import grpc
import requests
from apache_beam.options.pipeline_options import FlinkRunnerOptions, PipelineOptions
from apache_beam.runners.runner import PipelineResult

from pipelines.runners.options import runner_name
from transforms.errors import FmaError, UsageError
from transforms.library_errors import FLINK, PRISM, explain
from transforms.runtime import console, cores

CLUSTERS = ("flink", "portable")
PRISMS = ("direct", "switchingdirect", "prism")
EMBEDDED = ("[auto]", "[local]")  # Flink masters that are no cluster: Flink runs inside the job server
POOL = "localhost:50000"
"""Where every machine of a cluster has a pool of Python workers, as Beam's own images and deploy/flink have it."""

IDLE_WORKER_MILLIS = 30_000
"""How long Flink keeps a Python worker that has nothing to do; by default it starts a new one for each step."""

CONNECT_SECONDS = 5.0
RUNNING = {"INITIALIZING", "CREATED", "RUNNING", "RESTARTING", "FAILING", "CANCELLING"}
"""States of a Flink job that has not ended."""


@dataclass(frozen=True)
class FlinkCluster:
    """A cluster; `master` is the address of its JobManager: `host:port`, or a URL."""

    master: str

    @property
    def url(self) -> str:
        """The URL of the REST API and of the cluster's page."""
        return self.master if "://" in self.master else f"http://{self.master}"

    def version(self) -> str:
        """Return such as `1.19`."""
        return ".".join(str(self._get("/overview", "flink-version")).split(".")[:2])

    def slots(self) -> int:
        """Return how many tasks of one step the cluster runs at a time; FmaError if there is no TaskManager."""
        slots = int(self._get("/overview", "slots-total"))
        if not slots:
            raise FmaError(f"the Flink cluster at {self.url} has no TaskManager: start one")
        return slots

    def running(self, name: str) -> list[str]:
        """Return the ids of the jobs of that name that have not ended."""
        jobs = self._get("/jobs/overview", "jobs")
        return [job["jid"] for job in jobs if job["name"] == name and job["state"] in RUNNING]

    def cancel(self, name: str) -> None:
        """Ask the cluster to end the jobs of that name."""
        for job in self.running(name):
            self._ask("PATCH", f"/jobs/{job}?mode=cancel")

    def _get(self, path: str, field: str) -> Any:
        try:
            return self._ask("GET", path).json()[field]
        except (ValueError, KeyError, TypeError) as error:
            raise FmaError(f"{self.url} is no Flink cluster: it does not answer as Flink's REST API does") from error

    def _ask(self, method: str, path: str) -> requests.Response:
        try:
            answer = requests.request(method, self.url + path, timeout=CONNECT_SECONDS)
            answer.raise_for_status()
        except requests.ConnectionError as error:
            raise FmaError(f"no Flink cluster answers at {self.url}: start it, or check --flink_master") from error
        except requests.RequestException as error:
            raise FmaError(f"the Flink cluster at {self.url} refuses to answer: {error}") from error
        return answer


def validate_runner_options(arguments: list[str]) -> None:
    """Raise UsageError for options that cannot work; do nothing for other runners."""
    options = PipelineOptions(arguments)
    given, name = options.get_all_options(), runner_name(options)
    starts_flink = name == "flink" and not given["job_endpoint"]
    for option, is_used in (("prism_location", name in PRISMS), ("flink_job_server_jar", starts_flink)):
        place = given[option] or ""
        if is_used and place and "://" not in place and not os.path.exists(place):
            raise UsageError(f"--{option} {place}: there is no such file")
    if name == "portable" and not given["job_endpoint"]:
        raise UsageError("--runner PortableRunner needs --job_endpoint, the address of a job server")
    if starts_flink and not shutil.which(given["job_server_java_launcher"]):
        raise UsageError("--runner FlinkRunner starts a job server, which needs Java; or give --job_endpoint")


def with_runner_defaults(arguments: list[str], job: str) -> list[str]:
    """Return the user's Beam options, for Flink and job servers with those that were not given.

    `job` is a name, the same for the same work.

    Raises:
      FmaError: the cluster, the job server or the pool of workers does not answer, or has this job already.
    """
    options = PipelineOptions(arguments)
    given, name = options.get_all_options(), runner_name(options)
    if name not in CLUSTERS:
        return arguments
    defaults: dict[str, Any] = {"job_name": job, "environment_cache_millis": IDLE_WORKER_MILLIS}
    cluster = _cluster(options)
    if cluster:
        defaults |= _for_cluster(cluster, given, job)
    _must_answer("job server", given["job_endpoint"], "start it, or check --job_endpoint")
    if not cluster and not given["job_endpoint"]:  # Flink inside a job server inside this command
        defaults["parallelism"] = cores()
    else:
        defaults |= {"environment_type": "EXTERNAL", "environment_config": POOL}
    explicit = PipelineOptions(arguments).get_all_options(drop_default=True)
    if "environment_type" in explicit:
        defaults.pop("environment_config", None)
    completed = [*arguments, *(f"--{key}={value}" for key, value in defaults.items() if key not in explicit)]
    environment = PipelineOptions(completed).get_all_options()
    if environment["environment_type"] == "EXTERNAL" and workers_are_here(options):
        _must_answer("pool of workers", environment["environment_config"], "start deploy/flink/worker_pool.py")
    return completed


def workers_are_here(options: PipelineOptions) -> bool:
    """Whether a cluster or job server is on this machine, so that workers see this machine's files."""
    cluster = _cluster(options)
    address = cluster.url if cluster else options.get_all_options()["job_endpoint"]
    return address in (None, "embed") or _host(address) in ("localhost", "127.0.0.1", "::1")


@contextlib.contextmanager
def translate_runner_errors(options: PipelineOptions) -> Iterator[None]:
    """Turn what Prism, Flink and job servers say into a FmaError of one line; do nothing for other runners."""
    name = runner_name(options)
    if name not in (*CLUSTERS, *PRISMS):
        yield
        return
    try:
        yield
    except grpc.RpcError as error:
        who = "Prism" if name in PRISMS else "the job server"
        raise FmaError(f"{who} went away; run the command again, it carries on") from error
    except RuntimeError as error:
        meaning = explain(PRISM if name in PRISMS else FLINK, str(error))
        if not meaning:
            raise
        raise FmaError(meaning) from error


def wait(running: PipelineResult, options: PipelineOptions) -> None:
    """Wait for a job's end; Ctrl-C also ends a job on a cluster, which would go on writing."""
    try:
        running.wait_until_finish()
    except KeyboardInterrupt:
        if runner_name(options) in CLUSTERS:
            console.log("ending the job on the cluster")
            _cancel(running, options)
        raise


def _cancel(running: PipelineResult, options: PipelineOptions) -> None:
    cluster = _cluster(options)
    try:
        if cluster:
            # Not by the job server: where it is this process's child, Ctrl-C has ended it already.
            cluster.cancel(options.get_all_options()["job_name"])
        else:
            running.cancel()
    except (FmaError, grpc.RpcError) as error:
        console.log(f"it could not be ended ({error}): look at it yourself")


def _cluster(options: PipelineOptions) -> FlinkCluster | None:
    master = options.get_all_options()["flink_master"]
    return FlinkCluster(master) if runner_name(options) == "flink" and master not in EMBEDDED else None


def _for_cluster(cluster: FlinkCluster, given: dict[str, Any], job: str) -> dict[str, Any]:
    defaults: dict[str, Any] = {"parallelism": cluster.slots()}
    if cluster.running(given["job_name"] or job):
        raise FmaError(
            f"the Flink cluster at {cluster.url} runs this job already: wait until it has ended and run the command "
            "again, or cancel it there"
        )
    if not given["job_endpoint"] and not given["flink_job_server_jar"]:
        defaults["flink_version"] = cluster.version()
        if defaults["flink_version"] not in FlinkRunnerOptions.PUBLISHED_FLINK_VERSIONS:
            known = ", ".join(FlinkRunnerOptions.PUBLISHED_FLINK_VERSIONS)
            raise FmaError(
                f"the Flink cluster at {cluster.url} is of version {defaults['flink_version']}, and this Beam has job "
                f"servers for {known}: give --flink_job_server_jar or --job_endpoint"
            )
    return defaults


def _host(address: str) -> str:
    return urlsplit(address if "://" in address else f"//{address}").hostname or ""


def _must_answer(what: str, address: str | None, advice: str) -> None:
    if not address or address == "embed":
        return
    try:
        port = urlsplit(f"//{address}").port
    except ValueError:
        port = None
    if port is None:
        raise UsageError(f"{address} is no address of a {what}: write HOST:PORT")
    try:
        socket.create_connection((_host(address), port), CONNECT_SECONDS).close()
    except OSError as error:
        raise FmaError(f"no {what} answers at {address}: {advice}") from error
