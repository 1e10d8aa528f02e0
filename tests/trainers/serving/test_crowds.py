"""More connections than there are places for, and clients that keep theirs without a use."""

import logging
import os
import resource
import socket
import time

import pytest

from tests.trainers.serving.live import (
    Client,
    begin_upload,
    connect,
    is_closed,
    listening,
    read_answer,
    send,
    wait_for,
)
from trainers.serving import connections
from trainers.serving.app import create_app
from trainers.serving.connections import LOG_LINES, LogLimit, count_connections
from transforms.errors import FmaError

HALF_A_HEADER = b"GET /healthz HTTP/1.1\r\nHost: local"
GET = b"GET /page.js HTTP/1.1\r\nHost: localhost\r\n\r\n"
HALF = "Content-Length: 1000"


@pytest.fixture
def eight(monkeypatch):
    """Servers have at most eight connections."""
    monkeypatch.setattr(connections, "count_connections", lambda _: (8, 16))


@pytest.mark.parametrize("begin", [b"", HALF_A_HEADER, GET + HALF_A_HEADER], ids=["nothing", "half", "second"])
def test_a_header_that_does_not_end_is_cut_off(service, monkeypatch, begin):
    monkeypatch.setattr(connections, "HEADER_SECONDS", 0.5)
    with listening(create_app(service)) as port, connect(port, begin) as connection:
        began = time.monotonic()
        while not is_closed(connection, 0.1):  # each byte is a sign of life
            connection.sendall(b"x" * bool(begin))
            assert time.monotonic() - began < 8
        with Client(port) as client:
            assert 'fma_connections_closed_total{reason="slow_header"} 1.0' in client.get("/metrics").text


def test_a_connection_that_is_used_again_and_again_stays(service, monkeypatch):
    monkeypatch.setattr(connections, "HEADER_SECONDS", 1.0)
    with listening(create_app(service)) as port, connect(port) as connection:
        for _ in range(15):
            connection.sendall(HALF_A_HEADER)
            time.sleep(0.2)
            connection.sendall(b"host\r\n\r\n")
            assert read_answer(connection) == (200, {"status": "ok"})


def test_a_client_that_does_not_read_its_answers_is_cut_off(service, monkeypatch):
    monkeypatch.setattr(connections, "ANSWER_SECONDS", 0.5)
    with listening(create_app(service)) as port, Client(port) as client, connect(port) as connection:
        connection.settimeout(0.2)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        try:
            while True:
                connection.sendall(GET * 100)  # until the buffers of both sides are full
        except TimeoutError:
            pass
        wait_for(client, 'fma_connections_closed_total{reason="answer_not_read"} 1.0')


def test_half_headers_keep_nobody_out(service, music, eight):
    with listening(create_app(service)) as port:
        crowd = [connect(port, HALF_A_HEADER) for _ in range(30)]
        with Client(port) as client:
            assert send(client, music.tracks[0].path).status_code == 200
            assert 'reason="too_many"} 23.0' in client.get("/metrics").text
        assert [is_closed(connection, 1) for connection in crowd[:23]] == [True] * 23  # the oldest
        assert not any(is_closed(connection) for connection in crowd[23:])


def test_the_address_with_most_connections_gives_its_own(service, eight):
    with listening(create_app(service)) as port:
        first = connect(port, HALF_A_HEADER, "127.0.0.3")
        time.sleep(0.05)
        crowd = [connect(port, HALF_A_HEADER, "127.0.0.2") for _ in range(30)]
        assert is_closed(crowd[0], 5)
        first.sendall(b"host\r\n\r\n")
        assert read_answer(first)[0] == 200


def test_a_connection_beyond_those_that_work_is_told_to_come_again(service, eight):
    with listening(create_app(service)) as port, Client(port) as client:
        crowd = [begin_upload(port, HALF, "127.0.0.2") for _ in range(7)]
        wait_for(client, "fma_songs_sent 7.0")
        with connect(port, address="127.0.0.2") as refused:
            assert read_answer(refused) == (
                503,
                {"error": "busy", "message": "too many connections: try again in a moment"},
            )
            assert is_closed(refused, 1)
        for connection in crowd:
            connection.close()


def test_a_slow_song_gives_its_connection_when_there_are_too_many(service, eight, monkeypatch):
    monkeypatch.setattr(connections, "PATIENCE", 0.3)
    with listening(create_app(service)) as port, Client(port) as client:
        crowd = [begin_upload(port, "Content-Length: 100000") for _ in range(7)]
        wait_for(client, "fma_songs_sent 7.0")
        crowd.append(begin_upload(port, "Content-Length: 100000"))  # instead of the client, which waits
        for i, connection in enumerate(crowd):
            connection.sendall(bytes(1000 * (9 - i)))
        time.sleep(0.5)
        with connect(port, GET) as another:
            assert another.recv(12) == b"HTTP/1.1 200"
        assert [is_closed(connection, 0.2) for connection in crowd] == [False] * 7 + [True]
        for connection in crowd:
            connection.close()


def test_open_files_suffice_for_every_connection_and_its_song(monkeypatch):
    open_now = len(os.listdir("/dev/fd"))  # other tests keep servers and decoders

    def allow(files):
        monkeypatch.setattr(resource, "getrlimit", lambda _: (files, files))
        return count_connections(2)

    assert allow(240 + open_now)[0] >= 32
    for files in (190, 240, 1024, 5000):
        most, backlog = allow(files + open_now)
        assert 2 * most + 4 * (backlog + 1) + 48 + 2 * 6 <= files
    assert allow(20_000) == allow(resource.RLIM_INFINITY) == (500, 128)
    with pytest.raises(FmaError, match=r"only 64 files may be open, and serving needs \d+: raise it with ulimit -n"):
        allow(64)


def test_requests_that_are_not_http_are_counted(service):
    with listening(create_app(service)) as port, Client(port) as client:
        for _ in range(3):
            with connect(port, b"\x16\x03\x01\x00\xa5\x01\r\n\r\n") as connection:
                assert is_closed(connection, 5)
        assert 'fma_http_requests_total{path="other",status="400"} 3.0' in client.get("/metrics").text


def test_a_log_says_how_many_lines_it_left_out(monkeypatch, caplog):
    logger, limit = logging.getLogger("fma.test"), LogLimit()
    logger.addFilter(limit)
    logger.setLevel(logging.WARNING)  # whatever commands of other tests have set for all loggers
    try:
        for seconds in (60.0, 0.0):
            monkeypatch.setattr(connections, "LOG_SECONDS", seconds)
            for i in range(100 if seconds else 1):
                logger.warning("peer %d", i)
            logger.warning("another kind")
    finally:
        logger.removeFilter(limit)
    lines = [record.getMessage() for record in caplog.records]
    first = [f"peer {i}" for i in range(LOG_LINES)]
    assert lines == [*first, "another kind", "peer 0 (95 more before)", "another kind"]


def test_a_server_leaves_the_handlers_of_other_logs_open(service):
    class Handler(logging.StreamHandler):
        closed = False

        def close(self):
            self.closed = True
            super().close()

    handler = Handler()
    with listening(create_app(service)):
        assert not handler.closed
    handler.close()
