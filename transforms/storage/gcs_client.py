"""The client of Google Cloud Storage, one for each process; requests for one object; errors as one line each."""

import contextlib
import errno
import functools
import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

# Off Google's machines the metadata server does not answer, and a short wait shows it. Read at import.
os.environ.setdefault("GCE_METADATA_TIMEOUT", "2")
os.environ.setdefault("GCE_METADATA_DETECT_RETRIES", "2")

import google.auth
import google.auth.transport.requests
import requests
from google.api_core import exceptions as api
from google.auth import exceptions as auth
from google.cloud import storage
from google.cloud.storage import Blob
from google.cloud.storage.exceptions import DataCorruption
from google.cloud.storage.retry import DEFAULT_RETRY

from transforms.errors import FmaError, NoPermissionError, StorageError, UnreachableError, UsageError
from transforms.library_errors import REQUEST, first_cause

RETRY = DEFAULT_RETRY.with_delay(initial=0.5, maximum=20.0, multiplier=2.0).with_timeout(120.0)
"""For 429, 5xx and connections that break or time out."""

TIMEOUT = (10.0, 60.0)  # seconds to wait for a connection, and for each piece of an answer
SCOPE = "https://www.googleapis.com/auth/devstorage.read_write"
LOG_IN = "gcloud auth application-default login"

CONTENT = "application/octet-stream"
PIECE = 1 << 24  # bytes of an upload that are held in memory, and sent again where the connection breaks
PATIENCE: dict[str, Any] = {"retry": RETRY, "timeout": TIMEOUT}


class NoBucketError(StorageError):
    """The bucket does not exist: an argument is wrong."""

    exit_code = 2


def client() -> storage.Client:
    """Return the client of this process: a fork would share its parent's connections.

    Raises:
      StorageError: there are no credentials, or Google refuses them.
    """
    return _client(os.getpid(), os.environ.get("STORAGE_EMULATOR_HOST", ""))


@functools.lru_cache(maxsize=1)
def _client(process: int, emulator: str) -> storage.Client:
    if emulator:
        return storage.Client(project=None)  # which is anonymous then
    return storage.Client(project=None, credentials=_credentials())


def _credentials() -> Any:
    """Return credentials that Google has accepted, which takes one request here and spares retries later."""
    logging.getLogger("google.auth").setLevel(logging.ERROR)  # its warnings are in the errors below
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # about quota projects, which storage does not need
            credentials, _ = google.auth.default(scopes=[SCOPE])
        ask = google.auth.transport.requests.Request()
        credentials.refresh(functools.partial(ask, timeout=TIMEOUT[0]))
    except auth.TransportError as error:
        raise StorageError(
            f"Google's server for credentials cannot be reached ({_text(first_cause(error))}): check the network"
        ) from error
    except auth.RefreshError as error:
        raise StorageError(f"Google refuses the credentials ({_text(error)}): run {LOG_IN} again") from error
    except (auth.GoogleAuthError, ValueError, OSError) as error:
        named = os.environ.get("GOOGLE_APPLICATION_CREDENTIALS")
        if named:
            raise StorageError(
                f"GOOGLE_APPLICATION_CREDENTIALS={named} cannot be used ({_text(error)}): "
                f"name a service account's key file, or unset it and run {LOG_IN}"
            ) from error
        raise StorageError(
            f"gs:// paths need credentials of Google Cloud, and there are none here: run {LOG_IN}, or set "
            "GOOGLE_APPLICATION_CREDENTIALS to a service account's key file"
        ) from error
    return credentials


@contextmanager
def translate_gcs_errors(path: str, denied: type[StorageError] = StorageError) -> Iterator[None]:
    """Turn the client's errors into one line each.

    Raises:
      FileNotFoundError: there is no such object.
      NoPermissionError: permission is denied, where that is given as `denied`.
      StorageError: anything else.
    """
    try:
        yield
    except api.PreconditionFailed:
        raise  # handled where the condition is set
    except api.NotFound as error:
        if "bucket" in _message(error) and "not exist" in _message(error):
            bucket = "/".join(path.split("/", 3)[:3])
            raise NoBucketError(
                f"there is no bucket {bucket}: check the name, or make it: "
                f"gcloud storage buckets create {bucket} --location REGION"
            ) from error
        raise FileNotFoundError(2, "No such file or directory", path) from error
    except api.Forbidden as error:
        raise denied(
            f"{path}: {_message(error)} (give the account roles/storage.objectUser on the bucket, or "
            "roles/storage.objectViewer where it only reads)"
        ) from error
    except api.Unauthorized as error:
        raise StorageError(f"{path}: Google refuses the credentials ({_message(error)}): run {LOG_IN} again") from error
    except auth.GoogleAuthError as error:
        raise StorageError(f"{path}: Google refuses the credentials ({_text(error)}): run {LOG_IN} again") from error
    except api.RetryError as error:
        raise _no_answer(path, error.cause or error) from error
    except (api.TooManyRequests, api.ServerError, requests.RequestException, ConnectionError) as error:
        raise _no_answer(path, error) from error
    except DataCorruption as error:
        raise StorageError(f"{path}: what arrived is not what was sent (checksum): run the command again") from error
    except api.GoogleAPICallError as error:
        raise StorageError(f"{path}: Google Cloud Storage refuses: {_message(error)}") from error


