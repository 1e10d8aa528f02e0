"""The server's connections: uvicorn's, with limits that it does not have."""

import asyncio
import functools
import logging
import os
import resource
import socket
import time
from collections import Counter
from collections.abc import Sequence
from typing import Any, cast

import h11
import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.h11_impl import H11Protocol

from trainers.serving.problems import problem
from trainers.serving.shares import client_address
from trainers.serving.uploads import PATIENCE, Meters
from transforms.errors import FmaError, UsageError
from transforms.runtime import console

HEADER_SECONDS = 10.0  # from the connection or the last answer to the end of the next request's header
ANSWER_SECONDS = 60.0  # for a client to read what it was sent
GRACE_SECONDS = 10  # for songs that are being predicted when the server is asked to end

MOST = 500  # connections, where the system allows enough open files
FEWEST = 16
RESERVED, OF_DECODER = 48, 6  # open files that are left for everything else, and for each decoder
ROUNDS = 4  # of asyncio's loop from accepting a connection that is refused to closing it

LOG_LINES, LOG_SECONDS = 5, 60.0
"""So many lines of a kind are logged in so many seconds: whatever clients send, the log does not fill the disk."""


def listen(host: str, port: int, option: str = "--port") -> socket.socket:
    """Open a socket that accepts connections; before the model is loaded, so that a port in use shows at once.

    Raises:
      UsageError: the address is not one of this machine, or may not be used.
      FmaError: the port is in use.
    """
    if not 0 <= port <= 65535:
        raise UsageError(f"{option} {port}: ports are 0 to 65535")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=128)
    except OSError as error:
        if (error.errno or 0) < 0:  # the resolver's own numbers
            raise UsageError(f"--host {host}: there is no such address") from error
        reason = os.strerror(error.errno or 0).lower()
        raise FmaError(f"cannot answer at {host}, port {port}: {reason}; give another {option} or --host") from error


def make_server(app: FastAPI, decoders: int, proxies: Sequence[str] = (), grace: int | None = None) -> uvicorn.Server:
    """Return a server for `create_app`'s application, to be run with the sockets of `listen`.

    Args:
      decoders: songs that are decoded at once.
      proxies: addresses and networks whose X-Forwarded-For says who the client is.
      grace: seconds for requests in progress when the server is asked to end; None: `GRACE_SECONDS`.

    Raises:
      FmaError: too few files may be open.
    """
    most, backlog = count_connections(decoders)
    connections = Connections(most, app.state.meters)
    _log_to_console()
    config = uvicorn.Config(
        app,
        http=cast(Any, functools.partial(Connection, connections)),
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        backlog=backlog,
        proxy_headers=bool(proxies),
        forwarded_allow_ips=list(proxies),
        timeout_graceful_shutdown=GRACE_SECONDS if grace is None else grace,
        callback_notify=connections.close_overdue,
        timeout_notify=0,  # as often as it looks, which is once a second
    )
    return uvicorn.Server(config)


