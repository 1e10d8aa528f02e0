"""The program of the decoder's process, which `transforms.audio.decoder_process` starts: tracks in, records out."""

import os
import pickle
import resource
import sys
import traceback
import zipfile
from multiprocessing.connection import Connection
from typing import Any

from transforms.audio.extract import GenreIds, extract
from transforms.catalog.locate import checksum, open_track
from transforms.config import DatasetConfig
from transforms.errors import TrackError, UnreachableError
from transforms.records import Record, digest, frame, serialize
from transforms.runtime import children
from transforms.tracks import Track

TOGETHER = 1 << 20  # bytes of records in a message, about: waking the parent costs more than copying a record


def serve() -> None:
    """Extract the records of tracks, until the parent is gone."""
    connection = children.connection()
    config, longest = connection.recv()
    _limit_memory(int(sys.argv[2]))
    while True:
        try:
            track, ids = connection.recv()
        except (EOFError, ConnectionResetError):
            return
        try:
            _serve_track(connection, track, ids, config, longest)
        except (BrokenPipeError, ConnectionResetError):
            return


def _serve_track(
    connection: Connection, track: Track, ids: GenreIds, config: DatasetConfig, longest: float | None
) -> None:
    def send(*message: Any) -> None:
        connection.send_bytes(pickle.dumps(message, protocol=5))

    held: list[tuple[str, bytes, int]] = []
    size = 0

    def write(kind: str, record: Record) -> None:
        nonlocal size
        framed = frame(serialize(record))
        held.append((kind, framed, digest(kind, record, track.split, track.genre, track.genres)))
        size += len(framed)
        if size >= TOGETHER:
            send("records", held)
            held.clear()
            size = 0

    def restart() -> None:
        nonlocal size
        held.clear()
        size = 0
        send("restart")

    try:
        with open_track(track) as file:
            crc32 = checksum(file)
            facts = extract(track, file, ids, config, write, restart=restart, longest=longest)
        send("done", held, facts, crc32)
    except TrackError as error:
        send("failed", error.reason, error.message)
    except MemoryError as error:
        send("failed", "out_of_memory", f"more than the limit for a track ({error})")
    except (BrokenPipeError, ConnectionResetError):
        raise
    except (OSError, zipfile.BadZipFile) as error:
        send("unreadable", str(error), isinstance(error, UnreachableError))
    except Exception:  # noqa: BLE001 - passed on to the parent, which raises it
        send("error", traceback.format_exc())


def _limit_memory(megabytes: int) -> None:
    """Limit private memory, on Linux, where anonymous maps count towards RLIMIT_DATA."""
    if not os.path.exists("/proc/self/statm"):
        return
    with open("/proc/self/statm") as file:
        used = int(file.read().split()[5]) * resource.getpagesize()
    limit = used + (megabytes << 20)
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
