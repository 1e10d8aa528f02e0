"""What has arrived so far of a file that is downloaded, so that the next run goes on from there."""

import contextlib
import errno
import fcntl
import hashlib
import os
from collections.abc import Iterator
from typing import Any, BinaryIO, Protocol

from transforms import storage
from transforms.console import progress
from transforms.errors import FmaError

NO_LOCKS = frozenset({errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP})
PIECE = 64 << 20
"""Bytes of a download that wait on this machine before they go to a bucket."""


class Part(Protocol):
    """What is there so far of a file.

    Attributes:
      path: where it lies.
      size: bytes so far.
    """

    path: str
    size: int

    def sha1(self) -> str:
        """SHA-1 of the bytes so far, in hexadecimal."""

    def version(self) -> str:
        """The ETag or date of the file that the bytes come from, or "" where the server gave none."""

    def restart(self, version: str) -> None:
        """Drops the bytes; those that follow come from `version` of the file."""

    def append(self, chunk: bytes) -> None:
        """Adds bytes to the end."""

    def keep_as(self, path: str) -> None:
        """Gives the finished file its name, once its bytes are safe."""

    def remove(self) -> None:
        """Deletes what is left of the part and its version."""


class LocalPart:
    """A file of this machine; in `PATH.etag` stands which version it comes from."""

    def __init__(self, path: str, file: BinaryIO):
        self.path = path
        self.size = os.path.getsize(path)
        self._file = file
        self._digest = sha1_of(path)

    def sha1(self) -> str:
        return self._digest.hexdigest()

    def version(self) -> str:
        if not os.path.exists(f"{self.path}.etag"):
            return ""
        with open(f"{self.path}.etag", encoding="latin-1") as file:  # the encoding of HTTP headers
            return file.read()

    def restart(self, version: str) -> None:
        self._file.truncate(0)  # before the version, so that no bytes ever stand beside one they are not from
        self._digest, self.size = _sha1(), 0
        with open(f"{self.path}.etag", "w", encoding="latin-1") as file:
            file.write(version)

    def append(self, chunk: bytes) -> None:
        self._file.write(chunk)
        self._digest.update(chunk)
        self.size += len(chunk)

    def keep_as(self, path: str) -> None:
        self._file.flush()
        os.fsync(self._file.fileno())
        os.replace(self.path, path)
        self.remove()

    def remove(self) -> None:
        for path in (self.path, f"{self.path}.etag"):
            if os.path.exists(path):
                os.remove(path)


class BucketPart:
    """A folder in a bucket with the pieces that have arrived, joined in the end; nothing else grows on this machine."""

    def __init__(self, path: str):
        self.path = path
        self._digest = _sha1()
        self.size = 0
        self._pieces = sorted(piece for piece, _ in storage.list_files(path) if piece.rpartition("/")[2].isdecimal())
        for piece in self._pieces:
            self._digest = sha1_of(piece, self._digest)
            self.size += storage.size(piece)
        self._staged = storage.staging_path(path)
        self._file = open(self._staged, "wb")  # noqa: SIM115 - closed by `close`
        self._held = 0

    def sha1(self) -> str:
        return self._digest.hexdigest()

    def version(self) -> str:
        etag = storage.join(self.path, "etag")
        return storage.read_bytes(etag).decode("latin-1") if storage.exists(etag) else ""

    def restart(self, version: str) -> None:
        storage.remove_all(self._pieces)
        self._pieces, self._held, self.size, self._digest = [], 0, 0, _sha1()
        self._file.truncate(0)
        self._file.seek(0)
        storage.write_bytes(storage.join(self.path, "etag"), version.encode("latin-1"))

    def append(self, chunk: bytes) -> None:
        self._file.write(chunk)
        self._digest.update(chunk)
        self._held += len(chunk)
        self.size += len(chunk)
        if self._held >= PIECE:
            self._send()

    def _send(self) -> None:
        """Uploads what waits here as the next piece."""
        if not self._held:
            return
        piece = storage.join(self.path, f"{len(self._pieces):06d}")
        self._file.close()
        storage.publish(self._staged, piece)
        self._pieces.append(piece)
        self._held = 0
        self._file = open(self._staged, "wb")  # noqa: SIM115 - closed by `close`

    def keep_as(self, path: str) -> None:
        self._send()
        storage.concatenate(self._pieces, path)
        self.remove()

    def remove(self) -> None:
        self._held = 0
        storage.remove_tree(self.path)

    def close(self) -> None:
        """Uploads what has arrived, for the next run."""
        try:
            self._send()
        finally:
            self._file.close()
            os.unlink(self._staged)


@contextlib.contextmanager
def open_part(path: str) -> Iterator[Part]:
    """Opens the part at `path`, making it where it is absent; FmaError where another process writes to it."""
    busy = f"{path}: another download is writing to it; wait for that one or stop it"
    if not storage.is_local(path):
        with storage.locked(path, busy), contextlib.closing(BucketPart(path)) as part:
            yield part
        return
    with open(path, "ab") as file:
        _lock(file, busy)
        local = LocalPart(path, file)
        try:
            yield local
        finally:
            if local.size == 0:
                local.remove()


def _lock(file: BinaryIO, busy: str) -> None:
    """Two processes that append to one part would spoil it unseen: each hashes only what it wrote itself."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise FmaError(busy) from None
    except OSError as error:
        if error.errno not in NO_LOCKS:  # some network folders cannot lock: there the user has to take care
            raise


def _sha1() -> Any:
    return hashlib.sha1(usedforsecurity=False)  # FMA publishes SHA-1 sums


def sha1_of(path: str, begun: Any = None) -> Any:
    """The hashlib object of a file's bytes, after those that it was begun with, with progress shown."""
    digest, size = begun or _sha1(), storage.size(path)
    if size == 0:
        return digest
    with storage.open_read(path) as file, progress(f"hash {os.path.basename(path)}", size, "bytes") as bar:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
            bar.advance(len(chunk))
    return digest
