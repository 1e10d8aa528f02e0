"""What clients share, and that no address keeps the others out."""

import asyncio
import http.client
import json
import select
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import encoded
from tests.trainers.serving.live import Client, begin_upload, listening, read_answer, send, wait_for
from trainers.serving.app import ON_DISK, create_app
from trainers.serving.problems import RefusedError
from trainers.serving.shares import SHARE, Shares, Turns, client_address
from trainers.serving.uploads import UploadLimits


def test_an_address_has_its_share_and_no_more():
    shares = Shares(8)
    shares.take("a", 2)
    for address, amount in (("a", 1), ("b", 3)):
        with pytest.raises(RefusedError, match="503 busy"):
            shares.take(address, amount)
    for address in "bcd":
        shares.take(address, 2)
    with pytest.raises(RefusedError, match="503 busy"):
        shares.check("e")
    shares.give_back("b", 2)
    with shares.one("e"):
        shares.check("e")


def test_clients_count_by_address_and_by_network_of_ipv6():
    assert client_address(("192.0.2.1", 5)) == client_address(("::ffff:192.0.2.1", 6)) == "192.0.2.1"
    assert client_address(("2001:db8::1", 5)) == client_address(("2001:db8::ffff:2", 5)) == "2001:db8::/64"
    assert client_address(("2001:db8:0:1::1", 5)) == "2001:db8:0:1::/64"
    assert client_address(("fe80::1%eth0", 5)) == "fe80::/64"
    assert client_address(("a name", 5)) == "a name"
    assert client_address(None) == ""


def test_addresses_take_turns():
    order = []

    async def run():
        turns = Turns(1)

        async def song(address, number):
            async with turns.take(address):
                order.append(f"{address}{number}")
                await asyncio.sleep(0)

        songs = [asyncio.create_task(song("a", i)) for i in range(5)]
        await asyncio.sleep(0)
        songs += [asyncio.create_task(song(address, i)) for i in range(2) for address in "bc"]
        gone = asyncio.create_task(song("d", 0))
        await asyncio.sleep(0)
        gone.cancel()
        await asyncio.gather(*songs, gone, return_exceptions=True)
        async with asyncio.timeout(1), turns.take("a"):
            pass

    asyncio.run(run())
    assert order == ["a0", "a1", "a2", "b0", "c0", "a3", "b1", "c1", "a4"]


def test_ten_clients_that_send_twenty_minutes_of_silence_keep_nobody_out(service, music):
    long = encoded(np.zeros(1200 * 8_000, np.float32), 8_000, "FLAC").getvalue()
    assert len(long) < 1 << 15
    stop, found = threading.Event(), set()
    with listening(create_app(service)) as port:

        def loop() -> None:
            with Client(port) as client:
                while not stop.is_set():
                    answer = client.post("/predict", long)
                    found.add((answer.status_code, answer.json()["error"], answer.json()["message"]))

        threads = [threading.Thread(target=loop) for _ in range(10)]
        for thread in threads:
            thread.start()
        honest = [from_another_address(port, Path(track.path).read_bytes()) for track in music.tracks[:3]]
        stop.set()
        for thread in threads:
            thread.join(60)
    assert [status for status, _ in honest] == [200] * 3
    assert (422, "too_long", "20 min 0 s or more, and the limit is 10 min 0 s") in found
    assert {error for _, error, _ in found} <= {"too_long", "busy"}


def test_slow_senders_keep_nobody_out(service, music):
    with listening(create_app(service)) as port, Client(port) as client:
        crowd = [begin_upload(port, "Content-Length: 500000") for _ in range(64)]
        wait_for(client, "fma_songs_sent 64.0")
        for track in music.tracks[:3]:
            for connection in crowd:
                connection.sendall(bytes(1000))
            assert send(client, track.path).status_code == 200
        assert "fma_songs_inside 0.0" in client.get("/metrics").text
        for connection in crowd:
            connection.close()


def test_uploads_share_the_disk(service, music):
    limits = UploadLimits(1 << 18)
    share = service.decoders * ON_DISK * limits.most_bytes // SHARE
    with listening(create_app(replace(service, limits=limits))) as port, Client(port) as client:
        count = share // 250_000
        crowd = [begin_upload(port, "Content-Length: 262144") for _ in range(count)]
        for connection in crowd:
            connection.sendall(bytes(250_000))
        crowd.append(begin_upload(port, "Content-Length: 262144"))
        crowd[-1].sendall(bytes(250_000))
        (refused, *_), _, _ = select.select(crowd, [], [], 20)
        assert read_answer(refused)[1]["error"] == "busy"
        assert from_another_address(port, Path(music.tracks[0].path).read_bytes())[0] == 200
        for connection in crowd:
            connection.close()
        wait_for(client, "fma_songs_sent 0.0")
        assert send(client, music.tracks[0].path).status_code == 200


@pytest.mark.parametrize(("proxies", "status"), [((), 503), (("127.0.0.1",), 200), (("127.0.0.0/8",), 200)])
def test_only_a_trusted_proxy_says_who_the_client_is(service, music, proxies, status):
    small = replace(service, limits=UploadLimits(1 << 18))
    share = small.decoders * ON_DISK * small.limits.most_bytes // SHARE
    with listening(create_app(small), proxies=proxies) as port, Client(port) as client:
        first = "X-Forwarded-For: 198.51.100.9, 192.0.2.1\r\nContent-Length: 262144"  # what a client wrote comes first
        crowd = [begin_upload(port, first) for _ in range(share // 262_144)]
        for connection in crowd:
            connection.sendall(bytes(262_143))
        wait_for(client, f"fma_songs_sent {len(crowd)}.0")
        time.sleep(0.5)
        path = music.tracks[0].path
        assert send(client, path, **{"X-Forwarded-For": "192.0.2.2"}).status_code == status
        assert send(client, path, **{"X-Forwarded-For": "198.51.100.9, 192.0.2.1"}).status_code == 503
        for connection in crowd:
            connection.close()


def from_another_address(port: int, song: bytes) -> tuple[int, dict]:
    """The status and the JSON for a song that comes from 127.0.0.9."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60, source_address=("127.0.0.9", 0))
    connection.request("POST", "/predict", song)
    with connection.getresponse() as answer:
        return answer.status, json.loads(answer.read())
