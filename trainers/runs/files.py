"""The files of a run, each with a checksum: a file that is damaged, or of another run or name, is noticed when read.

The checksum is a sha256 of the run's id, the file's name and its content. It stands where other programs overlook it:
in JSON under the key `checksum`, in a zip (.keras, .npz, .skops) as the archive's comment. The id is in the file that
makes a folder a run, config.json, or a bundle of `fma export`, bundle.json. Those of version 0.1.0 have none, and their
files no checksums.
"""

import hashlib
import io
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO

from transforms import storage
from transforms.dataset.manifest import checksum
from transforms.errors import FmaError, check_format_version

FORMAT_VERSION = 4
"""Of config.json and bundle.json; version 1 had neither id nor checksum, version 2 one label for each track only, and
version 3 models that take loudness as it is."""

CONFIG, BUNDLE = "config.json", "bundle.json"
ID, CHECKSUM = "id", "checksum"
NOT_OURS = "is damaged, or not the file that was written here"
RESTORE = "restore it from a copy, or train again in another folder"

_MARK = b"fma sha256 "
_COMMENT = len(_MARK) + 64  # bytes
_END, _END_SIZE = b"PK\5\6", 22  # a zip's last record, where there is no comment; it ends with the comment's length
_CHUNK = 8 << 20


def read_identity(folder: str, name: str) -> dict[str, Any]:
    """Read the file that makes a folder a run or a bundle, CONFIG or BUNDLE.

    Raises:
      FmaError: it is damaged or from a newer version.
    """
    path = storage.join(folder, name)
    values = _parse(path)
    with report_damage(path):
        check_format_version(path, values, FORMAT_VERSION)
        if values["format_version"] > 1 or CHECKSUM in values:
            _check_json(path, values, str(values[ID]), name, RESTORE)
    return values


def read_id(folder: str) -> str:
    """Return the id of a run or a bundle; "" for one of version 0.1.0, and for other folders."""
    for name in (CONFIG, BUNDLE):
        if storage.exists(storage.join(folder, name)):
            return read_identity(folder, name).get(ID, "")
    return ""


def write_identity(folder: str, name: str, values: dict[str, Any]) -> None:
    """Write the file that makes a folder a run or a bundle; the values have its id, as ID."""
    values = {"format_version": FORMAT_VERSION} | values
    _write(storage.join(folder, name), values | {CHECKSUM: _json_checksum(values, values[ID], name)})


def make_id(facts: dict[str, Any]) -> str:
    """Return the id of a run or a bundle: equal for equal facts."""
    return checksum(facts)[:16]


def read_json(folder: str, name: str, advice: str = RESTORE) -> dict[str, Any]:
    """Read a JSON object; FmaError, which ends with the advice, where the file is missing or damaged."""
    path, identity = storage.join(folder, name), read_id(folder)
    values = _parse(path, advice)
    if identity:
        _check_json(path, values, identity, name, advice)
    return values


def write_json(folder: str, name: str, values: dict[str, Any]) -> str:
    """Write a JSON object, atomically; return the path."""
    identity = read_id(folder)
    if identity:
        values = values | {CHECKSUM: _json_checksum(values, identity, name)}
    return _write(storage.join(folder, name), values)


@contextmanager
def open_zip(
    folder: str, name: str, advice: str = RESTORE, *, label: str = "", large: bool = False
) -> Iterator[BinaryIO]:
    """Open a zip file for reading, from its start, after a check of all of it; see `write_zip`.

    One from a bucket is held in memory, unless it is large.

    Raises:
      FmaError: it is missing or damaged; the message ends with the advice.
    """
    path, identity = storage.join(folder, name), read_id(folder)
    try:
        is_open = large or storage.is_local(path)
        file = storage.open_read(path) if is_open else io.BytesIO(storage.read_bytes(path))
    except FileNotFoundError as error:
        raise FmaError(f"{path} is missing: {advice}") from error
    with file:
        if identity and not _fits(file, identity, label or name):
            raise FmaError(f"{path} {NOT_OURS}: {advice}")
        file.seek(0)
        yield file


def write_zip(folder: str, name: str, write: Callable[[BinaryIO], object], label: str = "") -> str:
    """Write a zip file, atomically; return the path.

    Args:
      write: writes it to a local file.
      label: what the checksum is made for, instead of the file's name.
    """
    path, identity = storage.join(folder, name), read_id(folder)
    staged = storage.staging_path(path)
    try:
        with open(staged, "w+b") as file:
            write(file)
            if identity:
                _append_checksum(file, identity, label or name)
        storage.publish(staged, path)
    except BaseException:
        if os.path.exists(staged):
            os.unlink(staged)
        raise
    return path


@contextmanager
def report_damage(path: str) -> Iterator[None]:
    """Wrap code that takes a file's values apart.

    Raises:
      FmaError: they are not what they should be.
    """
    try:
        yield
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        raise FmaError(f"{path} is damaged: {type(error).__name__} {error}") from error


def _parse(path: str, advice: str = RESTORE) -> dict[str, Any]:
    try:
        values = json.loads(storage.read_bytes(path))
    except FileNotFoundError as error:
        raise FmaError(f"{path} is missing: {advice}") from error
    except (RecursionError, ValueError) as error:
        raise FmaError(f"{path} is damaged ({error}): {advice}") from error
    if not isinstance(values, dict):
        raise FmaError(f"{path} is damaged (it is not a JSON object): {advice}")
    return values


def _write(path: str, values: dict[str, Any]) -> str:
    storage.write_bytes(path, (json.dumps(values, indent=1) + "\n").encode())
    return path


def _json_checksum(values: dict[str, Any], identity: str, name: str) -> str:
    content = json.loads(json.dumps(values))  # as a reader gets them: keys are text, and sorted as such
    return checksum({"run": identity, "file": name, "content": content})


def _check_json(path: str, values: dict[str, Any], identity: str, name: str, advice: str) -> None:
    """Take the checksum out of a file's values, and compare it with theirs."""
    if values.pop(CHECKSUM, None) != _json_checksum(values, identity, name):
        raise FmaError(f"{path} {NOT_OURS}: {advice}")


def _append_checksum(file: BinaryIO, identity: str, label: str) -> None:
    file.seek(-_END_SIZE, os.SEEK_END)
    end = file.read()
    if not end.startswith(_END) or not end.endswith(b"\0\0"):
        raise ValueError(f"{label} is not a zip file without a comment")
    file.seek(-2, os.SEEK_END)
    file.write(_COMMENT.to_bytes(2, "little"))
    comment = _comment(file, file.tell(), identity, label)
    file.seek(0, os.SEEK_END)
    file.write(comment)


def _fits(file: BinaryIO, identity: str, label: str) -> bool:
    size = file.seek(0, os.SEEK_END) - _COMMENT
    if size < 0:
        return False
    expected = _comment(file, size, identity, label)
    return file.read() == expected


def _comment(file: BinaryIO, size: int, identity: str, label: str) -> bytes:
    """Return the comment for a file's first bytes, and leave the file at their end."""
    found = hashlib.sha256(f"{identity} {label}\n".encode())
    file.seek(0)
    while size:
        data = file.read(min(_CHUNK, size))
        if not data:
            break
        found.update(data)
        size -= len(data)
    return _MARK + found.hexdigest().encode()
