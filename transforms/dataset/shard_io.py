"""Reading a shard, and writing one of its files so that a track's part can be rolled back."""

import contextlib
import hashlib
import os
from collections.abc import Iterator
from typing import BinaryIO, cast

import google_crc32c

from transforms import storage
from transforms.dataset.generation import ShardFile
from transforms.errors import FmaError
from transforms.records import Record, Schema, add_digests, deserialize, read_records
from transforms.runtime.invocation import command_line


class HashedFile:
    """A file that counts and hashes what is read, so that a large shard need not be in memory whole."""

    def __init__(self, file: BinaryIO):
        self._file = file
        self.hashed = hashlib.sha256()
        self.bytes = 0

    def read(self, size: int = -1) -> bytes:
        """Read as `file.read` does."""
        data = self._file.read(size)
        self.hashed.update(data)
        self.bytes += len(data)
        return data


def read_shard(dataset: str, shard: ShardFile, schema: Schema) -> Iterator[tuple[Record, bytes]]:
    """Read the records of a shard, each also as it is serialized.

    Whoever takes them to the end knows that the file is the one that was written: then its checksum is compared.

    Args:
      schema: of the dataset.

    Raises:
      FmaError: the file is missing, damaged or another one.
    """
    path = storage.join(dataset, shard.path)
    count = 0
    try:
        with storage.open_read(path) as file:
            hashed = HashedFile(file)
            for data in read_records(cast(BinaryIO, hashed), path):
                record = deserialize(data)
                if wrong := schema.find_mismatch(record, shard.kind, shard.labelled):
                    raise FmaError(f"{path}: record {count} has {wrong}")
                count += 1
                if count <= shard.records:
                    yield record, data
        if count != shard.records:
            raise FmaError(f"{path} has {count:,} records, where dataset.json lists {shard.records:,}")
        if hashed.hashed.hexdigest() != shard.sha256:
            raise FmaError(f"{path} is not the file that was written (checksum)")
    except FileNotFoundError as error:
        raise FmaError(f"{path} is missing: run {command_line('verify', dataset)}") from error
    except ValueError as error:
        raise FmaError(f"{path}: record {count} is {error}: run {command_line('verify', dataset)}") from error
    except FmaError as error:
        raise FmaError(f"{error}: run {command_line('verify', dataset)}") from error


class ShardFileWriter:
    """A writer of one file under a temporary name; the arguments after the dataset's path are those of `ShardFile`."""

    def __init__(self, dataset: str, path: str, kind: str, split: str, labelled: str):
        self.facts = ShardFile(path, kind, split, labelled=labelled)
        self._target = storage.join(dataset, path)
        self._staged = storage.staging_path(self._target)
        self._file = open(self._staged, "wb")  # noqa: SIM115 - closed by publish or discard
        self._hash = hashlib.sha256()
        self._crc = self._sum = 0
        self._mark()

    def _mark(self) -> None:
        self._marked = (self._file.tell(), self._hash.copy(), self._crc, self.facts.records, self._sum)

    def write(self, data: bytes, content_digest: int = 0, records: int = 1) -> None:
        """Append a record (or several in one piece) as it stands in the file."""
        self._file.write(data)
        self._hash.update(data)
        self._crc = google_crc32c.extend(self._crc, data)
        self._sum += content_digest
        self.facts.records += records

    def commit_track(self) -> int:
        """End a track; return the digest of its records."""
        *_, records, total = self._marked
        self.facts.tracks += self.facts.records > records
        self._mark()
        return self._sum - total

    def rollback_track(self) -> None:
        """Remove what was written since the last track ended."""
        offset, self._hash, self._crc, self.facts.records, self._sum = self._marked
        self._file.seek(offset)
        self._file.truncate()
        self._mark()

    def publish(self) -> ShardFile | None:
        """Give the file its name and return its facts; None, and no file, where nothing was written."""
        if not self.facts.records:
            self.discard()
            return None
        self.facts.bytes = self._file.tell()
        self.facts.sha256 = self._hash.hexdigest()
        self.facts.crc32c = f"{self._crc:08x}"
        self.facts.digest = f"{add_digests(self._sum):064x}"
        self._file.close()
        storage.publish(self._staged, self._target)
        return self.facts

    def discard(self) -> None:
        """Remove the temporary file, if it is still there."""
        with contextlib.suppress(OSError):  # a full disk may refuse the last bytes: they are not wanted
            self._file.close()
        if os.path.exists(self._staged):
            os.unlink(self._staged)
