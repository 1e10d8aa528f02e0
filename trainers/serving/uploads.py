"""A song that is sent as a request's body: into a file, within limits, and how many songs the server has at once."""

import asyncio
import errno
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import IO

from fastapi import Request
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from starlette.requests import ClientDisconnect

from transforms.runtime import console

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
SECONDS = (0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60)


class Meters:
    """The counters of one server."""

    def __init__(self) -> None:
        disable_created_metrics()
        to = self._registry = CollectorRegistry()
        self.requests = Counter("fma_http_requests", "answers by path and status", ["path", "status"], registry=to)
        self.verdicts = Counter("fma_verdicts", "songs that were judged", ["verdict"], registry=to)
        self.refusals = Counter("fma_refusals", "songs without an answer", ["reason"], registry=to)
        self.seconds = Histogram(
            "fma_predict_seconds", "from the first byte of a song to its answer", buckets=SECONDS, registry=to
        )
        self.music = Counter("fma_music_seconds", "length of the songs that were judged", registry=to)
        self.sent = Gauge("fma_songs_sent", "songs that are on their way", registry=to)
        self.inside = Gauge("fma_songs_inside", "songs that are being judged or wait for it", registry=to)
        ProcessCollector(registry=to)

    def render(self) -> bytes:
        """In Prometheus' text format."""
        return generate_latest(self._registry)


UPLOAD_SECONDS = 60.0
PATIENCE, LEAST_RATE = 10.0, 8 << 10
"""Seconds before a song has to come at so many bytes a second: whoever sends less keeps the others out."""


class RefusedError(Exception):
    """There is no answer, and why.

    Args:
      status: of HTTP.
      error: the reason, one word.
      message: what was found.
      headers: more for the answer.
    """

    def __init__(self, status: int, error: str, message: str, headers: dict[str, str] | None = None):
        super().__init__(f"{status} {error}: {message}")
        self.status, self.error, self.message, self.headers = status, error, message, headers


@dataclass(frozen=True)
class UploadLimits:
    """What a request may cost.

    Attributes:
      most_bytes: of its body.
      seconds: until the body is here.
      patience: seconds before its rate counts.
    """

    most_bytes: int
    seconds: float = UPLOAD_SECONDS
    patience: float = PATIENCE


@asynccontextmanager
async def received(request: Request, limits: UploadLimits) -> AsyncIterator[str]:
    """The path of a temporary file with the request's body.

    Raises:
      RefusedError: it is a form, too large or too slow, or the disk is full.
    """
    if request.headers.get("content-type", "").strip().lower().startswith("multipart/"):
        message = "send the file itself as the request's body: curl --data-binary @song.mp3"
        raise RefusedError(415, "not_a_song", message)
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > limits.most_bytes:
        raise _too_large(limits)
    with _on_a_full_disk():
        file = tempfile.NamedTemporaryFile(prefix="fma-", buffering=0)  # noqa: SIM115 - closed below
    with file:
        try:
            await _copy(request, file, limits)
        except ClientDisconnect as error:
            raise RefusedError(400, "disconnected", "the sender went away") from error
        yield file.name


async def _copy(request: Request, file: IO[bytes], limits: UploadLimits) -> None:
    size = 0
    loop = asyncio.get_running_loop()
    began = loop.time()
    try:
        async with asyncio.timeout(min(limits.seconds, limits.patience)) as clock:
            async for block in request.stream():
                size += len(block)
                if size > limits.most_bytes:
                    raise _too_large(limits)
                with _on_a_full_disk():
                    _write(file, block)
                clock.reschedule(began + min(limits.seconds, limits.patience + size / LEAST_RATE))
    except TimeoutError as error:
        limit = f"within {limits.seconds:g} s"
        if loop.time() - began < limits.seconds:
            limit = f"as fast as {console.human_bytes(LEAST_RATE)} a second"
        raise RefusedError(408, "slow_upload", f"the song did not come {limit}") from error


def _write(file: IO[bytes], block: bytes) -> None:
    left = memoryview(block)
    while left:
        left = left[file.write(left) :]


@contextmanager
def _on_a_full_disk() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise RefusedError(507, "disk_full", "the server has no room for the song now: try again later") from error


def _too_large(limits: UploadLimits) -> RefusedError:
    return RefusedError(413, "too_large", f"a song may have up to {console.human_bytes(limits.most_bytes)}")


WAITING = 4
"""Songs that may wait for each one that is being decoded."""

UPLOADS = 32
"""Songs that may be on their way for each one that is being decoded: they cost disk, but neither core nor thread."""


class Admission:
    """Counts songs in, and refuses those for which there is no place.

    Args:
      decoders: songs that are decoded at once.
      meters: that show the counts.
    """

    def __init__(self, decoders: int, meters: Meters):
        self._most_sent, self._most_judged = decoders * UPLOADS, decoders * (1 + WAITING)
        self._sent = self._judged = 0
        self._meters = meters

    @contextmanager
    def sending(self) -> Iterator[None]:
        """While a song is sent; one that would only wait for a refusal is refused before it is sent.

        Raises:
          RefusedError: too many are.
        """
        if self._sent >= self._most_sent or self._judged >= self._most_judged:
            raise _busy()
        self._sent += 1
        with _counted(self._meters.sent):
            try:
                yield
            finally:
                self._sent -= 1

    @contextmanager
    def judging(self) -> Iterator[None]:
        """While a song is judged or waits for it.

        Raises:
          RefusedError: too many are.
        """
        if self._judged >= self._most_judged:
            raise _busy()
        self._judged += 1
        with _counted(self._meters.inside):
            try:
                yield
            finally:
                self._judged -= 1


@contextmanager
def _counted(gauge: Gauge) -> Iterator[None]:
    gauge.inc()
    try:
        yield
    finally:
        gauge.dec()


def _busy() -> RefusedError:
    return RefusedError(503, "busy", "too many songs at once: try again in a moment", {"Retry-After": "1"})
