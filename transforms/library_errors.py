"""What libraries raise and say when they fail, and what it means for the user: all that depends on a library's ways.

`tests/test_library_errors.py` provokes each row with the pinned libraries, or says why it cannot.
"""

import re
import zipfile
import zlib
from dataclasses import dataclass

BEAM, PRISM, FLINK, DATAFLOW, GOOGLE, TENSORFLOW = "Beam", "Prism", "Flink", "Dataflow", "google-api-core", "TensorFlow"
PYTHON, NUMBA = "Python", "Numba"
DOCS = "see docs/runners.md"
DAMAGED_ZIP = (zipfile.BadZipFile, zlib.error, KeyError, ValueError, EOFError, OSError, RuntimeError)
"""What zipfile, and NumPy for an .npz, raise where the bytes are not those that were written."""


@dataclass(frozen=True, slots=True)
class LibraryError:
    """A failure that a library describes in words alone."""

    library: str  # that says them
    pattern: str  # a regular expression for a part of its message, which may have several lines
    # what to tell the user, with {1}, {2}, ... for the pattern's groups; "" where the caller says more.
    meaning: str = ""

    def search(self, text: str) -> re.Match[str] | None:
        """Return where a message holds the pattern, or None."""
        return re.search(self.pattern, text, re.DOTALL)

    def remove(self, text: str) -> str:
        """Return a message without the parts that hold the pattern."""
        return re.sub(self.pattern, "", text, flags=re.DOTALL)


NO_TEMPORARY_FOLDER = LibraryError(PYTHON, r"No usable temporary directory found in (\[.*?['\"]\])")  # folders it tried
OS_ERROR = LibraryError(BEAM, r"\[Errno (\d+)\]")  # a worker's OSError, as text in the launcher's RuntimeError
JOB_ID = LibraryError(BEAM, r"^Job (\S+) is in state ")  # what Beam logs of a Dataflow job
CANCELLED = LibraryError(DATAFLOW, "State: CANCELLED", "was cancelled; the same command starts it again")
JOB_ERROR = LibraryError(DATAFLOW, r"Error:(.*)")  # what follows Beam's words about the job's state
REQUEST = LibraryError(GOOGLE, r"^[A-Z]+ https?://\S+: ")  # the request before an answer's own message
WRONG_COUNT = LibraryError(TENSORFLOW, "Input dataset was expected to contain")
OBJECT_READ = LibraryError(TENSORFLOW, r"when reading (\S+)")
HTTP_ANSWER = LibraryError(TENSORFLOW, r"response code (\d+)(?:.*?\"message\": *\"([^\"]+))?")
OPERATION = LibraryError(TENSORFLOW, r"^.*?\{\{[^}]*\}\}| \[Op:.*")
"""The names of operations around what a message says."""

NOWHERE_TO_COMPILE = LibraryError(
    NUMBA,
    "cannot cache function",
    "Numba, which librosa needs, can write what it compiles neither beside librosa nor below the home folder: set "
    "NUMBA_CACHE_DIR to a folder that it can write to",
)

_NO_PROGRAM = "the workers' image does not hold this program; rebuild it, or give --setup_file ./setup.py too"
_OTHER_VERSIONS = (
    "than this machine (Python {python}, Beam {beam}): build the image with submit.sh build --python {python}, or "
    "begin the job from the image with submit.sh ingest"
)
ROWS = (
    NO_TEMPORARY_FOLDER,
    NOWHERE_TO_COMPILE,
    OS_ERROR,
    JOB_ID,
    LibraryError(
        PRISM,
        "Unable to fetch remote prism binary",
        f"Prism cannot be downloaded: give --prism_location with its binary, {DOCS}",
    ),
    LibraryError(
        FLINK,
        "Unable to fetch remote job server jar",
        f"Beam's Flink job server cannot be downloaded: give --flink_job_server_jar or --job_endpoint, {DOCS}",
    ),
    LibraryError(
        FLINK,
        r"No such file or directory: '([^']+)'",
        "the workers do not see {1}: on a cluster, give gs:// addresses, or paths on a disk that all machines share",
    ),
    LibraryError(
        FLINK,
        "NoResourceAvailable",
        "the Flink cluster had no free slot for the job: start TaskManagers, or lower --parallelism",
    ),
    LibraryError(
        FLINK,
        "ConnectException",
        f"a machine of the cluster has no pool of workers: start deploy/flink/worker_pool.py, {DOCS}",
    ),
    LibraryError(
        FLINK,
        "Record too large",
        "the TaskManagers have too little memory: raise taskmanager.memory.managed.size of the cluster",
    ),
    LibraryError(
        FLINK,
        "Insufficient number of network buffers",
        "the TaskManagers have too few network buffers: raise taskmanager.memory.network.max of the cluster",
    ),
    LibraryError(
        FLINK,
        "RecipientUnreachable|no longer reachable|Heartbeat of TaskManager|Lost connection to task manager",
        "the Flink cluster lost a TaskManager, and its restart strategy gave up; run the command again",
    ),
    CANCELLED,
    LibraryError(
        DATAFLOW,
        r"not compatible.*Runtime environment: \S*?beam_python([\d.]+)_sdk:([\w.]*\w)",
        f"the workers have another Python or Beam (Python {{1}}, Beam {{2}}) {_OTHER_VERSIONS}",
    ),
    LibraryError(DATAFLOW, "not compatible", f"the workers have another Python or Beam {_OTHER_VERSIONS}"),
    LibraryError(DATAFLOW, "No module named '(?:pipelines|transforms)'", _NO_PROGRAM),
    LibraryError(
        DATAFLOW,
        "QUOTA",
        "not enough quota for the workers; ask for more, or take fewer or smaller ones (--max_num_workers)",
    ),
    LibraryError(
        DATAFLOW,
        "ZONE_RESOURCE_POOL_EXHAUSTED",
        "the region has no such machines left; take another --region or machine type",
    ),
    JOB_ERROR,
    REQUEST,
    WRONG_COUNT,
    OBJECT_READ,
    HTTP_ANSWER,
    OPERATION,
)


def explain(library: str, text: str, **facts: str) -> str:
    """Return what a library's message means for the user, by the first row that fits, or "".

    Some rows' meanings name `facts` of this machine.
    """
    for row in ROWS:
        found = row.search(text) if row.library == library and row.meaning else None
        if found:
            return row.meaning.format(found[0], *found.groups(), **facts)
    return ""


def first_cause(error: BaseException) -> BaseException:
    """Return the error that a chain of errors began with: libraries wrap what they pass on."""
    while error.__cause__ is not None or error.__context__ is not None:
        error = error.__cause__ or error.__context__ or error
    return error
