"""Which requests are answered: by Host, by Origin, and /metrics at a port of its own."""

import threading

import pytest
import requests

import fma
from tests.trainers.serving.live import Client, connect, listening, read_answer, send
from trainers.serving.access import Access
from trainers.serving.app import create_app
from trainers.serving.connections import listen, make_server
from transforms.errors import UsageError

ALLOWED = ("Music.example.com", "[2001:db8::7]")


@pytest.fixture(scope="module")
def client(service):
    with listening(create_app(service, Access.of("127.0.0.1", ALLOWED))) as port, Client(port) as client:
        yield client


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST:8000", "127.0.0.1", "[::1]:80", "music.example.com:443", "[2001:db8::7]"]
)
def test_requests_that_name_the_server_are_answered(client, host):
    assert client.get("/model", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    "host",
    [
        *(
            "evil.example",
            "evil.example:8000",
            "127.0.0.1.evil.example",
            "127.0.0.2",
            "localhost.evil",
            "[::2]",
            "[::1",
        ),
        *("example.com", "x@evil.example", "localhost@evil.example", "", ":8000"),
    ],
)
def test_requests_that_name_another_are_not(client, host):
    for path in ("/", "/model", "/metrics", "/openapi.json", "/nowhere"):
        answer = client.get(path, headers={"Host": host})
        assert (answer.status_code, answer.json()["error"]) == (421, "wrong_host")
        assert "--allow-host NAME" in answer.json()["message"]
    assert client.post("/predict", b"x", headers={"Host": host}).status_code == 421
    assert client.get("/healthz", headers={"Host": host}).status_code == 200  # of load balancers, by any name


def test_the_address_that_a_request_came_to_is_the_servers_name(service):
    app = create_app(service, Access.of("0.0.0.0", ()))
    with listening(app, host="0.0.0.0") as port:
        for host, status in (("127.0.0.2", 200), ("127.0.0.3", 421)):
            answer = requests.get(f"http://127.0.0.2:{port}/model", headers={"Host": host}, timeout=30)
            assert answer.status_code == status


def test_programs_without_a_host_are_answered(client):
    with connect(client.port, b"GET /model HTTP/1.0\r\n\r\n") as connection:
        assert read_answer(connection)[0] == 200


def test_only_the_servers_own_pages_may_use_it(client, music):
    song, own = music.tracks[0].path, f"127.0.0.1:{client.port}"
    for origin in (f"http://{own}", f"https://{own}", "https://music.example.com", "https://music.example.com:8443"):
        assert client.get("/model", headers={"Origin": origin}).status_code == 200
    assert send(client, song, Origin=f"http://{own}").status_code == 200
    foreign = (
        "http://evil.example",
        "null",
        "",
        "http://127.0.0.1:1",
        "http://localhost",
        f"http://evil.example, {own}",
    )
    for origin in foreign:
        for answer in (client.get("/model", headers={"Origin": origin}), send(client, song, Origin=origin)):
            assert (answer.status_code, answer.json()["error"]) == (403, "wrong_origin")


@pytest.mark.parametrize("name", ["http://music.example.com", "music.example.com:8000", "a b", "", "*", "[::1"])
def test_names_that_are_none_are_refused(name, capsys):
    with pytest.raises(UsageError, match="give a name or an address"):
        Access.of("127.0.0.1", [name])
    assert fma.main(["serve", "nowhere", "--port", "0", "--allow-host", name]) == 2
    assert "--allow-host" in capsys.readouterr().err


def test_proxies_that_are_no_addresses_are_refused(capsys):
    assert fma.main(["serve", "nowhere", "--port", "0", "--trust-proxy", "10.0.0.1/8"]) == 2
    assert "--trust-proxy 10.0.0.1/8: give an address or a network" in capsys.readouterr().err


def test_other_machines_see_metrics_at_a_port_of_their_own_or_not_at_all(service):
    with listening(create_app(service, Access.of("0.0.0.0", ()))) as port, Client(port) as client:
        assert client.get("/metrics").status_code == 404
        assert "/metrics" not in client.get("/openapi.json").json()["paths"]


def test_a_metrics_port_has_metrics_and_no_more(service):
    with listen("127.0.0.1", 0) as page, listen("127.0.0.1", 0) as metrics:
        ports = [listener.getsockname()[1] for listener in (page, metrics)]
        server = make_server(create_app(service, Access.of("127.0.0.1", (), ports[1])), 1, grace=1)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [page, metrics]}, daemon=True)
        thread.start()
        paths = ("/metrics", "/healthz", "/model", "/", "/predict")
        found = []
        for port in ports:
            with Client(port) as client:
                found.append([client.get(path).status_code for path in paths])
                assert client.get("/metrics", headers={"Host": "evil.example"}).status_code in (404, 421)
        server.should_exit = True
        thread.join(10)
    assert found == [[404, 200, 200, 200, 405], [200, 200, 404, 404, 404]]
