"""Errors that a user can act on, and the reasons for which a track is not ingested.

Any other exception is a programming error and keeps its traceback.
"""

from typing import Any

REASONS = {
    "missing_audio": "the metadata names the track, but there is no such file",
    "unreadable_audio": "the file is there, but may not be read",
    "not_a_file": "a folder, pipe, socket or device, or a link to one",
    "empty_audio": "0 bytes, or tags without audio",
    "corrupt_audio": "not audio, or audio that the decoder gives up on",
    "too_large": "in a zip, and unpacks to more than 2 GiB",
    "truncated_audio": "decoded much shorter than declared",
    "too_short": "shorter than one window",
    "too_long": "longer than a limit for songs that are sent, such as that of fma serve",
    "timeout": "not done within the time limit for a track",
    "out_of_memory": "more memory than the limit for a track",
    "decoder_crashed": "the decoder's process died, twice",
}
CONVERT = "convert it with ffmpeg -i IN OUT.flac"
"""The remedy for a file that plays elsewhere."""

SKIPPED = {
    "no_genre": "the metadata gives the track no genre",
    "not_in_subset": "the track belongs to a larger subset",
}


class FmaError(Exception):
    """A failure of the command; the message is one line that says what to do. Exit code 1."""

    exit_code = 1


class UsageError(FmaError):
    """A wrong argument or form of an input; nothing was started. Exit code 2."""

    exit_code = 2


class BusyError(FmaError):
    """A folder that another command is writing to."""


class StorageError(FmaError, OSError):
    """An error of cloud storage; an OSError, as those of disks are, since it is not a track's fault."""


class UnreachableError(StorageError):
    """No answer of cloud storage; that may pass, so the work can be retried later or elsewhere."""


class NoPermissionError(StorageError, PermissionError):
    """A refusal of cloud storage because permission is missing."""


class TemplateWrittenError(FmaError):
    """The job was written to a template, as --template_location asks, and not run; the message says what is next."""


class TrackError(Exception):
    """A track that cannot be ingested; it is counted under `reason`, and the others go on.

    Args:
      reason: one of `transforms.errors.REASONS`.
      message: what was found, for the ledger of failures.
    """

    def __init__(self, reason: str, message: str):
        super().__init__(f"{reason}: {message}")
        self.reason = reason
        self.message = message

    def __reduce__(self):
        return type(self), (self.reason, self.message)


def check_format_version(path: str, values: dict[str, Any], known: int) -> None:
    """Refuse a JSON file whose `format_version` is higher than the one that this program writes.

    Raises:
      FmaError: it is higher.
      KeyError, TypeError: there is no such number: the file is damaged.
    """
    version = values["format_version"]
    if type(version) is not int or version < 1:
        raise TypeError(f"its format_version is {version!r}")
    if version > known:
        raise FmaError(f"{path} has format version {version}, this program reads {known}: update fma-genres")
