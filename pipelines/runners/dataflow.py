"""Dataflow: the options that its jobs need beside the user's, and what it says of a job, as one line."""

import hashlib
import logging
import platform
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import apache_beam
from apache_beam.options.pipeline_options import PipelineOptions

from pipelines.runners.options import runner_name
from transforms import storage
from transforms.dataset.leftovers import is_scratch, scratch_folder
from transforms.errors import FmaError, UsageError
from transforms.library_errors import CANCELLED, DATAFLOW, JOB_ERROR, JOB_ID, REQUEST, explain, first_cause
from transforms.runtime import console

THREADS = 2
"""Shards that a core of a worker builds at a time: while one waits for the bucket, the other computes. Each has a
decoder's process of its own, so Beam's dozen would take a dozen times the memory."""

ADVICE = {
    400: "check --region and the other options",
    401: "run gcloud auth application-default login again",
    403: "enable the Dataflow API in the project, and give the account roles/dataflow.developer",
    404: "check --project and --region",
    413: "report this: the job should not grow with the data",
    429: "ask for more quota, or take fewer or smaller workers (--max_num_workers, --worker_machine_type)",
}
"""By the HTTP status with which Dataflow refuses a job."""


def is_dataflow(options: PipelineOptions) -> bool:
    """Whether the options name Dataflow."""
    return runner_name(options) == "dataflow"


def validate_runner_options(arguments: list[str], places: Iterable[tuple[str, str]], template: bool = True) -> None:
    """Raise UsageError for what would fail on Dataflow after minutes; do nothing for other runners.

    Args:
      places: (what it is called, path) of each path that workers will open.
      template: whether the command can write its job to a template.
    """
    options = PipelineOptions(arguments)
    if not is_dataflow(options):
        return
    for what, path in places:
        if storage.is_local(path):
            raise UsageError(
                f"{what} {path}: Dataflow's workers do not see this machine's files; copy it to a bucket and give "
                "its gs:// address"
            )
    given = options.get_all_options()
    for name in ("project", "region"):
        if not given.get(name):
            raise UsageError(f"--runner DataflowRunner needs --{name}")
    if given.get("template_location") and not template:
        raise UsageError("--template_location: only the job of fma ingest can be written to a template")
    if not any(given.get(name) for name in ("sdk_container_image", "setup_file", "extra_packages")):
        raise UsageError(
            "--runner DataflowRunner: the workers need this program; give --sdk_container_image with an image that "
            "holds it, or --setup_file ./setup.py to install it onto one that holds its libraries"
        )
    for name in ("staging_location", "temp_location"):
        if str(given.get(name) or "").startswith("gs://"):
            try:  # one name in the bucket: Beam would try an upload for minutes before it says that it cannot
                storage.is_dir(given[name])
            except FmaError as error:
                raise type(error)(f"--{name} {given[name]}: {error}") from error


def with_runner_defaults(arguments: list[str], dataset: str, command: str, name: str) -> list[str]:
    """Return the user's Beam options, for Dataflow with those that were not given; see `job_name` for the others."""
    if not is_dataflow(PipelineOptions(arguments)):
        return arguments
    defaults = {
        "job_name": job_name(dataset, command, name),
        "temp_location": storage.join(dataset, scratch_folder(name)),
        "number_of_worker_harness_threads": THREADS,
    }
    given = PipelineOptions(arguments).get_all_options(drop_default=True)
    return [*arguments, *(f"--{option}={value}" for option, value in defaults.items() if option not in given)]


def own_folders(options: PipelineOptions, dataset: str) -> list[str]:
    """Return the folders below a dataset that were made for what the job's runner writes, as `announce` takes them."""
    place = str(options.get_all_options().get("temp_location") or "").removeprefix(storage.join(dataset, ""))
    return [f"{place}/"] if is_scratch(place) else []


def job_name(dataset: str, command: str, name: str) -> str:
    """Return a job's name: the same for the same work, which Dataflow then runs once at a time.

    `name` is that of what the job makes. The dataset's path counts, since two datasets may hold the same generation.
    """
    return f"fma-{command}-{name}-{hashlib.sha256(dataset.encode()).hexdigest()[:6]}"


