"""The options that each runner gets beside the user's, and what its failures look like; tests/runners runs them."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import grpc
import pytest
from apache_beam.options.pipeline_options import PipelineOptions

import fma
from pipelines import runners
from pipelines.job_files import count_progress, read_progress
from pipelines.runners import portable
from pipelines.runners.options import is_local, parse_beam_options, runner_name
from pipelines.runners.portable import FlinkCluster
from tests.pipelines.ingest.test_ingest import make_music
from transforms.errors import FmaError, UsageError


class Flink(ThreadingHTTPServer):
    """A stand-in for a JobManager's REST API; `asked` has the requests that change something."""

    def __init__(self, version="1.19.3", slots=6, jobs=()):
        self.overview = {"flink-version": version, "slots-total": slots}
        self.jobs, self.asked = [{"jid": "abc", "name": name, "state": state} for name, state in jobs], []
        super().__init__(("localhost", 0), Handler)
        self.master = f"localhost:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    server: Flink

    def do_GET(self) -> None:
        answers = {"/overview": self.server.overview, "/jobs/overview": {"jobs": self.server.jobs}}
        body = json.dumps(answers[self.path]).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_PATCH(self) -> None:
        self.server.asked.append(self.path)
        self.send_response(202)
        self.end_headers()

    def log_message(self, *_) -> None:
        pass


@pytest.fixture
def flink():
    """Starts stand-ins for a cluster."""
    started = []

    def start(**more) -> Flink:
        server = Flink(**more)
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        started.append(server)
        return server

    yield start
    for server in started:
        server.shutdown()
        server.server_close()


@pytest.fixture
def somebody(flink) -> str:
    """An address of this machine that accepts connections."""
    return flink().master


def completed(*arguments: str) -> dict:
    return PipelineOptions(portable.with_runner_defaults(list(arguments), "job")).get_all_options()


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ([], "fnapi"),
        (["--runner=DirectRunner"], "direct"),
        (["--runner", "flinkrunner"], "flink"),
        (["--runner=Prism"], "prism"),
        (["--runner=apache_beam.runners.portability.portable_runner.PortableRunner"], "portable"),
    ],
)
def test_a_runner_is_known_by_any_name_that_beam_takes(given, name):
    assert runner_name(PipelineOptions(given)) == name


@pytest.mark.parametrize("runner", ["FnApiRunner", "DirectRunner", "PrismRunner"])
def test_runners_of_this_machine_get_local_defaults_and_keep_their_name(runner):
    assert is_local([f"--runner={runner}"])
    options = parse_beam_options([f"--runner={runner}"], 1000, 3).get_all_options()
    assert (options["runner"], options["direct_num_workers"]) == (runner, 3)
    assert options["direct_running_mode"] == "multi_processing"


def test_a_running_mode_of_the_users_leaves_the_number_of_workers_alone():
    options = parse_beam_options(["--direct_running_mode=multi_processing"], 10, 2).get_all_options()
    assert (options["direct_running_mode"], options["direct_num_workers"]) == ("multi_processing", 2)
    options = parse_beam_options(["--direct_running_mode=in_memory"], 1000, None).get_all_options()
    assert (options["direct_running_mode"], options["direct_num_workers"]) == ("in_memory", 1)


def test_other_runners_get_no_local_defaults():
    assert not is_local(["--runner=FlinkRunner"])
    assert parse_beam_options(["--runner=FlinkRunner"], 1000, 3).get_all_options(drop_default=True) == {
        "runner": "FlinkRunner"
    }


def test_a_flink_cluster_is_asked_what_it_is_and_how_much_it_can_do(flink):
    pool = flink()
    options = completed(
        "--runner=FlinkRunner",
        f"--flink_master={flink().master}",
        "--environment_type=EXTERNAL",
        f"--environment_config={pool.master}",
    )
    assert (options["parallelism"], options["flink_version"], options["job_name"]) == (6, "1.19", "job")
    assert options["environment_config"] == pool.master
    assert int(options["environment_cache_millis"]) > 0


def test_workers_come_from_a_pool_beside_the_cluster_unless_the_user_says_otherwise(flink, somebody, monkeypatch):
    monkeypatch.setattr(portable, "POOL", somebody)
    cluster = ["--runner=FlinkRunner", f"--flink_master={flink().master}"]
    for given in (cluster, ["--runner=PortableRunner", f"--job_endpoint={somebody}"]):
        options = completed(*given)
        assert (options["environment_type"], options["environment_config"]) == ("EXTERNAL", somebody)
    options = completed(*cluster, "--environment_type=DOCKER")
    assert (options["environment_type"], options["environment_config"]) == ("DOCKER", None)


def test_what_the_user_gives_stays(flink, somebody, monkeypatch):
    monkeypatch.setattr(portable, "POOL", somebody)
    given = {"parallelism": 2, "flink_version": "2.0", "job_name": "mine"}
    words = [f"--{name}={value}" for name, value in given.items()]
    options = completed("--runner=FlinkRunner", f"--flink_master={flink().master}", *words)
    assert {name: options[name] for name in given} == given


def test_flink_without_a_cluster_runs_in_this_machines_job_server():
    options = completed("--runner=FlinkRunner")
    assert options["parallelism"] >= 1
    assert options["environment_type"] is None


@pytest.mark.parametrize(
    ("cluster", "message"),
    [
        ({"slots": 0}, "has no TaskManager: start one"),
        ({"version": "1.17.2"}, "of version 1.17, and this Beam has job servers for 1.19"),
        ({"jobs": [("job", "RESTARTING")]}, "runs this job already: wait until it has ended"),
    ],
)
def test_a_cluster_that_cannot_do_it_is_said_before_anything_is_started(flink, cluster, message):
    with pytest.raises(FmaError, match=message):
        completed("--runner=FlinkRunner", f"--flink_master={flink(**cluster).master}")


