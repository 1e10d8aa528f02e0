"""The HTTP API and the page: an ASGI application around an `Engine`."""

import base64
import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from anyio import CapacityLimiter, to_thread
from fastapi import FastAPI, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse, Response
from starlette.exceptions import HTTPException

from trainers.serving.access import HEALTH, METRICS, Access, Guard
from trainers.serving.answers import Answer
from trainers.serving.clips import Clips, open_clips
from trainers.serving.engine import Engine
from trainers.serving.neighbours import open_neighbours, read_recordings
from trainers.serving.problems import Problem, RefusedError, problem
from trainers.serving.schema import Example, GenresPrediction, Health, LabelPrediction, ModelFacts
from trainers.serving.scorers import open_scorer
from trainers.serving.shares import Shares, Turns, client_address
from trainers.serving.tagger import Tagger
from trainers.serving.tasks import ManyGenres, Task
from trainers.serving.uploads import CONTENT_TYPE, Closing, Counting, Meters, UploadLimits, received
from transforms.audio.decoder_process import Limits
from transforms.dataset.neighbours import Neighbours
from transforms.errors import TrackError, UsageError
from transforms.runtime import cores

PAGE = Path(__file__).parent / "page"
FILES = {"/": "index.html", "/docs": "docs.html"} | {
    f"/{name}": name for name in ("page.js", "page.css", "draw.js", "tree.js", "sound.js", "reasons.js", "docs.js")
}
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "media-src 'self' blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""The page loads nothing from elsewhere, and sends nothing to elsewhere."""

HEADERS = {"Content-Security-Policy": POLICY, "Cache-Control": "no-cache", "X-Content-Type-Options": "nosniff"}
AUDIO_TYPES = ("application/octet-stream", "audio/mpeg", "audio/wav", "audio/flac", "audio/ogg")
MOST_NEIGHBOURS = 20
PLACES = 20  # for each song that is being decoded: it and those that wait for it
ON_DISK = 32  # for each song that is being decoded: what its file may have, this many times, for all uploads
REFUSALS = {
    400: "a parameter is wrong",
    403: "the request comes from a page of another server",
    408: "the song took too long to send",
    413: "the song has too many bytes",
    415: "a form, not a song",
    421: "the request's Host is not this server",
    422: "the song has no answer: not audio, damaged, too short, too long, too much work",
    503: "the server, or the client's share of it, has as many songs as it takes at once",
    507: "the disk is full",
}


@dataclass(frozen=True)
class ServeOptions:
    """The options of a service."""

    run: str  # of fma train or fma baselines, or a bundle
    model: str | None  # of a baselines run; None: the best one on validation
    data: str | None  # dataset whose training tracks songs are compared with, or None
    limits: Limits  # for one song
    most_bytes: int  # of a song's file
    decoders: int | None = None  # songs that are decoded at once; None: as many as there are cores
    threshold: float | None = None  # in place of those of the run's task
    tags: str | None = None  # the encoder that gives songs tags, or None
    device: str = "auto"  # see `trainers.training.devices`
    encoders: Sequence[str] = ()  # see `trainers.serving.scorers.open_scorer`
    audio: str | None = None  # folder or zip of the dataset's songs, of which clips are played; None: none are


@dataclass(frozen=True)
class Service:
    """The parts of a service."""

    engine: Engine  # with spectrograms
    neighbours: Neighbours | None  # of the training tracks, or None
    run: str  # the model's name for people
    limits: UploadLimits  # for an upload
    song_limits: Limits  # for one song
    decoders: int  # songs that are decoded at once
    recordings: Mapping[str, set[int | str]] = field(default_factory=dict)  # see `read_recordings`
    clips: Clips | None = None  # of the dataset's songs, or None

    def close(self) -> None:
        """End the decoders; songs that are being decoded fail."""
        self.engine.close()
        if self.clips:
            self.clips.close()


