"""One file over HTTP into a part file that survives broken connections and runs, hashed while it arrives."""

import re
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from transforms.console import human_bytes, human_seconds, log, progress
from transforms.errors import FmaError
from transforms.parts import Part
from transforms.progress import Progress

if TYPE_CHECKING:
    from requests import Response

CHUNK = 1 << 16  # bytes; at most this much is lost where a connection breaks off
LONGEST_PAUSE = 60.0  # seconds
TRY_AGAIN = frozenset({408, 425, 429, 500, 502, 503, 504})


class BrokenTransferError(Exception):
    """The transfer broke off in a way that another try may mend."""


@dataclass(frozen=True, slots=True)
class Retry:
    """How patient to be with a server.

    Attributes:
      tries: tries in a row that may bring no new byte; each new byte starts the count again.
      pause: seconds before the second try; doubles with each further one, up to a minute.
      timeout: seconds without an answer or a byte after which a connection counts as broken.
    """

    tries: int = 8
    pause: float = 1.0
    timeout: float = 60.0


def fetch(url: str, part: Part, *, size: int, free: Callable[[], int], retry: Retry) -> None:
    """Adds to `part` what it lacks of the file at `url`, over as many connections as it takes.

    Args:
      url: http:// or https:// address.
      part: filled up to the file's end; started again where the server has another version or cannot resume.
      size: approximate bytes of the file, where the server does not tell.
      free: bytes that the disk can still take.
      retry: when to give up.

    Raises:
      FmaError: the server refuses, cannot be reached, or the disk is too small. The part stays as far as it came.
    """
    name, furthest, failures = url.rpartition("/")[2], part.size, 0
    with progress(f"download {name}", None, "bytes", initial=part.size) as bar:
        while True:
            try:
                return _transfer(url, part, bar, size=size, free=free, timeout=retry.timeout)
            except BrokenTransferError as error:
                # Further than ever: else a server that breaks off and cannot resume would be tried for ever.
                failures = 0 if part.size > furthest else failures + 1
                furthest = max(furthest, part.size)
                if failures >= retry.tries:
                    there = f" to go on from {human_bytes(part.size)}" if part.size else ""
                    raise FmaError(f"{url}: {error}; gave up after {failures} tries; run again{there}") from error
                wait = min(LONGEST_PAUSE, retry.pause * 2 ** max(0, failures - 1))
                log(f"{name}: {error}; at {human_bytes(part.size)}, trying again in {human_seconds(wait)}")
            time.sleep(wait)


def _transfer(url: str, part: Part, bar: Progress, *, size: int, free: Callable[[], int], timeout: float) -> None:
    """One connection: asks for what the part lacks and appends what comes."""
    import requests

    headers = {"Accept-Encoding": "identity"}  # ranges count the bytes of the file, not of a compressed form
    if part.size:
        headers["Range"] = f"bytes={part.size}-"
        if part.version():
            headers["If-Range"] = part.version()
    try:
        with requests.get(url, headers=headers, stream=True, timeout=timeout) as response:
            _refuse(response, url)
            total = _total(response, part)
            _check_space((total or size) - part.size, free(), part.path)
            if response.status_code == 200:
                part.restart(_version(response))
            bar.total = total or size
            for chunk in response.iter_content(CHUNK):
                part.append(chunk)
                bar.update(part.size)
    except requests.RequestException as error:
        raise _judge(error, url) from error
    if total is not None and part.size < total:
        raise BrokenTransferError("the connection broke off")


def _refuse(response: "Response", url: str) -> None:
    """Raises for an answer that holds no bytes of the file."""
    code, kind = response.status_code, response.headers.get("Content-Type", "")
    if code in TRY_AGAIN:
        raise BrokenTransferError(f"HTTP {code} {response.reason}")
    if code not in (200, 206, 416):
        raise FmaError(f"{url}: HTTP {code} {response.reason}; check --base-url, or whether the archive has moved")
    if code == 200 and kind.startswith("text/html"):
        # Stops before the part is dropped in favour of a network's sign-in page.
        raise FmaError(f"{url}: the answer is a web page, not an archive; check --base-url and the network's sign-in")


def _total(response: "Response", part: Part) -> int | None:
    """Bytes of the whole file, None where the server does not tell; drops the part where it cannot be continued."""
    length = response.headers.get("Content-Length", "")
    if response.status_code == 200:
        return int(length) if length.isdecimal() else None
    found = re.match(r"bytes (\d+)-\d+/(\d+|\*)", response.headers.get("Content-Range", ""))
    same = _same_version(part.version(), _version(response))
    if response.status_code == 416 or found is None or int(found[1]) != part.size or not same:
        part.restart("")
        raise BrokenTransferError("the server's file is not the one that was begun, starting again")
    if found[2] != "*":
        return int(found[2])
    return part.size + int(length) if length.isdecimal() else None


def _version(response: "Response") -> str:
    """What If-Range takes: a strong ETag, else the date of the last change, else "" (RFC 9110, 13.1.5)."""
    tag = response.headers.get("ETag", "")
    return tag if tag and not tag.startswith("W/") else response.headers.get("Last-Modified", "")


def _same_version(one: str, other: str) -> bool:
    """False where both are known, of one kind, and different."""
    comparable = one and other and one.startswith('"') == other.startswith('"')
    return not comparable or one == other


def _check_space(needed: int, free: int, path: str) -> None:
    if needed > free:
        raise FmaError(
            f"{path}: {human_bytes(needed)} more needed, {human_bytes(free)} free on that disk; "
            "free some space or choose another folder"
        )


def _judge(error: BaseException, url: str) -> Exception:
    """BrokenTransferError where another try may help, else FmaError; the message is that of the first cause."""
    import requests

    if isinstance(error, requests.exceptions.ChunkedEncodingError):
        return BrokenTransferError("the connection broke off")
    cause = error
    while cause.__context__ is not None:
        cause = cause.__context__
    lost = isinstance(error, (requests.ConnectionError, requests.Timeout))
    if lost and not isinstance(cause, ssl.SSLCertVerificationError):
        return BrokenTransferError(getattr(cause, "strerror", "") or str(cause) or type(cause).__name__)
    return FmaError(f"{url}: {cause}")
