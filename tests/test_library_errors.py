"""The table of library errors against the pinned libraries: each row is provoked here, or it is said why it cannot be.

A library that changes its words fails here, and not in front of a user.
"""

import ast
import io
import itertools
import os
import resource
import signal
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Callable
from pathlib import Path

import apache_beam as beam
import numpy as np
import pytest
from apache_beam.options.pipeline_options import PipelineOptions

from pipelines import runners
from pipelines.runners import local
from pipelines.runners.options import make_pipeline, quiet_beam
from transforms import library_errors
from transforms.errors import FmaError
from transforms.library_errors import DAMAGED_ZIP, ROWS, LibraryError, explain

NO_NETWORK = ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY")
WORKER_PROCESS = ("--runner=FnApiRunner", "--direct_running_mode=multi_processing", "--direct_num_workers=1")


def kill_worker(_: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def fill_disk(_: object) -> None:
    raise OSError(28, "No space left on device")


def run(work: Callable[[object], object], *options: str) -> None:
    """Runs one element through a runner, with its errors as the commands show them."""
    quiet_beam()
    parsed = PipelineOptions(list(options))
    with runners.translate_runner_errors(parsed, "data"):
        pipeline = make_pipeline(parsed)
        _ = pipeline | beam.Create([None]) | beam.Map(work)
        pipeline.run().wait_until_finish()


def message(work: Callable[[], object]) -> str:
    """What a library says when something fails."""
    with pytest.raises(Exception) as caught:
        work()
    return str(getattr(caught.value, "message", caught.value))


@pytest.fixture
def offline(monkeypatch, tmp_path) -> None:
    """No network, no proxy that was remembered, and nothing that Beam downloaded before."""
    from apache_beam.runners.portability.prism_runner import PrismJobServer
    from apache_beam.utils.subprocess_server import JavaJarServer

    for name in NO_NETWORK:
        monkeypatch.setenv(name, "http://localhost:9")
    monkeypatch.setattr(urllib.request, "_opener", None)
    monkeypatch.setattr(PrismJobServer, "BIN_CACHE", str(tmp_path))
    monkeypatch.setattr(JavaJarServer, "JAR_CACHE", str(tmp_path))


def test_a_machine_without_a_folder_for_temporary_files_is_known(monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", None)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, limits[1]))
    try:
        text = message(tempfile.gettempdir)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    tried = library_errors.NO_TEMPORARY_FOLDER.search(text)
    assert tried and "/tmp" in ast.literal_eval(tried[1])


def test_music_theory_without_a_folder_for_numba_says_what_to_set():
    code = (
        "from transforms.audio.features import KINDS; from transforms.config import DatasetConfig;"
        "KINDS['theory'].extractor(DatasetConfig())"
    )
    nowhere = os.environ | {"NUMBA_CACHE_LOCATOR_CLASSES": "ZipCacheLocator"}  # as where none can be written to
    ran = subprocess.run([sys.executable, "-c", code], env=nowhere, stderr=subprocess.PIPE, text=True, check=False)
    assert ran.stderr.splitlines()[-1] == f"OSError: {library_errors.NOWHERE_TO_COMPILE.meaning}"


def test_a_local_worker_that_is_killed_is_noticed():
    assert message(lambda: run(kill_worker, *WORKER_PROCESS)) == local.DIED


def test_a_full_disk_of_a_local_worker_is_one_of_this_process():
    with pytest.raises(OSError, match="No space left on device") as caught:
        run(fill_disk, *WORKER_PROCESS)
    assert (caught.value.errno, caught.value.filename) == (28, "data")


@pytest.mark.parametrize(
    ("options", "meaning"),
    [
        (["--runner=PrismRunner"], "Prism cannot be downloaded: give --prism_location"),
        (["--runner=FlinkRunner", "--flink_master=[local]"], "Beam's Flink job server cannot be downloaded"),
    ],
)
@pytest.mark.usefixtures("offline")
def test_a_runner_that_cannot_be_downloaded_says_what_to_give(options, meaning):
    assert message(lambda: run(str, *options)).startswith(meaning)


def test_a_job_server_that_is_not_there_is_one_line():
    import grpc
    from apache_beam.portability.api import beam_job_api_pb2 as api
    from apache_beam.portability.api import beam_job_api_pb2_grpc as api_grpc

    options = PipelineOptions(["--runner=PortableRunner", "--job_endpoint=localhost:9"])
    with (
        pytest.raises(FmaError, match="the job server went away"),
        runners.translate_runner_errors(options, "data"),
        grpc.insecure_channel("localhost:9") as channel,
    ):
        api_grpc.JobServiceStub(channel).GetState(api.GetJobStateRequest(job_id="job"), timeout=10)


def test_workers_of_another_beam_are_named_with_both_versions(monkeypatch):
    versions = (f"beam:version:sdk_base:apache/beam_python3.5_sdk:2.{number}.0" for number in itertools.count())
    monkeypatch.setattr("apache_beam.transforms.environments.sdk_base_version_capability", lambda: next(versions))
    text = message(lambda: run(str, "--runner=FnApiRunner"))
    meaning = explain(library_errors.DATAFLOW, text, python="3.11", beam="2.77.0")
    assert meaning.startswith("the workers have another Python or Beam (Python 3.5, Beam 2.")
    assert "than this machine (Python 3.11, Beam 2.77.0): build the image" in meaning


@pytest.mark.parametrize("package", ["pipelines", "transforms"])
def test_workers_without_this_program_say_what_to_do(tmp_path, package):
    command = [sys.executable, "-S", "-c", f"import {package}"]  # without site-packages
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert "the workers' image does not hold this program" in explain(library_errors.DATAFLOW, ran.stderr)


def test_workers_that_do_not_see_a_file_name_it():
    text = message(lambda: open("/nowhere/plan.jsonl"))  # noqa: SIM115
    assert explain(library_errors.FLINK, text).startswith("the workers do not see /nowhere/plan.jsonl: on a cluster")


def test_an_answer_of_googles_is_shown_without_its_request():
    import requests
    from google.api_core import exceptions

    answer = requests.Response()
    answer.status_code, answer._content = 403, b'{"error": {"message": "Dataflow API has not been used."}}'
    answer.request = requests.Request("GET", "https://dataflow.googleapis.com/v1b3/projects/p").prepare()
    text = exceptions.from_http_response(answer).message
    assert text.startswith("GET https://")
    assert library_errors.REQUEST.remove(text) == "Dataflow API has not been used."


def test_a_missing_file_of_tensorflows_is_shown_without_names_of_operations(tmp_path):
    import tensorflow as tf

    path = tmp_path / "a.tfrecord"
    text = message(lambda: list(tf.data.TFRecordDataset(str(path))))
    assert "[Op:" in text
    assert "{{" in text
    shown = library_errors.OPERATION.remove(text)
    assert shown.split()[0] == f"{path};"
    assert not any(mark in shown for mark in ("[Op:", "{{"))


def test_a_damaged_file_is_an_error_of_tensorflows_own_type(tmp_path):
    import tensorflow as tf

    (tmp_path / "a.tfrecord").write_bytes(b"not a record file")
    with pytest.raises(tf.errors.DataLossError):
        list(tf.data.TFRecordDataset(str(tmp_path / "a.tfrecord")))


def test_another_number_of_records_than_was_promised_is_known(tmp_path):
    import tensorflow as tf

    for have, promised in ((1, 2), (2, 1)):
        records = tf.data.Dataset.range(have).apply(tf.data.experimental.assert_cardinality(promised))
        assert library_errors.WRONG_COUNT.search(message(lambda records=records: list(records)))


PROVOKED = {
    library_errors.NO_TEMPORARY_FOLDER.pattern,
    library_errors.NOWHERE_TO_COMPILE.pattern,
    r"\[Errno (\d+)\]",
    "Unable to fetch remote prism binary",
    "Unable to fetch remote job server jar",
    r"No such file or directory: '([^']+)'",
    r"not compatible.*Runtime environment: \S*?beam_python([\d.]+)_sdk:([\w.]*\w)",
    "not compatible",
    "No module named '(?:pipelines|transforms)'",
    library_errors.REQUEST.pattern,
    library_errors.OPERATION.pattern,
    library_errors.WRONG_COUNT.pattern,
}
"""By the tests above."""

SERVICE = "only Dataflow says it: tests/gcs/dataflow has Beam's real client and a stand-in for the service"
CLUSTER = "only a cluster in trouble says it: tests/runners loses TaskManagers, and the texts are those it has shown"
BUCKET = "only a bucket says it, and TensorFlow asks Google's own: tests/gcs/test_errors.py has the texts"
RECORDED = {
    library_errors.JOB_ID.pattern: (SERVICE, "Job 2026-11-26_job-1 is in state JOB_STATE_RUNNING"),
    library_errors.CANCELLED.pattern: (SERVICE, "Dataflow pipeline failed. State: CANCELLED, Error:\nNone"),
    library_errors.JOB_ERROR.pattern: (SERVICE, "Dataflow pipeline failed. State: FAILED, Error:\nWorkflow failed."),
    "QUOTA": (SERVICE, "Startup of the worker pool failed: QUOTA_EXCEEDED: Quota 'CPUS' exceeded. Limit: 24.0"),
    "ZONE_RESOURCE_POOL_EXHAUSTED": (
        SERVICE,
        "Workflow failed. Causes: ZONE_RESOURCE_POOL_EXHAUSTED in us-central1-a.",
    ),
    "NoResourceAvailable": (
        CLUSTER,
        "org.apache.flink.runtime.jobmanager.scheduler.NoResourceAvailableException: Could not acquire the minimum "
        "required resources.",
    ),
    "ConnectException": (CLUSTER, "failed: java.net.ConnectException: Connection refused"),
    "Record too large": (CLUSTER, "Cannot write record to fresh sort buffer. Record too large."),
    "Insufficient number of network buffers": (
        CLUSTER,
        "java.io.IOException: Insufficient number of network buffers: required 17, but only 8 available.",
    ),
    "RecipientUnreachable|no longer reachable|Heartbeat of TaskManager|Lost connection to task manager": (
        CLUSTER,
        "java.util.concurrent.TimeoutException: Heartbeat of TaskManager with id localhost:40123-1a2b3c timed out.",
    ),
    library_errors.OBJECT_READ.pattern: (BUCKET, "\n\t when reading gs://bucket/data/a.tfrecord [Op:IteratorGetNext]"),
    library_errors.HTTP_ANSWER.pattern: (
        BUCKET,
        'response code 503 with body \'{"error": {"message": "Try again."}}\'',
    ),
}
"""By pattern: why it cannot be provoked here, and what was said."""


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.library}: {row.pattern[:40]}")
def test_every_row_is_provoked_or_says_why_not(row: LibraryError):
    assert (row.pattern in PROVOKED) != (row.pattern in RECORDED)
    if row.pattern in RECORDED:
        why, text = RECORDED[row.pattern]
        assert "tests/" in why
        assert row.search(text)


def test_files_that_are_named_as_reasons_are_there():
    root = Path(__file__).resolve().parents[1]
    for place in ("tests/gcs/dataflow", "tests/runners", "tests/gcs/test_errors.py"):
        assert (root / place).exists()


def test_arrays_whose_file_is_cut_or_has_a_wrong_byte_raise_only_what_readers_expect():
    file = io.BytesIO()
    np.savez_compressed(file, mean=np.arange(4.0), deviation=np.ones(4))
    whole = file.getvalue()
    damaged = [whole[:end] for end in range(len(whole))]
    damaged += [whole[:at] + bytes([whole[at] ^ 0xFF]) + whole[at + 1 :] for at in range(len(whole))]
    read = 0
    for data in damaged:
        try:
            with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
                read += all(arrays[name].size for name in ("mean", "deviation"))
        except DAMAGED_ZIP:
            continue
    assert read < len(damaged) // 2, "some bytes, such as dates, do not matter"