def open_service(options: ServeOptions) -> Service:
    """Load the model and start the decoders; whoever calls this closes the service.

    Raises:
      UsageError: the run or the dataset is not there, or they do not fit together.
      FmaError: a file is damaged, or a first prediction fails.
    """
    if options.audio and not options.data:
        raise UsageError("--audio needs the dataset that its songs are of: give --data DATASET")
    scorer = open_scorer(
        options.run, options.model, options.device, threshold=options.threshold, encoders=options.encoders
    )
    neighbours = open_neighbours(options.run, scorer, options.data) if options.data else None
    clips = open_clips(options.data, options.audio, options.limits) if options.data and options.audio else None
    decoders = options.decoders or cores()
    tagger = Tagger(options.tags, scorer.config, options.device) if options.tags else None
    engine = Engine(scorer, options.limits, decoders, spectrograms=True, tagger=tagger)
    try:
        engine.warm_up()
    except BaseException:
        engine.close()
        raise
    return Service(
        engine=engine,
        neighbours=neighbours,
        run=os.path.basename(os.path.normpath(options.run)),
        limits=UploadLimits(options.most_bytes),
        song_limits=options.limits,
        decoders=decoders,
        recordings=read_recordings(options.data) if options.data else {},
        clips=clips,
    )


def create_app(service: Service, access: Access = Access()) -> FastAPI:  # noqa: B008 - frozen
    """Create the application; its `state.meters` are its counters."""
    app = FastAPI(
        title="fma-genres",
        version="1",
        description="Predicts a song's genre. Send the file itself as the body of POST /predict.",
        docs_url=None,  # FastAPI's own pages load scripts from elsewhere; ours are in page/
        redoc_url=None,
    )
    meters = app.state.meters = Meters()
    _add_predict(app, service, meters)
    _add_facts(app, service)
    if service.clips:
        _add_clips(app, service.clips)
    if access.metrics:
        _add_metrics(app, meters)
    _add_page(app)
    _add_errors(app)
    app.add_middleware(Guard, access=access)
    app.add_middleware(Closing)
    app.add_middleware(Counting, meters=meters)
    return app


def _add_predict(app: FastAPI, service: Service, meters: Meters) -> None:
    disk = Shares(service.decoders * ON_DISK * service.limits.most_bytes)
    places, turns = Shares(service.decoders * PLACES), Turns(service.decoders)
    # Of its own: songs must not take the threads that the page's files are sent with.
    threads: list[CapacityLimiter] = []

    async def predict(
        request: Request,
        timeline: Annotated[bool, Query(description="with the genres of each stretch of the song")] = False,
        spectrogram: Annotated[bool, Query(description="with a picture of the song")] = False,
        nearest: Annotated[int, Query(ge=0, le=MOST_NEIGHBOURS, description="with this many training tracks")] = 0,
    ) -> dict[str, Any]:
        """Predict a song's genre. The body is the file itself, such as mp3, m4a, wav, flac, ogg or wma."""
        if not threads:
            threads.append(CapacityLimiter(service.decoders))
        start, address = time.monotonic(), client_address(request.client)
        try:
            async with AsyncExitStack() as song:
                places.check(address)  # a song that would be refused afterwards is not uploaded
                with meters.sent.track_inprogress():
                    path = await song.enter_async_context(received(request, service.limits, disk, address))
                with places.one(address), meters.inside.track_inprogress():
                    await song.enter_async_context(turns.take(address))
                    answer = await to_thread.run_sync(
                        service.engine.predict, path, limiter=threads[0], abandon_on_cancel=True
                    )
        except TrackError as error:
            meters.refusals.labels(error.reason).inc()
            raise RefusedError(422, error.reason, error.message) from error
        except RefusedError as error:
            meters.refusals.labels(error.error).inc()
            raise
        meters.seconds.observe(time.monotonic() - start)
        meters.music.inc(answer.seconds)
        for verdict in answer.verdicts():
            meters.verdicts.labels(verdict).inc()
        return _describe(answer, service, timeline=timeline, spectrogram=spectrogram, nearest=nearest)

    song = {"schema": {"type": "string", "format": "binary"}}
    app.post(
        "/predict",
        response_model=GenresPrediction if _has_many(service) else LabelPrediction,
        response_model_exclude_none=True,
        responses={status: {"model": Problem, "description": text} for status, text in REFUSALS.items()},
        openapi_extra={"requestBody": {"required": True, "content": dict.fromkeys(AUDIO_TYPES, song)}},
    )(predict)