@contextmanager
def translate_runner_errors(options: PipelineOptions) -> Iterator[None]:
    """Show Dataflow's messages while a job runs, and turn its errors into one line; do nothing for other runners.

    Raises:
      FmaError: the job was refused, failed or was cancelled, or the service cannot be reached.
    """
    if not is_dataflow(options):
        yield
        return
    with _messages_on_console() as messages:
        try:
            with _errors_as_one_line():
                yield
        except KeyboardInterrupt:
            if messages.job:
                given = options.get_all_options()
                console.log(
                    "the Dataflow job continues and costs money; to cancel it: gcloud dataflow jobs cancel "
                    f"{messages.job} --project {given['project']} --region {given['region']}"
                )
            raise


@contextmanager
def _errors_as_one_line() -> Iterator[None]:
    import requests
    from apache_beam.runners.dataflow.dataflow_runner import DataflowRuntimeException
    from apache_beam.runners.dataflow.internal.apiclient import DataflowJobAlreadyExistsError
    from google.api_core import exceptions as api
    from google.auth.exceptions import GoogleAuthError

    try:
        yield
    except (DataflowJobAlreadyExistsError, api.Conflict) as error:
        raise FmaError(
            "Dataflow runs this job already: wait until it has ended and run the command again, which uses what "
            "the job has built"
        ) from error
    except (api.RetryError, GoogleAuthError, requests.ConnectionError, requests.Timeout) as error:
        raise FmaError(
            f"Dataflow does not answer ({_one_line(first_cause(error))[:200].rstrip('.')}): check the network and the "
            "credentials. A running job continues; the same command uses its result when it has ended"
        ) from error
    except api.GoogleAPICallError as error:
        message = REQUEST.remove(_one_line(error.message or error))[:300].rstrip(".")
        advice = ADVICE.get(int(error.code or 0), "run the command again later")
        raise FmaError(f"Dataflow refuses the job: {message} ({advice})") from error
    except DataflowRuntimeException as error:
        raise FmaError(f"the Dataflow job {_describe_failure(str(error))}") from error
    except OSError as error:
        if error.errno is not None or isinstance(error, FmaError):
            raise
        # Beam's own words for what it could not upload or ask for; an error of a disk has a number.
        raise FmaError(f"the Dataflow job could not be started: {_one_line(error)[:400]}") from error


def _describe_failure(text: str) -> str:
    """What a job's last error says, and what to do or where to read more."""
    if CANCELLED.search(text):
        return CANCELLED.meaning
    python = ".".join(platform.python_version_tuple()[:2])
    meaning = explain(DATAFLOW, text, python=python, beam=apache_beam.__version__)
    if meaning:
        return f"failed: {meaning}"
    found = JOB_ERROR.search(text)
    lines = [line.strip() for line in ((found and found[1]) or text).splitlines() if line.strip() not in ("", "None")]
    reason = lines[-1][:300] if lines else "it gave no reason"
    return f"failed: {reason} (its page in the Cloud console has the workers' logs)"


def _one_line(what: object) -> str:
    return " ".join(str(what).split()) or type(what).__name__


class _Messages(logging.Handler):
    """Hands Beam's messages about a job to the console, each on one line; `job` is its id, once one of them has it."""

    job = ""

    def emit(self, record: logging.LogRecord) -> None:
        found = JOB_ID.search(record.getMessage())
        self.job = found[1] if found else self.job
        console.log(f"dataflow: {_one_line(record.getMessage())[:500]}")


@contextmanager
def _messages_on_console() -> Iterator[_Messages]:
    logger = logging.getLogger("apache_beam.runners.dataflow.dataflow_runner")
    before, messages = (logger.level, logger.propagate), _Messages()
    logger.addHandler(messages)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    # What this one logs of an error is in the error, too.
    client = logging.getLogger("apache_beam.runners.dataflow.internal.apiclient")
    client_level = client.level
    client.setLevel(logging.CRITICAL + 1)
    try:
        yield messages
    finally:
        logger.removeHandler(messages)
        (level, logger.propagate) = before
        logger.setLevel(level)
        client.setLevel(client_level)
