"""Dataflow: what its jobs are told beside the user's options, and what it says, as one line."""

import hashlib
import logging
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from apache_beam.options.pipeline_options import PipelineOptions

from pipelines.runners.errors import failure, on_one_line, refusal, silence
from pipelines.runners.options import runner_name
from transforms import storage
from transforms.errors import FmaError, UsageError
from transforms.runtime import console

THREADS = 2
"""Shards that a core of a worker builds at a time: while one waits for the bucket, the other computes. Each has a
decoder's process of its own, so Beam's dozen would take a dozen times the memory."""

TAKES_UP = "wait until it has ended and run the command again: it takes up what the job has built"


def is_dataflow(options: PipelineOptions) -> bool:
    """Whether the options name Dataflow, in any of the ways in which Beam takes it."""
    return runner_name(options) == "dataflow"


def validate_runner_options(arguments: list[str], places: Iterable[tuple[str, str]], template: bool = True) -> None:
    """Refuses, before anything is read, what would fail on Dataflow after minutes; does nothing for other runners.

    Args:
      arguments: the user's Beam options.
      places: what each path that workers will open is called, and the path.
      template: whether the command can write its job to a template.

    Raises:
      UsageError: a place is on this machine, or the options do not say where the workers get this program from.
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
            _look_at(name, given[name])


def _look_at(option: str, place: str) -> None:
    """Asks for one name in a bucket: Beam would try an upload for minutes before it says that it cannot."""
    try:
        storage.is_dir(place)
    except FmaError as error:
        raise type(error)(f"--{option} {place}: {error}") from error


def with_runner_defaults(arguments: list[str], dataset: str, command: str, name: str) -> list[str]:
    """The user's Beam options, for Dataflow with those that were not given.

    Args:
      arguments: the user's.
      dataset: its path.
      command: what is done, for the job's name.
      name: of what the job makes; the same work has the same job name, and Dataflow runs it once at a time.
    """
    if not is_dataflow(PipelineOptions(arguments)):
        return arguments
    defaults = {
        "job_name": job_name(dataset, command, name),
        "temp_location": storage.join(dataset, "plan", name, "beam"),
        "number_of_worker_harness_threads": THREADS,
    }
    given = PipelineOptions(arguments).get_all_options(drop_default=True)
    return [*arguments, *(f"--{option}={value}" for option, value in defaults.items() if option not in given)]


def job_name(dataset: str, command: str, name: str) -> str:
    """The same for the same work, of two datasets that may hold the same generation."""
    place = hashlib.sha256(dataset.encode()).hexdigest()[:6]
    return f"fma-{command}-{name}-{place}"


@contextmanager
def translate_runner_errors(options: PipelineOptions) -> Iterator[None]:
    """Shows what Dataflow says while a job runs, and turns its errors into one line; other runners' stay as they are.

    Raises:
      FmaError: the job was refused, failed or was cancelled, or the service cannot be reached.
    """
    if not is_dataflow(options):
        yield
        return
    with _shown() as teller:
        try:
            with _named():
                yield
        except KeyboardInterrupt:
            if teller.job:
                console.log(f"the Dataflow job goes on, and costs money; to end it: {_cancel(options, teller.job)}")
            raise


@contextmanager
def _named() -> Iterator[None]:
    import requests
    from apache_beam.runners.dataflow.dataflow_runner import DataflowRuntimeException
    from apache_beam.runners.dataflow.internal.apiclient import DataflowJobAlreadyExistsError
    from google.api_core import exceptions as api
    from google.auth.exceptions import GoogleAuthError

    try:
        yield
    except (DataflowJobAlreadyExistsError, api.Conflict) as error:
        raise FmaError(f"Dataflow runs this job already: {TAKES_UP}") from error
    except (api.RetryError, GoogleAuthError, requests.ConnectionError, requests.Timeout) as error:
        raise FmaError(silence(error)) from error
    except api.GoogleAPICallError as error:
        raise FmaError(f"Dataflow refuses the job: {refusal(error)}") from error
    except DataflowRuntimeException as error:
        raise FmaError(f"the Dataflow job {failure(str(error))}") from error
    except OSError as error:
        if error.errno is not None or isinstance(error, FmaError):
            raise
        # Beam's own words for what it could not upload or ask for; an error of a disk has a number.
        raise FmaError(f"the Dataflow job could not be begun: {on_one_line(error)[:400]}") from error


def _cancel(options: PipelineOptions, job: str) -> str:
    given = options.get_all_options()
    return f"gcloud dataflow jobs cancel {job} --project {given['project']} --region {given['region']}"


class _Teller(logging.Handler):
    """Hands Beam's remarks about a job to the console, each on one line; `job` is its id, once one of them holds it."""

    job = ""

    def emit(self, record: logging.LogRecord) -> None:
        found = re.match(r"Job (\S+) is in state ", record.getMessage())
        self.job = found[1] if found else self.job
        console.log(f"dataflow: {' '.join(record.getMessage().split())[:500]}")


@contextmanager
def _shown() -> Iterator[_Teller]:
    logger = logging.getLogger("apache_beam.runners.dataflow.dataflow_runner")
    before, teller = (logger.level, logger.propagate), _Teller()
    logger.addHandler(teller)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    # What this one logs of an error is in the error, too.
    client = logging.getLogger("apache_beam.runners.dataflow.internal.apiclient")
    client_level = client.level
    client.setLevel(logging.CRITICAL + 1)
    try:
        yield teller
    finally:
        logger.removeHandler(teller)
        (level, logger.propagate) = before
        logger.setLevel(level)
        client.setLevel(client_level)
