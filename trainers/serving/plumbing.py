"""What is around the API: the page's files, errors as JSON, counted answers."""

from collections.abc import Callable
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

HEADERS = {"Content-Security-Policy": POLICY, "Cache-Control": "no-cache", "X-Content-Type-Options": "nosniff"}


def add_page(app: FastAPI) -> None:
    def send(name: str) -> Callable:
        async def file() -> FileResponse:
            return FileResponse(PAGE / name, headers=HEADERS)

        return file

    for path, name in FILES.items():
        app.get(path, include_in_schema=False)(send(name))


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
        return problem(500, "internal", "this is our mistake; the server's log has the details")


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
