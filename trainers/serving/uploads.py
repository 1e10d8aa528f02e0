"""A song that is sent as a request's body: into a file, within limits."""

import asyncio
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from fastapi import Request
from starlette.requests import ClientDisconnect

from transforms import console

UPLOAD_SECONDS = 60.0


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
    """

    most_bytes: int
    seconds: float = UPLOAD_SECONDS


@asynccontextmanager
async def received(request: Request, limits: UploadLimits) -> AsyncIterator[str]:
    """The path of a temporary file with the request's body.

    Raises:
      RefusedError: it is a form, too large or too slow.
    """
    if request.headers.get("content-type", "").startswith("multipart/"):
        message = "send the file itself as the request's body: curl --data-binary @song.mp3"
        raise RefusedError(415, "not_a_song", message)
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > limits.most_bytes:
        raise _too_large(limits)
    with tempfile.NamedTemporaryFile(prefix="fma-") as file:
        try:
            async with asyncio.timeout(limits.seconds):
                await _copy(request, file, limits)
        except TimeoutError as error:
            raise RefusedError(408, "slow_upload", f"the song was not here within {limits.seconds:g} s") from error
        except ClientDisconnect as error:
            raise RefusedError(400, "disconnected", "the sender went away") from error
        file.flush()
        yield file.name


async def _copy(request: Request, file: Any, limits: UploadLimits) -> None:
    size = 0
    async for block in request.stream():
        size += len(block)
        if size > limits.most_bytes:
            raise _too_large(limits)
        file.write(block)


def _too_large(limits: UploadLimits) -> RefusedError:
    return RefusedError(413, "too_large", f"a song may have up to {console.human_bytes(limits.most_bytes)}")
