"""Several hosts that train one model: how their processes find each other, what they tell each other, and how they end.

Each host runs the same command. Process 0 leads: it alone reads and writes the run directory, and sends the others what
they need of it. Every process reads its own share of the records (`trainers.data.portions`), and the steps are one
program over the devices of all. Each of the others holds a connection to process 0; it ends with its process, however
that ends, and so do all others then: a step would wait for the lost one for ever.

JAX's own service has no time limit that a program could handle: it aborts the process, with a stack trace.
"""

import atexit
import io
import json
import math
import os
import queue
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import numpy as np

from trainers.data.portions import Share
from transforms.errors import FmaError
from transforms.runtime import console

CONNECT_SECONDS = 300.0
"""How long a process waits for the others: virtual machines do not start at the same moment."""

NOTICE_SECONDS = 15.0  # for the thread that notices a lost process, on a busy machine
LEAVE_SECONDS = 5.0  # for the others to end their connections, too
SILENCE = 60  # seconds without a sign of a machine after which its connection counts as lost

_FRAME = struct.Struct("!cQ")  # kind, and bytes that follow
DATA, FAILED, DONE = b"D", b"F", b"B"
_HELLO = "fma-genres"


@dataclass(frozen=True, slots=True)
class Membership:
    """A process's place in a cluster."""

    coordinator: str  # HOST:PORT of process 0
    processes: int
    process: int


class Cluster:
    """The processes that train together; this one is alone."""

    share = Share(0, 1)  # of the records, for this process

    @property
    def process(self) -> int:
        """This process's number, counted from 0."""
        return self.share.process

    @property
    def processes(self) -> int:
        """How many there are."""
        return self.share.processes

    @property
    def leads(self) -> bool:
        """Whether this process reads and writes the run directory."""
        return self.process == 0

    def broadcast(self, make: Callable[[], bytes]) -> bytes:
        """Return what process 0 makes; the others wait for it. All call it at the same point."""
        return make()

    def gather(self, data: bytes) -> list[bytes]:
        """Return the data of every process, in order; each waits for all others. All call it at the same point."""
        return [data]

    def jax_address(self) -> str:
        """Return HOST:PORT for JAX's own service; all call it at the same point."""
        raise NotImplementedError("a single process needs none")

    def broadcast_json(self, make: Callable[[], Any]) -> Any:
        """As `broadcast`, for plain values."""
        return json.loads(self.broadcast(lambda: json.dumps(make()).encode()))

    def broadcast_arrays(self, make: Callable[[], Sequence[np.ndarray]]) -> list[np.ndarray]:
        """As `broadcast`, for arrays."""
        return list(make()) if self.processes == 1 else _unpack(self.broadcast(lambda: _pack(make())))

    def gather_rows(self, array: np.ndarray) -> np.ndarray:
        """Return the rows of every process's array, one process after the other."""
        if self.processes == 1:
            return array
        return np.concatenate([_unpack(part)[0] for part in self.gather(_pack([array]))])

    def wait(self) -> None:
        """Return when all have come to this point."""
        self.gather(b"")


ALONE = Cluster()


def _pack(arrays: Sequence[np.ndarray]) -> bytes:
    packed = io.BytesIO()
    np.savez(packed, *arrays)
    return packed.getvalue()


def _unpack(data: bytes) -> list[np.ndarray]:
    with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
        return [arrays[f"arr_{i}"] for i in range(len(arrays.files))]


@contextmanager
def join(member: Membership | None, seconds: float = CONNECT_SECONDS) -> Iterator[Cluster]:
    """Connect to the other processes of a cluster, for the block; without a membership, the process is alone.

    Where a process fails or is killed before all have left the block, each of the others writes one line and exits with
    code 1, whatever it is doing.

    Raises:
      FmaError: not all processes have come after so many seconds.
    """
    if member is None or member.processes == 1:
        yield ALONE
        return
    cluster = _Connected(member, _connect(member, time.monotonic() + seconds, seconds))
    try:
        yield cluster
    except BaseException as error:
        cluster.fail(error)
        raise
    cluster.leave()


