"""Requests about one object of Google Cloud Storage, or about what lies below a name."""

import contextlib
import errno
import os
from typing import Any

from google.api_core import exceptions as api
from google.cloud.storage import Blob

from transforms.errors import FmaError, NoPermissionError, UsageError
from transforms.storage.client import RETRY, TIMEOUT, client, speaking_of

CONTENT = "application/octet-stream"
PIECE = 1 << 24
"""Bytes of an upload that are in memory, and that are sent again where the connection breaks off."""

PATIENCE: dict[str, Any] = {"retry": RETRY, "timeout": TIMEOUT}


class ChangedError(FmaError):
    """Another version than the expected one is there."""


def split(path: str) -> tuple[str, str]:
    """(bucket, name) of an address; the name is "" for the bucket itself."""
    bucket, _, name = path.removeprefix("gs://").partition("/")
    if not bucket:
        raise UsageError(f"{path}: an address is gs://BUCKET/NAME")
    return bucket, name.rstrip("/")


def blob_at(path: str, **options: Any) -> Blob:
    """An object, of which nothing has been asked yet."""
    bucket, name = split(path)
    return client().bucket(bucket).blob(name, **options)


def list_below(path: str, fields: str, **options: Any) -> Any:
    """What lies below a folder, page by page, with these fields only."""
    bucket, name = split(path)
    prefix = f"{name}/" if name else ""
    return client().list_blobs(bucket, prefix=prefix, fields=f"{fields},nextPageToken", **options, **PATIENCE)


def stat(path: str) -> Blob:
    """The object with its facts; FileNotFoundError where there is none."""
    with speaking_of(path, denied=NoPermissionError):
        blob = blob_at(path)
        if not blob.name:
            raise FileNotFoundError(2, "No such file or directory", path)
        blob.reload(**PATIENCE)
        return blob


def read_range(blob: Blob, path: str, start: int, stop: int | None) -> bytes:
    """Bytes from start up to stop or the object's end; none where it ends before."""
    if not blob.name:
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
    end = None if stop is None else stop - 1
    # Raw, since the ranges of an object that is stored compressed are those of its compressed bytes.
    options = {"checksum": None, "raw_download": True, "single_shot_download": True} | PATIENCE
    with speaking_of(path, denied=NoPermissionError):
        try:
            return blob.download_as_bytes(start=start, end=end, **options)
        except api.RequestRangeNotSatisfiable:
            return b""


def read_version(path: str) -> tuple[bytes, int]:
    """The whole object and its generation."""
    blob = blob_at(path)
    if not blob.name:
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
    with speaking_of(path, denied=NoPermissionError):
        data = blob.download_as_bytes(checksum="crc32c", single_shot_download=True, **PATIENCE)
        if blob.generation is None:
            blob.reload(**PATIENCE)
        return data, blob.generation


def upload(blob: Blob, path: str, data: bytes, **conditions: Any) -> int:
    """Writes an object; returns its generation."""
    with speaking_of(path):
        blob.upload_from_string(data, CONTENT, checksum="crc32c", **conditions, **PATIENCE)
        return blob.generation


def replace_version(path: str, data: bytes, version: int) -> int:
    """Writes an object in place of the version that was read; returns the new one; ChangedError as the class says."""
    try:
        return upload(blob_at(path), path, data, if_generation_match=version)
    except api.PreconditionFailed as error:
        # Also where the answer to an upload was lost and it was sent again: then the version is ours.
        with contextlib.suppress(FileNotFoundError):
            now, version = read_version(path)
            if now == data:
                return version
        raise ChangedError(
            f"{path} was changed by another command meanwhile; run this one again, it carries on from there"
        ) from error


def remove_version(path: str, version: int) -> None:
    """Removes an object if it is still that version."""
    with contextlib.suppress(FileNotFoundError, api.PreconditionFailed), speaking_of(path):
        blob_at(path).delete(if_generation_match=version, **PATIENCE)


def delete(bucket: str, name: str) -> None:
    """Removes an object, if it is there."""
    # Gone is gone: also where the answer to a removal was lost, and it was asked for again.
    with contextlib.suppress(FileNotFoundError), speaking_of(f"gs://{bucket}/{name}"):
        client().bucket(bucket).blob(name).delete(**PATIENCE)