def count_connections(decoders: int) -> tuple[int, int]:
    """Return how many connections there may be, and how many are accepted at once, so that open files always suffice.

    A connection needs two files, its own and its upload's.

    Raises:
      FmaError: they are too few.
    """
    allowed, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if allowed == resource.RLIM_INFINITY:
        return MOST, 128
    free = allowed - len(os.listdir("/dev/fd")) - RESERVED - OF_DECODER * decoders
    backlog = min(128, max(4, free // (8 * ROUNDS)))
    most = (free - ROUNDS * (backlog + 1)) // 2
    if most < FEWEST:
        needed = allowed + 2 * (FEWEST - most)
        raise FmaError(f"only {allowed:,} files may be open, and serving needs {needed:,}: raise it with ulimit -n")
    return min(MOST, most), backlog


class Connections:
    """The open connections of a server.

    Args:
      most: of them. The next one takes the place of one that can be spared, from the address that has most, or is
        refused.
      meters: count those that are closed.
    """

    def __init__(self, most: int, meters: Meters):
        self._most, self.meters = most, meters
        self._open: set[Connection] = set()

    def admit(self, new: "Connection") -> None:
        """Add a connection."""
        self._open.add(new)
        if len(self._open) <= self._most:
            return
        counts = Counter(connection.address for connection in self._open)
        ranks: dict[Connection, tuple] = {new: (counts[new.address],)}
        for connection in self._open - {new}:
            if (rank := connection.rank(new.since)) is not None:
                ranks[connection] = counts[connection.address], *rank
        self._end(max(ranks, key=lambda connection: ranks[connection]), "too_many", new)

    def remove(self, connection: "Connection") -> None:
        """Remove a connection that is closed."""
        self._open.discard(connection)

    async def close_overdue(self) -> None:
        """Close the connections that have waited too long for their client; to be called every second."""
        for connection in list(self._open):
            if reason := connection.overdue():
                self._end(connection, reason)

    def _end(self, connection: "Connection", reason: str, new: "Connection | None" = None) -> None:
        self.meters.closed.labels(reason).inc()
        self._open.discard(connection)
        if connection is new:
            connection.refuse()
        else:
            connection.transport.abort()


class Connection(H11Protocol):
    """A connection that belongs to `Connections`.

    Attributes:
      address: of the client.
      since: when it began to wait for a header, or when that had come; seconds of the loop's clock.
    """

    def __init__(self, connections: Connections, **values: Any):
        super().__init__(**values)
        self._connections = connections
        self.address, self.since = "", 0.0
        self._read_at = 0.0  # when the client was last seen to have read everything
        self._received = 0  # bytes since then

    def connection_made(self, transport: Any) -> None:
        """Wait for the first header."""
        super().connection_made(transport)
        self.address = client_address(self.client)
        self.since = self._read_at = self.loop.time()
        self._connections.admit(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Leave."""
        super().connection_lost(exc)
        self._connections.remove(self)

    def data_received(self, data: bytes) -> None:
        """Pass data on."""
        waited = self._waiting
        super().data_received(data)
        if waited and not self._waiting:
            self.since, self._received = self.loop.time(), 0
        self._received += len(data)

    def on_response_complete(self) -> None:
        """Wait for the next header."""
        self.since = self.loop.time()
        super().on_response_complete()

    def send_400_response(self, msg: str) -> None:
        """Count requests that are not HTTP: only some of them are logged."""
        self._connections.meters.requests.labels("other", "400").inc()
        super().send_400_response(msg)

    @property
    def _waiting(self) -> bool:
        """Whether no header has come since the last answer."""
        return self.conn.their_state is h11.IDLE

    def rank(self, now: float) -> tuple[int, float] | None:
        """Return how well it can be spared, larger is better; None: not at all, since the server works for it.

        First those whose answer is not read to its end, then those without a request, then the slowest song.
        """
        age = now - self.since
        if self.transport.is_closing():
            return 2, age
        if self._waiting:
            return 1, age
        if self.conn.their_state is h11.SEND_BODY and age > PATIENCE:
            return 0, -self._received / age
        return None

    def overdue(self) -> str:
        """Return the limit that the client has exceeded, or an empty text."""
        now = self.loop.time()
        unread = self.transport.get_write_buffer_size()
        if not unread:
            self._read_at = now
        if now - self._read_at > ANSWER_SECONDS:
            return "answer_not_read"
        return "slow_header" if self._waiting and not unread and now - self.since > HEADER_SECONDS else ""

    def refuse(self) -> None:
        """Close it, with an answer, before any request."""
        answer = problem(503, "busy", "too many connections: try again in a moment", {"Retry-After": "1"})
        lines = [b"HTTP/1.1 503 Service Unavailable", b"connection: close"]
        lines += [key + b": " + value for key, value in answer.raw_headers]
        self.transport.write(b"\r\n".join([*lines, b"", bytes(answer.body)]))
        self.transport.close()


class LogLimit(logging.Filter):
    """Passes a few lines of each kind on; the next one after a while says how many were left out.

    A kind is a place in the code, so that their number does not depend on what clients send.
    """

    def __init__(self) -> None:
        super().__init__()
        self._kinds: dict[tuple, tuple[float, int]] = {}  # when a kind's time began, and its lines since then

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether the line is logged; tasks that are cancelled are part of ending, and uvicorn says how many."""
        error = record.exc_info[0] if record.exc_info else None
        if error is asyncio.CancelledError:
            return False
        kind = (record.pathname, record.lineno, error)
        now = time.monotonic()
        began, lines = self._kinds.get(kind, (-LOG_SECONDS, 0))
        if now - began < LOG_SECONDS:
            self._kinds[kind] = began, lines + 1
            return lines < LOG_LINES
        if lines > LOG_LINES:
            record.msg, record.args = f"{record.getMessage()} ({lines - LOG_LINES:,} more before)", ()
        self._kinds[kind] = now, 1
        return True


class ConsoleLog(logging.Handler):
    """Writes lines as the console does."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record, and the traceback that belongs to it."""
        try:
            for line in self.format(record).splitlines():
                console.log(line)
        except OSError:  # nobody reads: that must not end the server
            self.handleError(record)


def _log_to_console() -> None:
    """Write warnings and errors of the server and of its loop as the console does.

    Not by `logging.config`, which closes every handler of the process, and so the streams of libraries' handlers.
    """
    handler = ConsoleLog()
    handler.addFilter(LogLimit())
    handler.setFormatter(logging.Formatter("%(levelname)s: %(message)s"))
    for name in ("uvicorn", "asyncio"):
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [handler], False
        logger.setLevel(logging.WARNING)
