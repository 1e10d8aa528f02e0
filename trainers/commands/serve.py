"""`fma serve`: a web page and an HTTP API that predict a song's genre."""

import argparse
from contextlib import closing

from trainers.commands.arguments import add_device, add_limits, add_model, add_threshold
from transforms.audio.decoder_process import Limits
from transforms.commands.arguments import number
from transforms.errors import UsageError
from transforms.runtime import console

LOOPBACK = ("127.0.0.1", "localhost", "::1")
GRACE_SECONDS = 10  # for songs that are being predicted when the server is asked to end


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.description = (
        "Serves a page on which songs are dropped or recorded, and POST /predict for programs. It has no passwords and "
        "no encryption of its own: it answers this machine only, unless --host says otherwise."
    )
    parser.epilog = "example: fma serve runs/mel_cnn --data data/small"
    add_model(parser)
    parser.add_argument("--data", metavar="DATASET", help="shows the most similar training tracks of this dataset")
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
    """Run the command until it is interrupted; see `fma serve --help`."""
    try:
        import fastapi  # noqa: F401
        import prometheus_client  # noqa: F401
        import uvicorn
    except ImportError as error:
        raise UsageError(f"fma serve needs {error.name}: pip install 'fma-genres[serve]'") from error
    from trainers.serving.app import ServeOptions, create_app, listen, open_service

    options = ServeOptions(
        run=args.run,
        model=args.model,
        data=args.data,
        limits=Limits(args.timeout, args.memory),
        most_bytes=args.max_upload << 20,
        decoders=args.concurrency,
        threshold=args.threshold,
        device=args.device,
    )
    with listen(args.host, args.port) as listener:
        service = open_service(options)
        with closing(service.engine):
            host = f"[{args.host}]" if ":" in args.host else args.host
            address = f"http://{host}:{listener.getsockname()[1]}/"
            console.say(f"serving {args.run} at {address}  (Ctrl-C ends it; the API is at /docs)")
            if args.host not in LOOPBACK:
                console.log("note: anyone who reaches this address may use it; put passwords and encryption before it")
            config = uvicorn.Config(
                create_app(service),
                log_level="warning",
                access_log=False,
                timeout_graceful_shutdown=GRACE_SECONDS,
                lifespan="off",
            )
            uvicorn.Server(config).run(sockets=[listener])
    return 0