def test_jobs_that_have_ended_do_not_hold_up_the_next_and_only_the_named_is_ended(flink):
    server = flink(jobs=[("job", "FINISHED"), ("other", "RUNNING"), ("job", "CANCELED")])
    cluster = FlinkCluster(server.master)
    assert cluster.running("job") == []
    cluster.cancel("other")
    assert server.asked == ["/jobs/abc?mode=cancel"]


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (
            ["--runner=PrismRunner", "--prism_location=/nowhere/prism"],
            2,
            "--prism_location /nowhere/prism: there is no",
        ),
        (["--runner=DirectRunner", "--prism_location=/nowhere/prism"], 2, "there is no such file"),
        (["--runner=PortableRunner"], 2, "needs --job_endpoint"),
        (["--runner=PortableRunner", "--job_endpoint=here"], 2, "write HOST:PORT"),
        (["--runner=PortableRunner", "--job_endpoint=localhost:9"], 1, "no job server answers at localhost:9"),
        (["--runner=FlinkRunner", "--job_server_java_launcher=no-java"], 2, "needs Java"),
        (["--runner=FlinkRunner", "--job_endpoint=localhost:9", "--flink_master=localhost:9"], 1, "no Flink cluster"),
        (["--runner=FlinkRunner", "--job_endpoint=localhost:9"], 1, "no job server answers"),
    ],
)
def test_what_cannot_work_is_one_line_within_seconds(tmp_path, capsys, options, code, message):
    make_music(tmp_path, 2)
    paths = ["--audio", str(tmp_path), "--metadata", str(tmp_path / "tracks.csv"), "--out", str(tmp_path / "out")]
    assert fma.main(["ingest", *paths, *options]) == code
    error = capsys.readouterr().err
    assert message in error
    assert len(error.strip().splitlines()) == 1


def test_a_cluster_without_workers_is_one_line(flink, somebody):
    words = ["--runner=FlinkRunner", f"--flink_master={flink().master}", "--environment_type=EXTERNAL"]
    with pytest.raises(FmaError, match="no pool of workers answers at localhost:9"):
        completed(*words, "--environment_config=localhost:9")


def test_something_else_at_the_address_of_a_cluster_is_one_line(flink):
    server = flink()
    server.overview = "hello"
    with pytest.raises(FmaError, match="is no Flink cluster"):
        FlinkCluster(server.master).slots()


class Gone(grpc.RpcError):
    """The error of a channel whose other end has closed."""


@pytest.mark.parametrize(
    ("runner", "raised", "message"),
    [
        ("PrismRunner", Gone(), "Prism went away; run the command again, it carries on"),
        ("PortableRunner", Gone(), "the job server went away"),
        (
            "FlinkRunner",
            RuntimeError("[Errno 2] No such file or directory: '/data/plan.jsonl'"),
            "see /data/plan.jsonl",
        ),
        ("FlinkRunner", RuntimeError("failed: java.net.ConnectException: Connection refused"), "no pool of workers"),
        ("FlinkRunner", RuntimeError("Cannot write record to fresh sort buffer. Record too large."), "managed.size"),
        ("DirectRunner", RuntimeError("OSError: [Errno 28] No space left on device"), "[Errno 28] No space left"),
    ],
)
def test_what_a_runner_says_of_its_end_becomes_one_line(runner, raised, message):
    options = PipelineOptions([f"--runner={runner}"])
    with pytest.raises((FmaError, OSError)) as found, runners.translate_runner_errors(options, "data"):
        raise raised
    assert message in str(found.value)


@pytest.mark.parametrize("runner", ["PrismRunner", "FlinkRunner", "FnApiRunner"])
def test_a_programming_error_stays_one(runner):
    with (
        pytest.raises(RuntimeError, match="track 3: ZeroDivisionError"),
        runners.translate_runner_errors(PipelineOptions([f"--runner={runner}"]), "data"),
    ):
        raise RuntimeError("track 3: ZeroDivisionError")


def test_threads_that_lose_a_runner_are_quiet_and_others_are_not(monkeypatch):
    heard = []
    monkeypatch.setattr(threading, "excepthook", lambda failed: heard.append(failed.exc_type))
    with runners.translate_runner_errors(PipelineOptions(["--runner=PrismRunner"]), "data"):
        for error in (Gone, KeyError):
            thread = threading.Thread(target=lambda error=error: (_ for _ in ()).throw(error()))
            thread.start()
            thread.join()
    assert heard == [KeyError]


def test_progress_is_shown_where_workers_can_note_it_here(flink):
    def folder(*arguments: str) -> str:
        with runners.progress(PipelineOptions(list(arguments)), "ingest", 3, "tracks") as ticks:
            return ticks

    assert folder()
    assert folder("--runner=PrismRunner")
    assert folder("--runner=FlinkRunner", "--flink_master=localhost:8081")
    assert not folder("--runner=FlinkRunner", "--flink_master=http://flink.example:8081")
    assert not folder("--runner=PortableRunner", "--job_endpoint=jobs.example:8099")


def test_a_shard_that_is_built_again_is_counted_once(tmp_path):
    for notes in (b"..x", b".."):
        with count_progress(str(tmp_path), "mel/training-00000-of-00001") as tick:
            for note in notes:
                tick(bytes([note]))
    assert read_progress(str(tmp_path)) == (2, 0)
    with count_progress(str(tmp_path / "elsewhere"), "shard") as tick:
        tick(b".")
    assert read_progress(str(tmp_path)) == (2, 0)


def test_a_port_that_is_none_is_a_usage_error():
    with pytest.raises(UsageError, match="write HOST:PORT"):
        completed("--runner=PortableRunner", "--job_endpoint=host:port")
