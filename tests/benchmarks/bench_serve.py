"""A bounded load on a server that runs: `python -m tests.benchmarks.bench_serve http://127.0.0.1:8000/ song.mp3`.

Clients send one song after the other, each as soon as the one before is answered; songs that are told to come again
(503) are sent again, and counted. One table line for each number of clients.
"""

import argparse
import itertools
import statistics
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urljoin

import requests

from transforms.runtime import console


@dataclass
class Load:
    """What some clients met with.

    Attributes:
      seconds: of each song, from sending it to its answer.
      wall_s: of the whole.
      busy: answers 503.
      failed: answers that are neither that nor 200.
    """

    seconds: list[float] = field(default_factory=list)
    wall_s: float = 0.0
    busy: int = 0
    failed: int = 0


def load(address: str, songs: list[bytes], clients: int, count: int) -> Load:
    """Sends so many songs, taking turns over the files, from so many clients at once."""
    found, lock = Load(), threading.Lock()
    work: Iterator[bytes] = itertools.islice(itertools.cycle(songs), count)

    def client() -> None:
        with requests.Session() as session:
            while True:
                with lock:
                    song = next(work, None)
                if song is None:
                    return
                _send(session, address, song, found, lock)

    threads = [threading.Thread(target=client) for _ in range(clients)]
    began = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found.wall_s = time.monotonic() - began
    return found


def _send(session: requests.Session, address: str, song: bytes, found: Load, lock: threading.Lock) -> None:
    began = time.monotonic()
    while True:
        status = session.post(urljoin(address, "predict"), song, timeout=120).status_code
        with lock:
            if status == 200:
                found.seconds.append(time.monotonic() - began)
                return
            if status != 503:
                found.failed += 1
                return
            found.busy += 1
        time.sleep(0.2)


def main() -> int:
    """Runs the command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("address")
    parser.add_argument("songs", nargs="+", type=Path, metavar="SONG")
    parser.add_argument("--clients", default="1,2,4,8", help="default 1,2,4,8")
    parser.add_argument("--count", type=int, default=100, help="songs for each number of clients; default 100")
    args = parser.parse_args()
    songs = [path.read_bytes() for path in args.songs]
    load(args.address, songs, 1, 3)
    rows, failed = [], 0
    for clients in map(int, args.clients.split(",")):
        found = load(args.address, songs, clients, args.count)
        failed += found.failed
        if len(found.seconds) < 2:
            raise SystemExit(f"{found.failed} of {args.count} songs had no answer: nothing to measure")
        middle = 1000 * statistics.median(found.seconds)
        slow = 1000 * statistics.quantiles(found.seconds, n=20)[-1]
        rate = len(found.seconds) / found.wall_s
        rows.append((clients, len(found.seconds), rate, round(middle), round(slow), found.busy, found.failed))
    columns = ("clients", "songs", "songs/s", "median ms", "95% within ms", "told to come again", "failed")
    console.table("load", columns, rows)
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
