"""Download of one file over HTTP into a part file that outlives broken connections and runs, hashed as it arrives."""

import contextlib
import hashlib
import os
import re
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO

from transforms import storage
from transforms.errors import FmaError
from transforms.runtime.console import Progress, human_bytes, human_seconds, log, progress
from transforms.storage.local import lock, open_own

if TYPE_CHECKING:
    from requests import Response

PIECE = 64 << 20  # bytes of a download that wait on this machine before they go to a bucket
CHUNK = 1 << 16  # bytes; no more is lost where a connection breaks
LONGEST_PAUSE = 60.0  # seconds
TRY_AGAIN = frozenset({408, 425, 429, 500, 502, 503, 504})


class Part:
    """The part of a file that has been downloaded, `size` bytes so far.

    It lies at `path` and is written through `file`, on this machine; the file `etag` has the version it is from.
    `algorithm` names the hash of its bytes.
    """

    def __init__(self, path: str, etag: str, file: BinaryIO, algorithm: str):
        self.path, self.size, self.algorithm = path, 0, algorithm
        self._etag, self._file, self._digest = etag, file, _new_hash(algorithm)

    def digest(self) -> str:
        """Return the hash of the bytes so far, in hexadecimal."""
        return self._digest.hexdigest()

    def version(self) -> str:
        """Return the ETag or date of the file that the bytes are from, or "" where the server sent none."""
        return storage.read_bytes(self._etag).decode("latin-1") if storage.exists(self._etag) else ""

    def restart(self, version: str) -> None:
        """Drop the bytes; those that follow are from `version` of the file."""
        self._file.truncate(0)  # before the version, so that bytes never stand beside another one's
        self._file.seek(0)
        self._digest, self.size = _new_hash(self.algorithm), 0
        storage.write_bytes(self._etag, version.encode("latin-1"))  # the encoding of HTTP headers

    def append(self, chunk: bytes) -> None:
        """Add bytes to the end."""
        self._file.write(chunk)
        self._digest.update(chunk)
        self.size += len(chunk)

    def keep_as(self, path: str) -> None:
        """Give the finished file its name, once its bytes are safe, and remove what is left of the part."""
        raise NotImplementedError

    def remove(self) -> None:
        """Delete the part and its version."""
        raise NotImplementedError


class LocalPart(Part):
    """A part on this machine, with its version in `PATH.etag`."""

    def __init__(self, path: str, file: BinaryIO, algorithm: str):
        super().__init__(path, f"{path}.etag", file, algorithm)
        self._digest, self.size = hash_file(path, self._digest), os.path.getsize(path)

    def keep_as(self, path: str) -> None:
        self._file.flush()
        os.fsync(self._file.fileno())
        os.replace(self.path, path)
        self.remove()

    def remove(self) -> None:
        for path in (self.path, self._etag):
            if os.path.exists(path):
                os.remove(path)


class BucketPart(Part):
    """A part in a bucket: a folder of pieces, joined at the end, so that this machine holds one piece at most."""

    def __init__(self, path: str, algorithm: str):
        own = re.compile(re.escape(storage.join(path, "")) + r"\d{6,}")
        self._pieces = sorted(piece for piece, _ in storage.list_files(path) if own.fullmatch(piece))
        self._staged = storage.staging_path(path)
        file = open(self._staged, "wb")  # noqa: SIM115 - see close
        super().__init__(path, storage.join(path, "etag"), file, algorithm)
        for piece in self._pieces:
            self._digest = hash_file(piece, self._digest)
            self.size += storage.size(piece)
        self._held = 0

    def restart(self, version: str) -> None:
        storage.remove_all(self._pieces)
        self._pieces, self._held = [], 0
        super().restart(version)

    def append(self, chunk: bytes) -> None:
        super().append(chunk)
        self._held += len(chunk)
        if self._held >= PIECE:
            self._send()

    def _send(self) -> None:
        """Upload what is held on this machine as the next piece."""
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
        folder, name = storage.parent(self.path), self.path.rpartition("/")[2]
        pieces = [piece.rpartition("/")[2] for piece in self._pieces]
        storage.remove_listed(folder, [f"{name}/{one}" for one in ("etag", *pieces)])

    def close(self) -> None:
        """Upload what is held, for the next run."""
        try:
            self._send()
        finally:
            self._file.close()
            os.unlink(self._staged)