def _connect(member: Membership, deadline: float, seconds: float) -> dict[int, socket.socket]:
    """Return the connections to other processes, by their numbers: of process 0 to all, of the others to process 0."""
    host, _, port = member.coordinator.rpartition(":")
    return (_listen if member.process == 0 else _call)(member, host.strip("[]"), int(port), deadline, seconds)


def _listen(member: Membership, host: str, port: int, deadline: float, seconds: float) -> dict[int, socket.socket]:
    found: dict[int, socket.socket] = {}
    try:
        server = socket.create_server(("", port))
    except OSError as error:
        raise FmaError(
            f"--coordinator {member.coordinator}: port {port} cannot be used here ({error.strerror})"
        ) from error
    with server:
        while len(found) < member.processes - 1:
            server.settimeout(max(0.01, deadline - time.monotonic()))
            try:
                connection, _ = server.accept()
                connection.settimeout(10)
                process = _read_hello(connection, member)
            except TimeoutError as error:
                if time.monotonic() < deadline:
                    continue
                missing = [str(i) for i in range(1, member.processes) if i not in found]
                raise FmaError(
                    f"process {', '.join(missing)} of {member.processes} has not come to {member.coordinator} in "
                    f"{console.human_seconds(seconds)}: start the same command on every host, each with its --process"
                ) from error
            if process is not None and process not in found:
                found[process] = connection
            else:
                connection.close()
    for connection in found.values():
        _send(connection, DATA)
    return found


def _read_hello(connection: socket.socket, member: Membership) -> int | None:
    """Return the number of the process that has called, None for a caller that is not of this cluster."""
    with suppress(ConnectionError, ValueError):
        greeting, processes, process = json.loads(_receive(connection, most=1000)[1])
        if greeting == _HELLO and processes == member.processes and 0 < process < processes:
            return process
    return None


def _call(member: Membership, host: str, port: int, deadline: float, seconds: float) -> dict[int, socket.socket]:
    reason = "no answer"
    while time.monotonic() < deadline:
        with suppress(TimeoutError, ConnectionError):
            try:
                connection = socket.create_connection((host, port), timeout=max(0.1, deadline - time.monotonic()))
            except OSError as error:  # not there yet, or its name is not
                reason = error.strerror or str(error)
                time.sleep(min(0.2, max(0, deadline - time.monotonic())))
                continue
            _send(connection, DATA, json.dumps([_HELLO, member.processes, member.process]).encode())
            _receive(connection)  # when all have come
            return {0: connection}
        reason = "it is not of this cluster, or waits for other processes"
        time.sleep(min(0.2, max(0, deadline - time.monotonic())))
    raise FmaError(
        f"process 0 did not answer at {member.coordinator} in {console.human_seconds(seconds)} ({reason}): start the "
        "same command on every host, each with its --process"
    )


def _send(connection: socket.socket, kind: bytes, data: bytes = b"") -> None:
    connection.sendall(_FRAME.pack(kind, len(data)))
    connection.sendall(data)


def _receive(connection: socket.socket, most: float = math.inf) -> tuple[bytes, bytes]:
    kind, size = _FRAME.unpack(_read(connection, _FRAME.size))
    if size > most:
        raise ConnectionError("not of this program")
    return kind, bytes(_read(connection, size))


def _read(connection: socket.socket, size: int) -> bytearray:
    data = bytearray(size)
    view, done = memoryview(data), 0
    while done < size:
        count = connection.recv_into(view[done:])
        if not count:
            raise ConnectionError("closed")
        done += count
    return data


