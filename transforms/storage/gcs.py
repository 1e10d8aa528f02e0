"""Objects of Google Cloud Storage, gs://bucket/name. `transforms.storage` documents the functions."""

import base64
import contextlib
import os
from collections.abc import Collection, Iterator, Sequence
from typing import BinaryIO, cast

from transforms.errors import StorageError
from transforms.storage import lease, local
from transforms.storage.gcs_client import (
    CONTENT,
    PATIENCE,
    PIECE,
    blob_at,
    delete,
    list_below,
    read_range,
    read_version,
    replace_version,
    split,
    stat,
    translate_gcs_errors,
    upload,
)
from transforms.storage.lease import locked
from transforms.storage.ranged import RangedFile, Slice, read_ahead

__all__ = ["locked", "read_version"]  # and all that is defined here

COMPOSED = 32  # objects that one request can join
LIST_FROM = 20  # files of one folder from which listing the folder costs less than asking for each


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
    with translate_gcs_errors(path):
        return any(True for _ in list_below(path, "items(name)", max_results=1)) or not name


def size(path: str) -> int:
    return stat(path).size


def fingerprint(path: str) -> str:
    blob = stat(path)
    return f"size {blob.size} generation {blob.generation}"


def stored_checksums(paths: Sequence[str]) -> dict[str, str]:
    def look(folder: str) -> dict[str, str]:
        with translate_gcs_errors(folder):
            held = list_below(folder, "items(name,crc32c)", delimiter="/")
            return {f"gs://{split(folder)[0]}/{blob.name}": base64.b64decode(blob.crc32c or "").hex() for blob in held}

    return {path: crc32c for found in read_ahead(look, _by_folder(paths)) for path, crc32c in found.items()}


def _by_folder(paths: Sequence[str]) -> dict[str, set[str]]:
    folders: dict[str, set[str]] = {}
    for path in paths:
        folders.setdefault(parent(path), set()).add(path)
    return folders


def sizes(paths: Sequence[str]) -> dict[str, int]:
    by_folder = _by_folder(paths)

    def look(folder: str) -> dict[str, int]:
        wanted = by_folder[folder]
        if len(wanted) >= LIST_FROM:
            found = dict(_list_folder(folder))
            return {path: found[path] for path in wanted if path in found}
        there = {}
        for path in wanted:
            with contextlib.suppress(FileNotFoundError, PermissionError):
                there[path] = size(path)
        return there

    return {path: size for found in read_ahead(look, by_folder) for path, size in found.items()}


def open_read(path: str) -> BinaryIO:
    blob = blob_at(path)  # pinned to its version by the first answer

    def fetch(start: int, stop: int | None) -> bytes:
        known = blob.generation is not None
        try:
            return read_range(blob, path, start, stop)
        except FileNotFoundError as error:
            if known:
                raise StorageError(f"{path} was replaced while it was read: run the command again") from error
            raise

    def measure() -> int:
        with translate_gcs_errors(path):
            blob.reload(**PATIENCE)
        return blob.size

    return cast(BinaryIO, RangedFile(fetch, measure))


def read_slice(part: Slice) -> bytes:
    return read_range(blob_at(part.path), part.path, part.offset, part.offset + part.length)


def read_bytes(path: str) -> bytes:
    return read_version(path)[0]


def list_files(path: str) -> Iterator[tuple[str, int]]:
    bucket, _ = split(path)
    with translate_gcs_errors(path):
        for blob in list_below(path, "items(name,size)"):
            if not blob.name.endswith("/"):
                yield f"gs://{bucket}/{blob.name}", blob.size


def _list_folder(path: str) -> list[tuple[str, int]]:
    """List (path, bytes) of the objects directly below a folder."""
    with translate_gcs_errors(path):
        held = list_below(path, "items(name,size)", delimiter="/")
        return [(f"gs://{split(path)[0]}/{blob.name}", blob.size) for blob in held if not blob.name.endswith("/")]


def list_folders(path: str) -> list[str]:
    with translate_gcs_errors(path):
        pages = list_below(path, "prefixes", delimiter="/").pages
        return sorted({prefix.rstrip("/").rpartition("/")[2] for page in pages for prefix in page.prefixes})


def make_folder(path: str) -> None:
    split(path)


def staging_path(path: str) -> str:
    split(path)
    return local.new_path(path.rpartition("/")[2])


def publish(staged: str, path: str) -> None:
    blob = blob_at(path, chunk_size=PIECE)
    with translate_gcs_errors(path):
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
        target = f"{parts[0]}.joined-{len(made) % 2}" if rest else path  # never onto itself, so that it can be retried
        with translate_gcs_errors(path):
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


def remove_listed(root: str, paths: Collection[str], *, staged_only: bool = False) -> int:
    if staged_only:
        return 0  # uploads are staged on the machine that makes them
    folders = {path.rpartition("/")[0] for path in paths}
    wanted = {f"{root.rstrip('/')}/{path}" for path in paths}
    found = [path for folder in sorted(folders) for path, _ in _list_folder(f"{root.rstrip('/')}/{folder}")]
    victims = [path for path in found if path in wanted]
    remove_all(victims)
    return len(victims)


def remove_scratch(root: str, folder: str) -> None:
    remove_all([path for path, _ in list_files(f"{root.rstrip('/')}/{folder}")])


def is_link(path: str) -> bool:
    return False
