"""What runners say of a job that they refuse, lose or fail, as one line that says what to do."""

import contextlib
import errno
import os
import platform
import re
from collections.abc import Iterator

import apache_beam

ADVICE = {
    400: "check --region and the other options",
    401: "run gcloud auth application-default login again",
    403: "enable the Dataflow API in the project, and give the account roles/dataflow.developer",
    404: "check --project and --region",
    413: "report this: the job should not grow with the data",
    429: "ask for more quota, or take fewer or smaller workers (--max_num_workers, --worker_machine_type)",
}


def refusal(error: Exception) -> str:
    """What the service said to a request, and what to do about it."""
    message = re.sub(r"^[A-Z]+ https?://\S+: ", "", on_one_line(getattr(error, "message", "") or error))
    advice = ADVICE.get(int(getattr(error, "code", 0) or 0), "run the command again later")
    return f"{message[:300].rstrip('.')} ({advice})"


def silence(error: BaseException) -> str:
    """That the service did not answer, why, and what becomes of a job."""
    return (
        f"Dataflow does not answer ({on_one_line(_first(error))[:200].rstrip('.')}): check the network and the "
        "credentials. A job that runs goes on; the same command takes it up when it has ended"
    )


NO_PROGRAM = "the workers' image does not hold this program; build it anew, or give --setup_file ./setup.py too"
FAILURES = {
    "No module named 'pipelines'": NO_PROGRAM,
    "No module named 'transforms'": NO_PROGRAM,
    "QUOTA": "not enough quota for the workers; ask for more, or take fewer or smaller ones (--max_num_workers)",
    "ZONE_RESOURCE_POOL_EXHAUSTED": "the region has no such machines left; take another --region or machine type",
}
"""What a job's last error holds, and what to say of it."""


def failure(text: str) -> str:
    """The line of a job's last error that says what happened, and where to read more."""
    if "State: CANCELLED" in text:
        return "was cancelled; the same command begins it anew"
    return f"failed: {_reason(text)}"


def _reason(text: str) -> str:
    if "not compatible" in text:
        return _versions(text)
    for mark, meaning in FAILURES.items():
        if mark in text:
            return meaning
    said = text.partition("Error:")[2] or text  # behind what Beam says of the state
    lines = [line.strip() for line in said.splitlines() if line.strip() not in ("", "None")]
    return f"{lines[-1][:300] if lines else 'it gave no reason'} (its page in the Cloud console has the workers' logs)"


def _versions(text: str) -> str:
    """Of Beam's words for workers that have other versions than whoever described the job."""
    python = ".".join(platform.python_version_tuple()[:2])
    here = f"Python {python}, Beam {apache_beam.__version__}"
    runtime = re.search(r"Runtime environment: \S*?beam_python([\d.]+)_sdk:([\w.]*\w)", text)
    theirs = f" (Python {runtime[1]}, Beam {runtime[2]})" if runtime else ""
    return (
        f"the workers have another Python or Beam{theirs} than this machine ({here}): build the image with "
        f"submit.sh build --python {python}, or begin the job from the image with submit.sh ingest"
    )


def _first(error: BaseException) -> BaseException:
    while error.__cause__ is not None or error.__context__ is not None:
        error = error.__cause__ or error.__context__ or error
    return error


def on_one_line(what: object) -> str:
    """The text of anything, without line breaks."""
    return " ".join(str(what).split()) or type(what).__name__


DISK = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM}
"""Errors that are the disk's. Others, such as a file that is not there, may be a mistake in the program."""


@contextlib.contextmanager
def disk_errors_named(path: str) -> Iterator[None]:
    """Turns what runners make of a worker's OSError, an exception with a traceback for its message, into an OSError.

    Args:
      path: what the job writes to.

    Raises:
      OSError: one of `DISK`.
    """
    try:
        yield
    except RuntimeError as error:  # FnApiRunner's and the portable runners' own
        numbers = [int(number) for number in re.findall(r"\[Errno (\d+)\]", str(error))]
        found = next((number for number in reversed(numbers) if number in DISK), None)
        if found is None:
            raise
        raise OSError(found, os.strerror(found), path) from error
