"""The HTTP API and the page: an ASGI application around an `Engine`."""

import asyncio
import base64
import time
from collections.abc import Callable
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from anyio import CapacityLimiter, to_thread
from fastapi import FastAPI, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse, Response
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

from trainers.serving.answers import Answer
from trainers.serving.engine import Engine
from trainers.serving.neighbours import Neighbours
from trainers.serving.uploads import CONTENT_TYPE, Admission, Meters, RefusedError, UploadLimits, received
from transforms.errors import TrackError


class Genre(BaseModel):
    """A genre and how likely it is."""

    genre: str
    probability: float = Field(ge=0, le=1, description="calibrated on the validation split")


class Window(BaseModel):
    """A stretch of the song."""

    start: float = Field(description="seconds")
    end: float = Field(description="seconds")
    probabilities: list[float] = Field(description="in the order of the labels of /model")


class Neighbour(BaseModel):
    """A training track that the model finds alike."""

    track_id: int
    similarity: float = Field(ge=-1, le=1, description="cosine between what the model makes of both")
    genre: str = ""
    title: str = ""
    artist: str = ""
    license: str = ""


class Picture(BaseModel):
    """The song's mel spectrogram."""

    bands: int
    columns: int
    seconds: float = Field(description="that the columns cover, from the song's start")
    data: str = Field(description="base64 of bands x columns bytes, row by row, the lowest band first")


class Prediction(BaseModel):
    """The song's genres."""

    verdict: str = Field(description="the most likely genre, or `unsure`")
    genres: list[Genre] = Field(description="all of them, the most likely first")
    seconds: float
    windows: int = Field(description="that were judged; 0 for a model that judges whole songs only")
    silent: bool = Field(description="whether the song is digital silence")
    timeline: list[Window] | None = Field(None, description="where it was asked for")
    nearest: list[Neighbour] | None = Field(None, description="where it was asked for; the most alike first")
    spectrogram: Picture | None = Field(None, description="where it was asked for")


class Problem(BaseModel):
    """Why there is no answer."""

    error: str = Field(description="the reason, one word")
    message: str = Field(description="what was found")


class Health(BaseModel):
    """Whether the server answers."""

    status: str


class ModelFacts(BaseModel):
    """What answers, and what it can."""

    run: str
    model: str
    labels: list[str]
    sample_rate: int = Field(description="Hz, that songs are resampled to")
    window_seconds: float
    by_window: bool = Field(description="whether there are timelines")
    threshold: float = Field(description="verdicts below it are `unsure`")
    temperature: float
    neighbours: int = Field(description="training tracks that are compared with; 0 without --data")
    most_bytes: int = Field(description="of a song's file")
    most_seconds: float = Field(description="that one song may take")


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


MOST_NEIGHBOURS = 20
REFUSALS = {
    400: "a parameter is wrong",
    408: "the song took too long to send",
    413: "the song has too many bytes",
    415: "a form, not a song",
    422: "the song has no answer: not audio, damaged, too short, too much work",
    503: "as many songs are inside as this server takes at once",
    507: "the disk is full",
}


@dataclass(frozen=True)
class Service:
    """What the application serves.

    Attributes:
      engine: with spectrograms.
      neighbours: of the training tracks, or None.
      run: what to call the model.
      threshold: of verdicts.
      limits: for an upload.
      song_seconds: that one song may take.
      decoders: songs that are decoded at once.
    """

    engine: Engine
    neighbours: Neighbours | None
    run: str
    threshold: float
    limits: UploadLimits
    song_seconds: float
    decoders: int


def create_app(service: Service) -> FastAPI:
    """The application."""
    app = FastAPI(
        title="fma-genres",
        version="1",
        description="Says which genre a song has. Send the file itself as the body of POST /predict.",
        docs_url=None,  # FastAPI's own pages load scripts from elsewhere; ours are in page/
        redoc_url=None,
    )
    meters = Meters()
    _add_predict(app, service, meters)
    _add_facts(app, service, meters)
    add_page(app)
    add_errors(app)
    app.add_middleware(Closing)
    app.add_middleware(Counting, meters=meters)
    return app


