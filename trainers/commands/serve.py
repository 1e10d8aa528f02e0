"""`fma serve`: a web page and an HTTP API that predict a song's genre."""

import argparse
from contextlib import ExitStack, closing

from trainers.commands.arguments import add_device, add_encoder, add_limits, add_model, add_tags, add_threshold
from transforms import storage
from transforms.audio.decoder_process import LimitOptions, Limits
from transforms.commands.arguments import number
from transforms.errors import UsageError
from transforms.runtime import console
from transforms.runtime.invocation import called_as

OPTIONS = LimitOptions(
    *(f"the server's --{name}" for name in ("timeout", "memory", "concurrency", "max-minutes")),
)
"""As one reads of them who sends songs."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.description = (
        "Serves a page on which songs are dropped or recorded, and POST /predict for programs. It has no passwords and "
        "no encryption of its own: it answers this machine only, unless --host says otherwise."
    )
    parser.epilog = f"example: {called_as()} serve runs/mel_cnn --data data/small"
    add_model(parser)
    add_encoder(parser)
    parser.add_argument(
        "--data", metavar="DATASET", help="shows similar training tracks of it; default with the folder of fma run: its"
    )
    parser.add_argument(
        "--audio",
        metavar="PATH",
        help="folder or zip of that dataset's songs: the page plays 10 s of those that are similar, and has an example",
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to answer at; default 127.0.0.1")
    parser.add_argument("--port", type=int, default=8000, help="default 8000; 0 takes a free one")
    parser.add_argument(
        "--metrics-port", type=int, metavar="PORT", help="answers /metrics, at --host; --port then does not"
    )
    parser.add_argument(
        "--allow-host",
        action="append",
        default=[],
        metavar="NAME",
        help="the server is also known by this name, such as that of a proxy before it; repeatable",
    )
    parser.add_argument(
        "--trust-proxy",
        action="append",
        default=[],
        metavar="ADDRESS",
        help="X-Forwarded-For of a proxy at this address or network says who the client is; repeatable",
    )
    _add_limits(parser)
    add_threshold(parser)
    add_tags(parser)
    add_device(parser)


def _add_limits(parser: argparse.ArgumentParser) -> None:
    limits = parser.add_argument_group("limits")
    limits.add_argument(
        "--max-upload", type=number(int, 1, below=100_000), default=64, metavar="MB", help="of a song; default 64"
    )
    limits.add_argument(
        "--max-minutes", type=number(float, 0, above=True), default=60.0, metavar="MIN", help="of a song; default 60"
    )
    add_limits(limits, seconds=30.0, megabytes=1024)
    limits.add_argument(
        "--concurrency", type=number(int, 1, below=1000), metavar="N", help="songs at once; default: the cores"
    )


def run(args: argparse.Namespace) -> int:
    """Run the command until it is interrupted; see `fma serve --help`."""
    try:
        import fastapi  # noqa: F401
        import prometheus_client  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError as error:
        raise UsageError(f"fma serve needs {error.name}: pip install 'fma-genres[serve]'") from error
    from trainers.runs.predictions import choose_run
    from trainers.serving.access import LOOPBACK, Access, check_proxies
    from trainers.serving.app import ServeOptions, create_app, open_service
    from trainers.serving.connections import listen, make_server

    check_proxies(args.trust_proxy)
    run = choose_run(args.run)
    options = ServeOptions(
        run=run,
        model=args.model,
        data=args.data if args.data or run == args.run else storage.join(args.run, "dataset"),
        limits=Limits(args.timeout, args.memory, 60 * args.max_minutes, OPTIONS),
        most_bytes=args.max_upload << 20,
        decoders=args.concurrency,
        threshold=args.threshold,
        tags=args.tags,
        device=args.device,
        encoders=args.encoder,
        audio=args.audio,
    )
    with ExitStack() as stack:
        listeners = [stack.enter_context(listen(args.host, args.port))]
        if args.metrics_port is not None:
            listeners.append(stack.enter_context(listen(args.host, args.metrics_port, "--metrics-port")))
        ports = [listener.getsockname()[1] for listener in listeners]
        access = Access.of(args.host, args.allow_host, *ports[1:])
        service = open_service(options)
        stack.enter_context(closing(service))
        server = make_server(create_app(service, access), service.decoders, args.trust_proxy)
        address = f"http://[{args.host}]" if ":" in args.host else f"http://{args.host}"
        console.say(f"serving {run} at {address}:{ports[0]}/  (Ctrl-C ends it; the API is at /docs)")
        for port in ports[1:]:
            console.say(f"metrics at {address}:{port}/metrics")
        if args.host not in LOOPBACK:
            console.log("note: anyone who reaches this address may use it; put passwords and encryption before it")
        server.run(sockets=listeners)
    return 0