@contextlib.contextmanager
def open_part(path: str, algorithm: str = "sha1") -> Iterator[Part]:
    """Open the part at `path`, or create it; raise FmaError where another process writes to it.

    `algorithm` is the hash of its bytes, one of hashlib's.
    """
    busy = f"{path}: another download is writing to it; wait for that one or stop it"
    if not storage.is_local(path):
        with storage.locked(path, busy), contextlib.closing(BucketPart(path, algorithm)) as part:
            yield part
        return
    with open_own(path) as file:
        try:  # two processes that append to it would spoil it unnoticed, as each hashes only its own bytes
            lock(file, wait=False)
        except BlockingIOError:
            raise FmaError(busy) from None
        local = LocalPart(path, file, algorithm)
        try:
            yield local
        finally:
            if local.size == 0:
                local.remove()


def _new_hash(algorithm: str) -> Any:
    return hashlib.new(algorithm, usedforsecurity=False)  # FMA publishes SHA-1 sums


def hash_of(path: str, algorithm: str) -> str:
    """Return the hash of a file, in hexadecimal, and show the progress."""
    return hash_file(path, _new_hash(algorithm)).hexdigest()


def hash_file(path: str, digest: Any) -> Any:
    """Add a file's bytes to a hashlib object, which is returned, and show the progress."""
    size = storage.size(path)
    if size == 0:
        return digest
    with storage.open_read(path) as file, progress(f"hash {os.path.basename(path)}", size, "bytes") as bar:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
            bar.advance(len(chunk))
    return digest


class BrokenTransferError(Exception):
    """The transfer was interrupted in a way that another attempt may overcome."""


class UnresolvedNameError(BrokenTransferError):
    """The name system does not know the server, or cannot be asked."""


@dataclass(frozen=True, slots=True)
class Retry:
    """The limits of retrying."""

    tries: int = 8  # attempts in a row without a new byte, after which it gives up
    pause: float = 1.0  # seconds before the second attempt; doubles with each further one, up to a minute
    timeout: float = 60.0  # seconds without an answer or a byte after which a connection counts as broken


def fetch(url: str, part: Part, *, size: int, free: Callable[[], int], retry: Retry) -> None:
    """Complete `part` from the file at `url`, over as many connections as it takes.

    Args:
      part: restarted where the server has another version or cannot resume.
      size: approximate bytes of the file, used where the server does not tell.
      free: returns the bytes that the disk can still take.
      retry: when to give up.

    Raises:
      FmaError: the server is unknown, refuses or cannot be reached, or the disk is too small. The part is kept.
    """
    name, furthest, failures = url.rpartition("/")[2], part.size, 0
    before = part.size
    with progress(f"download {name}", None, "bytes", initial=part.size) as bar:
        while True:
            try:
                return _transfer(url, part, bar, size=size, free=free, timeout=retry.timeout)
            except BrokenTransferError as error:
                if isinstance(error, UnresolvedNameError) and part.size == before:  # a wrong name, or no network
                    raise FmaError(f"{url}: {error}; check the network and the address") from error
                # Only bytes beyond the furthest count: else a server that cannot resume would be retried for ever.
                failures = 0 if part.size > furthest else failures + 1
                furthest = max(furthest, part.size)
                if failures >= retry.tries:
                    there = f" to go on from {human_bytes(part.size)}" if part.size else ""
                    raise FmaError(f"{url}: {error}; gave up after {failures} tries; run again{there}") from error
                wait = min(LONGEST_PAUSE, retry.pause * 2 ** max(0, failures - 1))
                log(f"{name}: {error}; at {human_bytes(part.size)}, trying again in {human_seconds(wait)}")
            time.sleep(wait)