def _add_predict(app: FastAPI, service: Service, meters: Meters) -> None:
    admission = Admission(service.decoders, meters)
    # Of its own: songs that wait must not take the threads that the page's files are sent with.
    threads: list[CapacityLimiter] = []

    async def predict(
        request: Request,
        timeline: Annotated[bool, Query(description="with the genres of each stretch of the song")] = False,
        spectrogram: Annotated[bool, Query(description="with a picture of the song")] = False,
        nearest: Annotated[int, Query(ge=0, le=MOST_NEIGHBOURS, description="with so many training tracks")] = 0,
    ) -> dict[str, Any]:
        """Judges a song: the request's body is its file, in any format that libsndfile reads (mp3, wav, flac, ogg)."""
        if not threads:
            threads.append(CapacityLimiter(service.decoders))
        began = time.monotonic()
        try:
            async with AsyncExitStack() as song:
                with admission.sending():
                    path = await song.enter_async_context(received(request, service.limits))
                with admission.judging():
                    answer = await to_thread.run_sync(
                        service.engine.judge, path, limiter=threads[0], abandon_on_cancel=True
                    )
        except TrackError as error:
            meters.refusals.labels(error.reason).inc()
            raise RefusedError(422, error.reason, error.message) from error
        except RefusedError as error:
            meters.refusals.labels(error.error).inc()
            raise
        meters.seconds.observe(time.monotonic() - began)
        meters.music.inc(answer.seconds)
        meters.verdicts.labels(answer.verdict(service.threshold)).inc()
        return describe(answer, service, timeline=timeline, spectrogram=spectrogram, nearest=nearest)

    song = {"schema": {"type": "string", "format": "binary"}}
    types = ("application/octet-stream", "audio/mpeg", "audio/wav", "audio/flac", "audio/ogg")
    app.post(
        "/predict",
        response_model=Prediction,
        response_model_exclude_none=True,
        responses=_problems(*REFUSALS),
        openapi_extra={"requestBody": {"required": True, "content": dict.fromkeys(types, song)}},
    )(predict)


def describe(answer: Answer, service: Service, *, timeline: bool, spectrogram: bool, nearest: int) -> dict[str, Any]:
    """A `Prediction`'s values."""
    found = answer.to_json(service.threshold)
    if timeline:
        found["timeline"] = answer.timeline()
    if nearest and service.neighbours:
        found["nearest"] = service.neighbours.nearest(answer.embedding, nearest)
    if spectrogram:
        bands, columns = answer.spectrogram.shape
        found["spectrogram"] = {
            "bands": bands,
            "columns": columns,
            "seconds": round(answer.pictured_seconds, 3),
            "data": base64.b64encode(answer.spectrogram.tobytes()).decode(),
        }
    return found


def _problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    return {status: {"model": Problem, "description": REFUSALS[status]} for status in statuses}


def _add_facts(app: FastAPI, service: Service, meters: Meters) -> None:
    scorer = service.engine.scorer
    facts = ModelFacts(
        run=service.run,
        model=scorer.name,
        labels=scorer.labels,
        sample_rate=scorer.config.sample_rate,
        window_seconds=scorer.config.window_seconds,
        by_window=scorer.by_window,
        threshold=service.threshold,
        temperature=scorer.calibration.temperature,
        neighbours=len(service.neighbours.tracks) if service.neighbours else 0,
        most_bytes=service.limits.most_bytes,
        most_seconds=service.song_seconds,
    )

    @app.get("/model")
    async def model() -> ModelFacts:
        """What answers, and what it can."""
        return facts

    @app.head("/healthz", include_in_schema=False)
    @app.get("/healthz")
    async def healthz() -> Health:
        """Says that the server is up; the model is loaded before it is."""
        return Health(status="ok")

    @app.get("/metrics", responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}})
    async def metrics() -> Response:
        """Counters for Prometheus."""
        return Response(meters.render(), headers={"Content-Type": CONTENT_TYPE})