class _Connected(Cluster):
    """One of several connected processes; a thread for each connection receives, and ends the process where it must."""

    def __init__(self, member: Membership, connections: dict[int, socket.socket]):
        self.share = Share(member.process, member.processes)
        self._host = member.coordinator.rpartition(":")[0]
        self._connections, self._left = connections, set[int]()
        self._received: dict[int, queue.SimpleQueue[bytes]] = {other: queue.SimpleQueue() for other in connections}
        self._ending, self._lost, self._failed = threading.Lock(), threading.Event(), False
        self._closed, self._has_jax = {other: threading.Event() for other in connections}, False
        self._threads = []
        for other, connection in connections.items():
            _notice_silence(connection)
            self._threads.append(threading.Thread(target=self._listen_to, args=(other, connection), daemon=True))
            self._threads[-1].start()

    def broadcast(self, make: Callable[[], bytes]) -> bytes:
        if not self.leads:
            return self._received[0].get()
        data = make()
        for other in self._connections:
            self._send(other, data)
        return data

    def gather(self, data: bytes) -> list[bytes]:
        if not self.leads:
            self._send(0, data)
            return [self._received[0].get() for _ in range(self.processes)]
        parts = [data] + [self._received[other].get() for other in range(1, self.processes)]
        for other in self._connections:
            for part in parts:
                self._send(other, part)
        return parts

    def jax_address(self) -> str:
        def free_port() -> int:
            with socket.create_server(("", 0)) as server:
                return server.getsockname()[1]

        self._has_jax = True
        return f"{self._host}:{self.broadcast_json(free_port)}"

    def leave(self) -> None:
        """Let the others know that this process has done its part; return when all have."""
        self.wait()
        for connection in self._connections.values():
            with suppress(OSError):
                _send(connection, DONE)
                connection.shutdown(socket.SHUT_WR)
        for thread in self._threads:  # a process that ends with data unread resets the connection, as if it were lost
            thread.join(LEAVE_SECONDS)

    def fail(self, error: BaseException) -> None:
        """Let the others know that this process ends with an error, and end them."""
        # Where another process is lost, a step fails in some library's words; the thread that sees it says why and
        # ends this process.
        if not isinstance(error, FmaError | KeyboardInterrupt) and self._lost.wait(NOTICE_SECONDS):
            threading.Event().wait()
        with self._ending:
            self._failed = True
            self._tell(f"process {self.process} has failed: {str(error) or type(error).__name__}")
        if self._has_jax:  # which would wait for the others at the end of Python, and abort
            atexit.register(self._exit, getattr(error, "exit_code", 1))

    def _send(self, other: int, data: bytes) -> None:
        try:
            _send(self._connections[other], DATA, data)
        except OSError:
            self._lost.wait()  # the thread that reads from there ends this process

    def _listen_to(self, other: int, connection: socket.socket) -> None:
        while True:
            try:
                kind, data = _receive(connection)
            except OSError:
                self._closed[other].set()
                if other not in self._left:
                    self._end(f"process {other} has ended or cannot be reached any more")
                return
            if kind == FAILED:
                threading.Thread(target=self._end, args=(data.decode(),), daemon=True).start()
            elif kind == DONE:
                self._left.add(other)
            else:
                self._received[other].put(data)

    def _end(self, reason: str) -> None:
        """End this process where another one is lost; the main thread may be waiting for that for ever."""
        self._lost.set()
        with self._ending:
            if self._failed:  # itself, and says why
                return
            if self.leads:
                self._tell(reason)
            console.log_error(f"fma: error: {reason}; process {self.process} ends with it")
            self._exit(1)

    def _exit(self, code: int) -> None:
        deadline = time.monotonic() + LEAVE_SECONDS
        for closed in self._closed.values() if self.leads else ():  # JAX aborts those that miss process 0
            closed.wait(max(0, deadline - time.monotonic()))
        os._exit(code)

    def _tell(self, reason: str) -> None:
        for connection in self._connections.values():
            with suppress(OSError):
                _send(connection, FAILED, reason.encode())


def _notice_silence(connection: socket.socket) -> None:
    """Let a connection fail where the other machine is gone, without a word."""
    connection.settimeout(None)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (("TCP_KEEPIDLE", SILENCE // 2), ("TCP_KEEPINTVL", SILENCE // 6), ("TCP_KEEPCNT", 3)):
        if hasattr(socket, name):  # not on every system
            connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