def _transfer(url: str, part: Part, bar: Progress, *, size: int, free: Callable[[], int], timeout: float) -> None:
    """Request what the part lacks over one connection and append what arrives."""
    import requests

    headers = {"Accept-Encoding": "identity"}  # ranges count the bytes of the file, not of a compressed form
    if part.size:
        headers["Range"] = f"bytes={part.size}-"
        if part.version():
            headers["If-Range"] = part.version()
    try:
        with requests.get(url, headers=headers, stream=True, timeout=timeout) as response:
            _check_status(response, url)
            total = _total(response, part)
            _check_space((total or size) - part.size, free(), part.path)
            if response.status_code == 200:
                part.restart(_version(response))
            bar.total = total or size
            for chunk in response.iter_content(CHUNK):
                part.append(chunk)
                bar.update(part.size)
    except requests.RequestException as error:
        raise _translate(error, url) from error
    if total is not None and part.size < total:
        raise BrokenTransferError("the connection broke")


def _check_status(response: "Response", url: str) -> None:
    """Raise an error for a response that holds no bytes of the file."""
    code, kind = response.status_code, response.headers.get("Content-Type", "")
    if code in TRY_AGAIN:
        raise BrokenTransferError(f"HTTP {code} {response.reason}")
    if code not in (200, 206, 416):
        raise FmaError(f"{url}: HTTP {code} {response.reason}; check the address, or whether the file has moved")
    if code == 200 and kind.startswith("text/html"):
        # A network's sign-in page, say: it must not replace the part.
        raise FmaError(f"{url}: the answer is a web page, not the file; check the address and the network's sign-in")


def _total(response: "Response", part: Part) -> int | None:
    """Return the bytes of the whole file, None where unknown; drop the part where it cannot be resumed."""
    length = response.headers.get("Content-Length", "")
    if response.status_code == 200:
        return int(length) if length.isdecimal() else None
    found = re.match(r"bytes (\d+)-\d+/(\d+|\*)", response.headers.get("Content-Range", ""))
    held, sent = part.version(), _version(response)
    comparable = held and sent and held.startswith('"') == sent.startswith('"')  # both ETags or both dates
    replaced = comparable and held != sent
    if response.status_code == 416 or found is None or int(found[1]) != part.size or replaced:
        part.restart("")
        raise BrokenTransferError("the server has another version of the file now; starting again")
    if found[2] != "*":
        return int(found[2])
    return part.size + int(length) if length.isdecimal() else None


def _version(response: "Response") -> str:
    """Return a strong ETag, else the date of the last change, else "", for If-Range (RFC 9110, 13.1.5)."""
    tag = response.headers.get("ETag", "")
    return tag if tag and not tag.startswith("W/") else response.headers.get("Last-Modified", "")


def _check_space(needed: int, free: int, path: str) -> None:
    if needed > free:
        raise FmaError(
            f"{path}: {human_bytes(needed)} more needed, {human_bytes(free)} free on that disk; "
            "free some space or choose another folder"
        )


def _translate(error: BaseException, url: str) -> Exception:
    """Return a BrokenTransferError where a retry may help, else an FmaError, with the message of the first cause."""
    import requests

    if isinstance(error, requests.exceptions.ChunkedEncodingError):
        return BrokenTransferError("the connection broke")
    cause = error
    while cause.__context__ is not None:
        cause = cause.__context__
    lost = isinstance(error, (requests.ConnectionError, requests.Timeout))
    if isinstance(cause, socket.gaierror):
        return UnresolvedNameError(f"the server's name cannot be resolved ({cause.strerror})")
    if lost and not isinstance(cause, ssl.SSLCertVerificationError):
        return BrokenTransferError(getattr(cause, "strerror", "") or str(cause) or type(cause).__name__)
    return FmaError(f"{url}: {cause}")