def _describe(answer: Answer, service: Service, *, timeline: bool, spectrogram: bool, nearest: int) -> dict[str, Any]:
    """Return the values of the response model."""
    found = answer.to_json()
    if timeline:
        found["timeline"] = answer.timeline()
    if nearest and service.neighbours:
        itself = service.recordings.get(answer.audio_sha256, set())
        closest = service.neighbours.nearest(answer.embedding, nearest + len(itself))
        found["nearest"] = [track for track in closest if track["track_id"] not in itself][:nearest]
        found["in_training"] = bool(itself)
    if spectrogram:
        bands, columns = answer.spectrogram.shape
        found["spectrogram"] = {
            "bands": bands,
            "columns": columns,
            "seconds": round(answer.pictured_seconds, 3),
            "data": base64.b64encode(answer.spectrogram.tobytes()).decode(),
        }
    return found


def _has_many(service: Service) -> bool:
    return isinstance(service.engine.scorer.task, ManyGenres)


def _task_facts(task: Task) -> dict[str, Any]:
    if isinstance(task, ManyGenres):
        return {"parents": dict(task.parents), "thresholds": list(task.thresholds)}
    return {"threshold": task.threshold, "temperature": task.calibration.temperature}


def _add_facts(app: FastAPI, service: Service) -> None:
    scorer, tagger = service.engine.scorer, service.engine.tagger
    facts = ModelFacts(
        run=service.run,
        model=scorer.name,
        labels=scorer.task.labels,
        sample_rate=scorer.config.sample_rate,
        window_seconds=scorer.config.window_seconds,
        by_window=scorer.by_window,
        **_task_facts(scorer.task) | ({"tagger": tagger.encoder} if tagger else {}),
        neighbours=len(service.neighbours.tracks) if service.neighbours else 0,
        clips=service.clips is not None,
        **_example(service),
        most_bytes=service.limits.most_bytes,
        most_seconds=service.song_limits.seconds,
        longest_seconds=service.song_limits.audio_seconds,
    )

    @app.get("/model", response_model_exclude_unset=True)
    async def model() -> ModelFacts:
        """Return the model that answers, and the server's limits."""
        return facts

    @app.head(HEALTH, include_in_schema=False)
    @app.get(HEALTH)
    async def healthz() -> Health:
        """Return ok: the server is up, and the model was loaded before."""
        return Health(status="ok")


def _example(service: Service) -> dict[str, Any]:
    track = service.clips.example(service.engine.scorer.config.window_seconds) if service.clips else None
    if track is None:
        return {}
    words = {"title": track.title, "artist": track.artist, "license": track.license}
    return {"example": Example(track_id=track.shown_id, **words)}


def _add_clips(app: FastAPI, clips: Clips) -> None:
    places = Shares(PLACES)
    threads: list[CapacityLimiter] = []

    @app.get("/clip", response_class=Response, responses={200: {"content": {"audio/mpeg": {}}}})
    async def clip(
        request: Request, track: Annotated[str, Query(description="its id as /predict and /model have it")]
    ) -> Response:
        """Return ten seconds from the middle of a track of the dataset."""
        if not threads:
            threads.append(CapacityLimiter(1))
        try:
            with places.one(client_address(request.client)):
                mp3 = await to_thread.run_sync(clips.mp3, track, limiter=threads[0], abandon_on_cancel=True)
        except KeyError:
            raise RefusedError(404, "not_found", "the dataset has no such track") from None
        except TrackError as error:
            raise RefusedError(404, error.reason, "the track's audio cannot be played") from error
        return Response(mp3, media_type="audio/mpeg", headers={"Cache-Control": "max-age=3600"})


def _add_metrics(app: FastAPI, meters: Meters) -> None:
    @app.get(METRICS, responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}})
    async def metrics() -> Response:
        """Return counters for Prometheus."""
        return Response(meters.render(), headers={"Content-Type": CONTENT_TYPE})


def _add_page(app: FastAPI) -> None:
    def send(name: str) -> Callable:
        async def file() -> FileResponse:
            return FileResponse(PAGE / name, headers=HEADERS)

        return file

    for path, name in FILES.items():
        app.api_route(path, methods=["GET", "HEAD"], include_in_schema=False)(send(name))


def _add_errors(app: FastAPI) -> None:
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
    async def internal(_: Request, error: Exception) -> JSONResponse:
        # Starlette answers this outside of all middleware, so that `Closing` does not see it.
        close = {"Connection": "close"}
        return problem(500, "internal", "this is our mistake; the server's log has the details", close)
