"""What is around the API: the page's files, errors as JSON, counted answers."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse
from starlette.exceptions import HTTPException

from trainers.serving.meters import Meters
from trainers.serving.schemas import Problem
from trainers.serving.uploads import RefusedError

PAGE = Path(__file__).parent / "page"
FILES = {"/": "index.html", "/docs": "docs.html"} | {
    f"/{name}": name for name in ("page.js", "page.css", "draw.js", "sound.js", "docs.js")
}
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "media-src blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""Nothing on the page comes from elsewhere, and nothing leaves it for elsewhere."""

LINGER_SECONDS = 2.0
"""A sender gets its answer only if it is not cut off while it still sends; but nobody is listened to for ever."""

HEADERS = {"Content-Security-Policy": POLICY, "Cache-Control": "no-cache", "X-Content-Type-Options": "nosniff"}


def add_page(app: FastAPI) -> None:
    def send(name: str) -> Callable:
        async def file() -> FileResponse:
            return FileResponse(PAGE / name, headers=HEADERS)

        return file

    for path, name in FILES.items():
        app.api_route(path, methods=["GET", "HEAD"], include_in_schema=False)(send(name))


def add_errors(app: FastAPI) -> None:
    def problem(status: int, error: str, message: str, headers: Any = None) -> JSONResponse:
        return JSONResponse(Problem(error=error, message=message).model_dump(), status, headers)

    @app.exception_handler(RefusedError)
    async def refused(_: Request, error: RefusedError) -> JSONResponse:
        return problem(error.status, error.error, error.message, error.headers)

    @app.exception_handler(RequestValidationError)
    async def wrong(_: Request, error: RequestValidationError) -> JSONResponse:
        found = "; ".join(f"{'.'.join(map(str, one['loc'][1:]))}: {one['msg']}" for one in error.errors())
        return problem(400, "bad_request", found)

    @app.exception_handler(HTTPException)
    async def other(_: Request, error: HTTPException) -> JSONResponse:
        name = {404: "not_found", 405: "wrong_method"}.get(error.status_code, "refused")
        return problem(error.status_code, name, str(error.detail), error.headers)

    @app.exception_handler(Exception)
    async def ours(_: Request, error: Exception) -> JSONResponse:
        # Starlette answers this outside of all middleware, so that `Closing` does not see it.
        close = {"Connection": "close"}
        return problem(500, "internal", "this is our mistake; the server's log has the details", close)


class Counting:
    """ASGI middleware that counts answers by path and status; paths that nobody serves are counted as one."""

    def __init__(self, app: Any, meters: Meters):
        self._app, self._requests = app, meters.requests

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status = 500

        async def note(message: dict[str, Any]) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, note)
        finally:
            route = scope.get("route")
            self._requests.labels(getattr(route, "path", "other"), str(status)).inc()


class Closing:
    """ASGI middleware that ends the connection where a request is answered before all of its body is here.

    The server would else read on until the body ends, which is up to its sender.
    """

    def __init__(self, app: Any):
        self._app = app

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        here = b"transfer-encoding" not in headers and headers.get(b"content-length", b"0") == b"0"
        early = False

        async def note() -> dict[str, Any]:
            nonlocal here
            message = await receive()
            here = here or message["type"] == "http.disconnect" or not message.get("more_body", False)
            return message

        async def close(message: dict[str, Any]) -> None:
            nonlocal early
            if message["type"] == "http.response.start" and not here:
                early = True
                message = message | {"headers": [*message.get("headers", []), (b"connection", b"close")]}
            last = message["type"] == "http.response.body" and not message.get("more_body", False)
            if not (early and last):
                await send(message)
                return
            await send(message | {"more_body": True})
            await _linger(note, lambda: here)
            await send({"type": "http.response.body"})

        await self._app(scope, note, close)


async def _linger(receive: Callable, done: Callable[[], bool]) -> None:
    """Reads and forgets what still comes of a body, for a while."""
    with suppress(TimeoutError):
        async with asyncio.timeout(LINGER_SECONDS):
            while not done():
                await receive()
