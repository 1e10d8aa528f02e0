"""A server that really listens, for tests that need a socket."""

import json
import select
import socket
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import requests

from trainers.serving.connections import listen, make_server


@contextmanager
def listening(app: Any, host: str = "127.0.0.1", **options: Any) -> Iterator[int]:
    """The port on which an application answers while the block runs."""
    with listen(host, 0) as listener:
        server = make_server(app, 1, grace=1, **options)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        while not server.started:
            assert thread.is_alive()
            time.sleep(0.01)
        yield listener.getsockname()[1]
        server.should_exit = True
        thread.join(10)
        assert not thread.is_alive()


class Client(requests.Session):
    """Asks one server; paths are enough."""

    def __init__(self, port: int):
        super().__init__()
        self.port = port

    def request(self, method, url, *args, **kwargs):
        return super().request(method, urljoin(f"http://127.0.0.1:{self.port}/", url), *args, timeout=60, **kwargs)


def send(client: Client, path: str, query: str = "", **headers: str) -> requests.Response:
    """Asks for the genres of a file."""
    return client.post(f"/predict{query}", Path(path).read_bytes(), headers=headers)


def wait_for(client: Client, line: str) -> None:
    """Waits until the server's counters have a line."""
    deadline = time.monotonic() + 20
    while line not in client.get("/metrics").text:
        assert time.monotonic() < deadline, line
        time.sleep(0.02)


def upload(port: int, headers: str, parts: Iterable[bytes] = ()) -> tuple[int, dict]:
    """Sends a song part by part until the server answers; its status and its JSON."""
    with begin_upload(port, headers) as connection:
        for part in parts:
            if select.select([connection], [], [], 0)[0]:
                break
            connection.sendall(part)
        return read_answer(connection)


def connect(port: int, begin: bytes = b"", address: str = "127.0.0.1") -> socket.socket:
    """A connection from an address of this machine, all of 127.0.0.0/8, which begins with these bytes."""
    connection = socket.create_connection(("127.0.0.1", port), timeout=30, source_address=(address, 0))
    connection.sendall(begin)
    return connection


def is_closed(connection: socket.socket, seconds: float = 0) -> bool:
    """Whether the server closes a connection within some seconds; what it sent before is read."""
    deadline = time.monotonic() + seconds
    while select.select([connection], [], [], max(0, deadline - time.monotonic()))[0]:
        try:
            if not connection.recv(1 << 16):
                return True
        except ConnectionResetError:
            return True
    return False


def begin_upload(port: int, headers: str, address: str = "127.0.0.1") -> socket.socket:
    """A connection on which a song is on its way."""
    connection = connect(port, address=address)
    connection.sendall(f"POST /predict HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n\r\n".encode())
    return connection


def read_answer(connection: socket.socket) -> tuple[int, dict]:
    """The status and the JSON of the answer on a connection."""
    answer = b""
    while b"\r\n\r\n" not in answer or not answer.rstrip().endswith(b"}"):
        block = connection.recv(1 << 16)
        assert block, answer
        answer += block
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(body)
