"""What clients can do to the server: send for ever, not read, trickle, come in crowds, fill the disk."""

import itertools
import socket
import threading
import time
from contextlib import suppress
from dataclasses import replace
from types import SimpleNamespace

import pytest

from tests.trainers.serving.live import Client, begin_upload, listening, read_answer, send, upload, wait_for
from trainers.serving import uploads
from trainers.serving.app import PLACES, create_app
from trainers.serving.shares import SHARE
from trainers.serving.uploads import UploadLimits

HALF = "Content-Length: 1000"
CHUNK = b"10000\r\n" + bytes(1 << 16) + b"\r\n"
ENDLESS = "Transfer-Encoding: chunked"


def send_until_cut_off(connection: socket.socket, seconds: float) -> float:
    """Sends a body without an end and never reads; the seconds until the server has closed."""
    began = time.monotonic()
    with suppress(BrokenPipeError, ConnectionResetError):
        while time.monotonic() - began < seconds:
            connection.sendall(CHUNK)
    return time.monotonic() - began


@pytest.mark.parametrize(
    "line",
    [
        "POST /predict",
        "POST /predict?nearest=many",
        "POST /nowhere",
        "PUT /predict",
        "GET /healthz",
        "POST /predict form",
    ],
)
def test_a_sender_that_does_not_look_at_its_answer_is_cut_off(service, line):
    method, path, *form = line.split()
    kind = "Content-Type: Multipart/Form-Data; boundary=x" if form else "Content-Type: audio/mpeg"
    with (
        listening(create_app(service)) as port,
        socket.create_connection(("127.0.0.1", port), timeout=10) as connection,
    ):
        connection.sendall(f"{method} {path} HTTP/1.1\r\nHost: localhost\r\n{kind}\r\n{ENDLESS}\r\n\r\n".encode())
        assert send_until_cut_off(connection, 20) < uploads.LINGER_SECONDS + 5


def test_a_sender_that_looks_has_its_answer_before_it_is_cut_off(service):
    with listening(create_app(service)) as port, begin_upload(port, ENDLESS) as connection:
        for _ in range((4 << 20 >> 16) + 1):
            connection.sendall(CHUNK)
        for _ in range(40):  # as a client does that looks up after a while
            connection.sendall(CHUNK)
        assert read_answer(connection)[1]["error"] == "too_large"


def test_a_connection_goes_on_where_the_body_was_read(service, music):
    with listening(create_app(service)) as port, Client(port) as client:
        assert "connection" not in send(client, music.tracks[0].path).headers
        assert client.post("/predict", b"words").status_code == 422
        assert "connection" not in client.get("/healthz").headers
        assert client.post("/predict", b"x", headers={"Content-Type": "MULTIPART/form-data"}).status_code == 415


@pytest.mark.parametrize(
    ("limits", "why"),
    [
        (UploadLimits(1 << 20, seconds=0.3), "within 0.3 s"),
        (UploadLimits(1 << 20, patience=0.3), "as fast as 8.0 KiB a second"),
    ],
)
def test_a_song_that_trickles_in_is_refused(service, limits, why):
    with listening(create_app(replace(service, limits=limits))) as port:
        status, problem = upload(port, HALF, [b"half"])
    assert (status, problem["error"]) == (408, "slow_upload")
    assert why in problem["message"]


def test_a_song_that_comes_fast_enough_has_all_of_its_time(service):
    limits = UploadLimits(1 << 20, seconds=2.0, patience=0.3)
    with (
        listening(create_app(replace(service, limits=limits))) as port,
        begin_upload(port, "Content-Length: 30000") as on,
    ):
        for _ in range(10):
            on.sendall(bytes(3000))
            time.sleep(0.12)
        assert read_answer(on)[1]["error"] == "corrupt_audio"


@pytest.fixture
def crowded(service):
    """A service whose songs take until they are let go, ten at once."""
    go = threading.Event()

    def predict(path):
        assert go.wait(60)
        return service.engine.predict(path)

    engine = SimpleNamespace(predict=predict, scorer=service.engine.scorer, tagger=None)
    yield replace(service, engine=engine, decoders=10), go
    go.set()


def test_songs_that_wait_do_not_keep_the_page_from_its_visitors(crowded, music):
    (service, go), song = crowded, music.tracks[0].path
    most = service.decoders * PLACES // SHARE  # of one address
    answers: list[int] = []
    with listening(create_app(service)) as port, Client(port) as client:

        def visit() -> None:
            with Client(port) as visitor:
                answers.append(send(visitor, song).status_code)

        visitors = [threading.Thread(target=visit) for _ in range(most)]
        for visitor in visitors:
            visitor.start()
        wait_for(client, f"fma_songs_inside {most}.0")
        began = time.monotonic()
        assert client.get("/page.css").status_code == 200
        assert client.head("/").status_code == client.head("/healthz").status_code == 200
        assert time.monotonic() - began < 5
        assert upload(port, HALF)[1]["error"] == "busy"  # before it is sent
        sent = begin_upload(port, HALF, "127.0.0.2")  # another address has a share of its own
        wait_for(client, "fma_songs_sent 1.0")
        sent.close()
        go.set()
        for visitor in visitors:
            visitor.join(60)
    assert answers == [200] * most


def test_a_disk_that_is_full_is_said_to_be(service, monkeypatch):
    def full(**_):
        return open("/dev/full", "wb", buffering=0)

    monkeypatch.setattr(uploads.tempfile, "NamedTemporaryFile", full)
    with listening(create_app(service)) as port:
        status, problem = upload(port, HALF, itertools.repeat(bytes(1000), 1))
    assert (status, problem["error"]) == (507, "disk_full")
