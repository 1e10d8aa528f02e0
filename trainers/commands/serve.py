"""`fma serve`: a web page and an HTTP API that say which genre a song has."""

import argparse
import os
import socket
import tempfile
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from trainers.commands.arguments import add_device, add_limits, add_model, add_threshold
from trainers.serving.engine import Engine
from trainers.serving.scorers import open_scorer
from transforms.audio.decoder_process import Limits
from transforms.commands.arguments import number
from transforms.errors import FmaError, TrackError, UsageError
from transforms.runtime import console
from transforms.runtime.parallel import cores

if TYPE_CHECKING:
    from fastapi import FastAPI

LOOPBACK = ("127.0.0.1", "localhost", "::1")
WARM_UP_SECONDS = 300.0
GRACE_SECONDS = 10
"""For songs that are being judged when the server is asked to end."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    parser.description = (
        "Serves a page on which songs are dropped or recorded, and POST /predict for programs. It has no passwords and "
        "no encryption of its own: it answers this machine only, unless --host says otherwise."
    )
    parser.epilog = "example: fma serve runs/mel_cnn --data data/small"
    add_model(parser)
    parser.add_argument(
        "--data", metavar="DATASET", help="shows the training tracks of this dataset that are most alike"
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to answer at; default 127.0.0.1")
    parser.add_argument("--port", type=int, default=8000, help="default 8000; 0 takes a free one")
    limits = parser.add_argument_group("limits")
    limits.add_argument(
        "--max-upload", type=number(int, 1, below=100_000), default=64, metavar="MB", help="of a song; default 64"
    )
    add_limits(limits, seconds=30.0, megabytes=1024)
    limits.add_argument(
        "--concurrency", type=number(int, 1, below=1000), metavar="N", help="songs at once; default: the cores"
    )
    add_threshold(parser)
    add_device(parser)


def run(args: argparse.Namespace) -> int:
    """Runs the command until it is interrupted; see `fma serve --help`."""
    try:
        import fastapi  # noqa: F401
        import prometheus_client  # noqa: F401
        import uvicorn
    except ImportError as error:
        raise UsageError(f"fma serve needs {error.name}: pip install 'fma-genres[serve]'") from error
    listener = listen(args.host, args.port)
    with listener:
        engine, app = make_app(args)
        try:
            _tell(args, listener)
            config = uvicorn.Config(
                app, log_level="warning", access_log=False, timeout_graceful_shutdown=GRACE_SECONDS, lifespan="off"
            )
            uvicorn.Server(config).run(sockets=[listener])
        finally:
            engine.close()
    return 0


def make_app(args: argparse.Namespace) -> tuple[Engine, "FastAPI"]:
    """The engine and the application that the arguments ask for."""
    from trainers.serving.app import Service, create_app
    from trainers.serving.neighbours import open_neighbours
    from trainers.serving.uploads import UploadLimits

    scorer = open_scorer(args.run, args.model, args.device)
    neighbours = open_neighbours(args.run, scorer, args.data) if args.data else None
    decoders = args.concurrency or cores()
    engine = Engine(scorer, Limits(args.timeout, args.memory), decoders, spectrograms=True)
    try:
        warm_up(engine, decoders)
    except BaseException:
        engine.close()
        raise
    service = Service(
        engine=engine,
        neighbours=neighbours,
        run=os.path.basename(os.path.normpath(args.run)),
        threshold=args.threshold,
        limits=UploadLimits(args.max_upload << 20),
        song_seconds=args.timeout,
        decoders=decoders,
    )
    return engine, create_app(service)


def warm_up(engine: Engine, decoders: int) -> None:
    """Judges some noise, so that the first visitor does not wait for what is done once.

    Raises:
      FmaError: it has no answer.
    """
    import numpy as np
    import soundfile

    config = engine.scorer.config
    noise = 0.1 * np.random.default_rng(0).standard_normal(2 * config.window_samples, np.float32)

    def judge(path: str) -> None:
        engine.judge(path, WARM_UP_SECONDS)  # a song's limit is for a server that is warm

    with tempfile.NamedTemporaryFile(prefix="fma-", suffix=".wav") as file, ThreadPoolExecutor(decoders) as pool:
        soundfile.write(file.name, noise, config.sample_rate)
        try:
            list(pool.map(judge, [file.name] * decoders))
        except TrackError as error:
            raise FmaError(f"no song can be judged here, not even some noise: {error}") from error


def listen(host: str, port: int) -> socket.socket:
    """A socket that takes connections; before the model is loaded, so that a port that is taken shows at once.

    Raises:
      UsageError: the address is not one of this machine, or may not be used.
      FmaError: the port is taken.
    """
    if not 0 <= port <= 65535:
        raise UsageError(f"--port {port}: ports are 0 to 65535")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=128)
    except OSError as error:
        if (error.errno or 0) < 0:  # the resolver's own numbers
            raise UsageError(f"--host {host}: there is no such address") from error
        reason = os.strerror(error.errno or 0).lower()
        raise FmaError(f"cannot answer at {host}, port {port}: {reason}; give another --port or --host") from error


def _tell(args: argparse.Namespace, listener: socket.socket) -> None:
    port = listener.getsockname()[1]
    shown = f"[{args.host}]" if ":" in args.host else args.host
    console.say(f"serving {args.run} at http://{shown}:{port}/  (Ctrl-C ends it; the API is at /docs)")
    if args.host not in LOOPBACK:
        console.log("note: whoever reaches this address may use it; put passwords and encryption in front of it")
