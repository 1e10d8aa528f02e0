"""A song that is sent as a request's body: into a file, within limits."""

import asyncio
import errno
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import IO

from fastapi import Request
from starlette.requests import ClientDisconnect

from transforms.runtime import console

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
