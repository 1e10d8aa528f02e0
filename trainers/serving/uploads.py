"""A song that is sent as a request's body: into a file, within limits; the counters; ASGI middleware for both."""

import asyncio
import errno
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from typing import IO, Any

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

from trainers.serving.problems import RefusedError
from trainers.serving.shares import Shares
from transforms.runtime import console, temporary

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
SECONDS = (0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60)  # buckets of the time from a song's first byte to its answer
UPLOAD_SECONDS = 60.0
PATIENCE, LEAST_RATE = 10.0, 8 << 10
"""Seconds after which a song has to come at this many bytes a second: a slow sender holds a connection."""

LINGER_SECONDS = 2.0  # a client reads its answer only if the connection stays open while it sends, but not for ever


class Meters:
    """The counters of one server."""

    def __init__(self) -> None:
        disable_created_metrics()
        to = self._registry = CollectorRegistry()
        self.requests = Counter("fma_http_requests", "answers by path and status", ["path", "status"], registry=to)
        self.verdicts = Counter("fma_verdicts", "songs with an answer", ["verdict"], registry=to)
        self.refusals = Counter("fma_refusals", "songs without an answer", ["reason"], registry=to)
        self.seconds = Histogram(
            "fma_predict_seconds", "from the first byte of a song to its answer", buckets=SECONDS, registry=to
        )
        self.music = Counter("fma_music_seconds", "length of the songs with an answer", registry=to)
        self.sent = Gauge("fma_songs_sent", "songs that are uploading", registry=to)
        self.inside = Gauge("fma_songs_inside", "songs that are being predicted or wait for it", registry=to)
        self.closed = Counter("fma_connections_closed", "connections that a limit ended", ["reason"], registry=to)
        ProcessCollector(registry=to)

    def render(self) -> bytes:
        """Return the counters in Prometheus' text format."""
        return generate_latest(self._registry)


@dataclass(frozen=True)
class UploadLimits:
    """Limits of a request's body."""

    most_bytes: int  # of the body
    seconds: float = UPLOAD_SECONDS  # until all of it is here
    patience: float = PATIENCE  # seconds before its rate counts


@asynccontextmanager
async def received(request: Request, limits: UploadLimits, disk: Shares, address: str) -> AsyncIterator[str]:
    """Write the request's body to a temporary file, whose path is yielded.

    Args:
      disk: the bytes that all files may have together; the address of the client takes those of this one.

    Raises:
      RefusedError: it is a form, too large or too slow, or the disk or the address' share of it is full.
    """
    if request.headers.get("content-type", "").strip().lower().startswith("multipart/"):
        message = "send the file itself as the request's body: curl --data-binary @song.mp3"
        raise RefusedError(415, "not_a_song", message)
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > limits.most_bytes:
        raise _too_large(limits)
    with _refuse_on_full_disk():
        file = tempfile.NamedTemporaryFile(dir=temporary.folder(), buffering=0)  # noqa: SIM115 - closed below
    size = 0

    def count(more: int) -> int:
        nonlocal size
        if size + more > limits.most_bytes:
            raise _too_large(limits)
        disk.take(address, more)
        size += more
        return size

    try:
        with file:
            try:
                await _copy(request, file, limits, count)
            except ClientDisconnect as error:
                raise RefusedError(400, "disconnected", "the sender went away") from error
            yield file.name
    finally:
        disk.give_back(address, size)


async def _copy(request: Request, file: IO[bytes], limits: UploadLimits, count: Callable[[int], int]) -> None:
    """Write the body to a file; `count` is called with the bytes of each block before, and returns their sum."""
    loop = asyncio.get_running_loop()
    start = loop.time()
    try:
        async with asyncio.timeout(min(limits.seconds, limits.patience)) as clock:
            async for block in request.stream():
                size = count(len(block))
                with _refuse_on_full_disk():
                    left = memoryview(block)
                    while left:
                        left = left[file.write(left) :]
                clock.reschedule(start + min(limits.seconds, limits.patience + size / LEAST_RATE))
    except TimeoutError as error:
        limit = f"within {limits.seconds:g} s"
        if loop.time() - start < limits.seconds:
            limit = f"as fast as {console.human_bytes(LEAST_RATE)} a second"
        raise RefusedError(408, "slow_upload", f"the song did not come {limit}") from error


@contextmanager
def _refuse_on_full_disk() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise RefusedError(507, "disk_full", "the server has no room for the song now: try again later") from error


def _too_large(limits: UploadLimits) -> RefusedError:
    return RefusedError(413, "too_large", f"a song may have up to {console.human_bytes(limits.most_bytes)}")


class Counting:
    """ASGI middleware that counts answers by path and status; unknown paths are counted as one."""

    def __init__(self, app: Any, meters: Meters):
        self._app, self._requests = app, meters.requests

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status = 500

        async def note_status(message: dict[str, Any]) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, note_status)
        finally:
            route = scope.get("route")
            self._requests.labels(getattr(route, "path", "other"), str(status)).inc()


class Closing:
    """ASGI middleware that closes the connection when a request is answered before all of its body is here.

    Otherwise the server would read until the body ends, for as long as its sender likes.
    """

    def __init__(self, app: Any):
        self._app = app

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        complete = b"transfer-encoding" not in headers and headers.get(b"content-length", b"0") == b"0"
        early = False

        async def note_end() -> dict[str, Any]:
            nonlocal complete
            message = await receive()
            complete = complete or message["type"] == "http.disconnect" or not message.get("more_body", False)
            return message

        async def close(message: dict[str, Any]) -> None:
            nonlocal early
            if message["type"] == "http.response.start" and not complete:
                early = True
                message = message | {"headers": [*message.get("headers", []), (b"connection", b"close")]}
            last = message["type"] == "http.response.body" and not message.get("more_body", False)
            if not (early and last):
                await send(message)
                return
            await send(message | {"more_body": True})
            await _discard_body(note_end, lambda: complete)
            await send({"type": "http.response.body"})

        await self._app(scope, note_end, close)


async def _discard_body(receive: Callable, complete: Callable[[], bool]) -> None:
    """Read the rest of a body for up to `LINGER_SECONDS`."""
    with suppress(TimeoutError):
        async with asyncio.timeout(LINGER_SECONDS):
            while not complete():
                await receive()
