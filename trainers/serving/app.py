"""The HTTP API and the page: an ASGI application around an `Engine`."""

import base64
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Annotated, Any

from anyio import CapacityLimiter, to_thread
from fastapi import FastAPI, Query, Request
from fastapi.responses import Response

from trainers.serving.admission import Admission
from trainers.serving.answers import Answer
from trainers.serving.engine import Engine
from trainers.serving.meters import CONTENT_TYPE, Meters
from trainers.serving.neighbours import Neighbours
from trainers.serving.plumbing import Closing, Counting, add_errors, add_page
from trainers.serving.schemas import Health, ModelFacts, Prediction, Problem
from trainers.serving.uploads import RefusedError, UploadLimits, received
from transforms.errors import TrackError

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
