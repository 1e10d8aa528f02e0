"""`fma ingest --runner DataflowRunner` with a missing bucket, no network, wrong versions, or Ctrl-C."""

import os
import signal
import threading
import time

import pytest
import requests
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.dataflow.dataflow_runner import DataflowRuntimeException
from google.api_core import exceptions as api
from google.auth.exceptions import RefreshError

from pipelines.runners.dataflow import translate_runner_errors
from tests.gcs.dataflow.test_submit import dataflow, ingest, last_line, source, there  # noqa: F401
from transforms.errors import FmaError

OPTIONS = PipelineOptions(["--runner=DataflowRunner", "--project=my-project", "--region=us-central1"])


@pytest.mark.parametrize("option", ["--staging_location", "--temp_location"])
def test_a_staging_bucket_that_is_not_there_is_said_within_seconds(there, service, capsys, option):  # noqa: F811
    began = time.monotonic()
    assert ingest(there, *dataflow(service, option, "gs://no-such-bucket/s")) == 2
    assert time.monotonic() - began < 5
    (line,) = capsys.readouterr().err.splitlines()
    assert f"{option} gs://no-such-bucket/s: there is no bucket gs://no-such-bucket" in line
    assert service.jobs == []


def test_what_beam_cannot_upload_is_one_line():
    with pytest.raises(FmaError) as caught, translate_runner_errors(OPTIONS):
        raise OSError("Could not upload to GCS path gs://b/s: 403\n. Please verify that credentials are valid.")
    assert str(caught.value).startswith(
        "the Dataflow job could not be started: Could not upload to GCS path gs://b/s: 403 ."
    )
    with pytest.raises(OSError, match="No space left"), translate_runner_errors(OPTIONS):
        raise OSError(28, "No space left on device")


@pytest.mark.long
def test_a_service_that_cannot_be_reached_is_one_line(there, service, capsys):  # noqa: F811
    options = dataflow(service)
    options[options.index("--dataflow_endpoint") + 1] = "http://localhost:9"
    assert ingest(there, *options) == 1
    line = last_line(capsys)
    assert line.startswith("fma: error: Dataflow does not answer (")
    assert line.endswith("A running job continues; the same command uses its result when it has ended")


@pytest.mark.parametrize(
    "error",
    [
        requests.ConnectionError("refused"),
        requests.Timeout("slow"),
        api.RetryError("Timeout of 60.0s exceeded", None),
        RefreshError("invalid_grant"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_each_way_of_not_being_reached_says_that_the_job_goes_on(error):
    message = r"Dataflow does not answer .* A running job continues"
    with pytest.raises(FmaError, match=message), translate_runner_errors(OPTIONS):
        raise error


def test_a_job_that_was_cancelled_is_no_failure():
    with pytest.raises(FmaError, match="the Dataflow job was cancelled"), translate_runner_errors(OPTIONS):
        raise DataflowRuntimeException("Dataflow pipeline failed. State: CANCELLED, Error:\nNone", None)


def test_workers_of_another_python_are_said_with_both_versions(there, service, capsys):  # noqa: F811
    service.failure = (
        "Traceback (most recent call last):\n  File x\nRuntimeError: Pipeline construction environment and pipeline "
        "runtime environment are not compatible. If you use a custom container image, check ... Submission "
        "environment: beam:version:sdk_base:apache/beam_python3.12_sdk:2.77.0. Runtime environment: "
        "beam:version:sdk_base:apache/beam_python3.10_sdk:2.70.0.\n\n"
    )
    assert ingest(there, *dataflow(service)) == 1
    line = last_line(capsys)
    assert "the workers have another Python or Beam (Python 3.10, Beam 2.70.0) than this machine (Python 3." in line
    assert "build the image with submit.sh build --python 3." in line


def test_ctrl_c_says_that_the_job_goes_on_and_how_to_end_it(there, service, capsys, monkeypatch):  # noqa: F811
    monkeypatch.setattr(service, "work", lambda job: None)  # it runs for ever

    def press() -> None:
        while not service.jobs:
            time.sleep(0.05)
        time.sleep(2)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=press, daemon=True).start()
    assert ingest(there, *dataflow(service)) == 130
    cancel = "gcloud dataflow jobs cancel job-1 --project my-project --region us-central1"
    assert f"the Dataflow job continues and costs money; to cancel it: {cancel}" in capsys.readouterr().err
