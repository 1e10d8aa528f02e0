"""Objects of Google Cloud Storage, gs://bucket/name. `transforms.storage` says what each function promises."""

import contextlib
import errno
import os
from collections.abc import Iterator, Sequence
from typing import Any, BinaryIO, cast

from google.api_core import exceptions as api
from google.cloud.storage import Blob

from transforms.errors import FmaError, NoPermissionError, StorageError, UsageError
from transforms.storage import lease, local
from transforms.storage.gcs_client import RETRY, TIMEOUT, client, speaking_of
from transforms.storage.lease import locked
from transforms.storage.ranged import RangedFile, Slice, read_ahead

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


__all__ = ["locked", "read_version"]  # and all that is defined here

COMPOSED = 32
"""Objects that can be joined at once."""

LIST_FROM = 20
"""Files of one folder from which a listing of the folder costs less than to ask for each."""


def parent(path: str) -> str:
    return path.rstrip("/").rpartition("/")[0]


def exists(path: str) -> bool:
    try:
        size(path)
    except FileNotFoundError:
        return is_dir(path)
    return True


def is_dir(path: str) -> bool:
    _, name = split(path)
    with speaking_of(path):
        return any(True for _ in list_below(path, "items(name)", max_results=1)) or not name


def size(path: str) -> int:
    return stat(path).size


def mark(path: str) -> str:
    blob = stat(path)
    return f"size {blob.size} generation {blob.generation}"


def sizes(paths: Sequence[str]) -> dict[str, int]:
    by_folder: dict[str, set[str]] = {}
    for path in paths:
        by_folder.setdefault(parent(path), set()).add(path)

    def look(folder: str) -> dict[str, int]:
        wanted = by_folder[folder]
        if len(wanted) >= LIST_FROM:
            with speaking_of(folder):
                held = list_below(folder, "items(name,size)", delimiter="/")
                found = {f"gs://{split(folder)[0]}/{blob.name}": blob.size for blob in held}
            return {path: found[path] for path in wanted if path in found}
        there = {}
        for path in wanted:
            with contextlib.suppress(FileNotFoundError, PermissionError):
                there[path] = size(path)
        return there

    return {path: size for found in read_ahead(look, by_folder) for path, size in found.items()}


def open_read(path: str) -> BinaryIO:
    blob = blob_at(path)  # knows its version from the first answer on, and asks for that one only

    def fetch(start: int, stop: int | None) -> bytes:
        known = blob.generation is not None
        try:
            return read_range(blob, path, start, stop)
        except FileNotFoundError as error:
            if known:
                raise StorageError(f"{path} was replaced while it was read: run the command again") from error
            raise

    def measure() -> int:
        with speaking_of(path):
            blob.reload(**PATIENCE)
        return blob.size

    return cast(BinaryIO, RangedFile(fetch, measure))


def read_slice(part: Slice) -> bytes:
    return read_range(blob_at(part.path), part.path, part.offset, part.offset + part.length)


def read_bytes(path: str) -> bytes:
    return read_version(path)[0]


def list_files(path: str) -> Iterator[tuple[str, int]]:
    bucket, _ = split(path)
    with speaking_of(path):
        for blob in list_below(path, "items(name,size)"):
            if not blob.name.endswith("/"):
                yield f"gs://{bucket}/{blob.name}", blob.size


def list_folders(path: str) -> list[str]:
    with speaking_of(path):
        pages = list_below(path, "prefixes", delimiter="/").pages
        return sorted({prefix.rstrip("/").rpartition("/")[2] for page in pages for prefix in page.prefixes})


def make_folder(path: str) -> None:
    split(path)


def staging_path(path: str) -> str:
    split(path)
    return local.new_path(path.rpartition("/")[2])


def publish(staged: str, path: str) -> None:
    blob = blob_at(path, chunk_size=PIECE)
    with speaking_of(path):
        blob.upload_from_filename(staged, content_type=CONTENT, checksum="crc32c", **PATIENCE)
    os.unlink(staged)


def write_bytes(path: str, data: bytes) -> None:
    upload(blob_at(path, chunk_size=PIECE), path, data)


def concatenate(parts: Sequence[str], path: str) -> None:
    done, rest = list(parts[:1]), list(parts[1:])
    made: list[str] = []
    while rest:
        joined = [*done, *rest[: COMPOSED - 1]]
        rest = rest[COMPOSED - 1 :]
        target = f"{parts[0]}.joined-{len(made) % 2}" if rest else path  # not onto itself, so that a retry may follow
        with speaking_of(path):
            blob_at(target).compose([blob_at(part) for part in joined], **PATIENCE)
        made, done = [*made, target], [target]
    if not made:
        write_bytes(path, read_bytes(parts[0]) if parts else b"")
    remove_all(sorted({*made} - {path}))


def replace(path: str, data: bytes, version: int) -> int:
    lease.confirm(parent(path))
    return replace_version(path, data, version)


def remove(path: str) -> None:
    delete(*split(path))


def remove_all(paths: Sequence[str]) -> None:
    for _ in read_ahead(remove, paths):
        pass


def remove_tree(path: str) -> None:
    bucket, _ = split(path)
    with speaking_of(path):
        names = [blob.name for blob in list_below(path, "items(name)")]
    # Not remove(): a name that stands for a folder ends with a slash.
    for _ in read_ahead(lambda name: delete(bucket, name), names):
        pass


def remove_empty_folders(path: str) -> None:
    bucket, _ = split(path)
    with speaking_of(path):
        names = sorted(blob.name for blob in list_below(path, "items(name)"))
    files = [name for name in names if not name.endswith("/")]
    empty = [name for name in names if name.endswith("/") and not any(file.startswith(name) for file in files)]
    for _ in read_ahead(lambda name: delete(bucket, name), empty):
        pass