def _no_answer(path: str, error: BaseException) -> UnreachableError:
    what = _message(error) if hasattr(error, "response") else _text(first_cause(error))
    return UnreachableError(
        f"{path}: Google Cloud Storage did not answer for {RETRY.timeout:.0f} s ({what}): "
        "check the network and run the command again"
    )


def _message(error: Any) -> str:
    """Return what Google says of an error, without the request's method and address."""
    text = REQUEST.remove(getattr(error, "message", None) or str(error))
    try:
        text = error.response.json()["error"]["message"]
    except (AttributeError, ValueError, KeyError, TypeError):
        text = text.partition(": ('Request failed")[0]  # no answer of the JSON interface
    return " ".join(text.split())[:300].rstrip(".")


def _text(error: BaseException) -> str:
    """Return what an error says, on one short line."""
    text = error.args[0] if error.args and isinstance(error.args[0], str) else str(error)
    return " ".join(text.split())[:200].rstrip(".") or type(error).__name__


class ChangedError(FmaError):
    """Another version than the expected one is there."""


def split(path: str) -> tuple[str, str]:
    """Split an address into bucket and name, which is "" for the bucket itself."""
    bucket, _, name = path.removeprefix("gs://").partition("/")
    if not bucket:
        raise UsageError(f"{path}: an address is gs://BUCKET/NAME")
    return bucket, name.rstrip("/")


def blob_at(path: str, **options: Any) -> Blob:
    """Return a handle of an object, without a request."""
    bucket, name = split(path)
    return client().bucket(bucket).blob(name, **options)


def list_below(path: str, fields: str, **options: Any) -> Any:
    """List what lies below a folder, page by page, with these fields only."""
    bucket, name = split(path)
    prefix = f"{name}/" if name else ""
    return client().list_blobs(bucket, prefix=prefix, fields=f"{fields},nextPageToken", **options, **PATIENCE)


def stat(path: str) -> Blob:
    """Request the metadata of an object; FileNotFoundError where there is none."""
    with translate_gcs_errors(path, denied=NoPermissionError):
        blob = blob_at(path)
        if not blob.name:
            raise FileNotFoundError(2, "No such file or directory", path)
        blob.reload(**PATIENCE)
        return blob


def read_range(blob: Blob, path: str, start: int, stop: int | None) -> bytes:
    """Read the bytes from start up to stop or the object's end; none where it ends before."""
    if not blob.name:
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
    end = None if stop is None else stop - 1
    # Raw, since the ranges of an object that is stored compressed are those of its compressed bytes.
    options = {"checksum": None, "raw_download": True, "single_shot_download": True} | PATIENCE
    with translate_gcs_errors(path, denied=NoPermissionError):
        try:
            return blob.download_as_bytes(start=start, end=end, **options)
        except api.RequestRangeNotSatisfiable:
            return b""


def read_version(path: str) -> tuple[bytes, int]:
    """Read the whole object and its generation."""
    blob = blob_at(path)
    if not blob.name:
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
    with translate_gcs_errors(path, denied=NoPermissionError):
        data = blob.download_as_bytes(checksum="crc32c", single_shot_download=True, **PATIENCE)
        if blob.generation is None:
            blob.reload(**PATIENCE)
        return data, blob.generation


def upload(blob: Blob, path: str, data: bytes, **conditions: Any) -> int:
    """Write an object; return its generation."""
    with translate_gcs_errors(path):
        blob.upload_from_string(data, CONTENT, checksum="crc32c", **conditions, **PATIENCE)
        return blob.generation


def replace_version(path: str, data: bytes, version: int) -> int:
    """Write an object if it is still that version (0: absent); return the new version, or raise ChangedError."""
    try:
        return upload(blob_at(path), path, data, if_generation_match=version)
    except api.PreconditionFailed as error:
        # An upload whose answer was lost is sent again and fails here too: then the new version is ours.
        with contextlib.suppress(FileNotFoundError):
            now, version = read_version(path)
            if now == data:
                return version
        raise ChangedError(
            f"{path} was changed by another command meanwhile; run this one again, it carries on from there"
        ) from error


def remove_version(path: str, version: int) -> None:
    """Remove an object if it is still that version."""
    with contextlib.suppress(FileNotFoundError, api.PreconditionFailed), translate_gcs_errors(path):
        blob_at(path).delete(if_generation_match=version, **PATIENCE)


def delete(bucket: str, name: str) -> None:
    """Remove an object, if it is there."""
    # Absent already, perhaps because the answer to a first removal was lost.
    with contextlib.suppress(FileNotFoundError), translate_gcs_errors(f"gs://{bucket}/{name}"):
        client().bucket(bucket).blob(name).delete(**PATIENCE)
