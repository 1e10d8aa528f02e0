"""Tracks are decoded in a process of their own, so that one that hangs, crashes or eats memory costs itself alone.

libsndfile and the codecs below it are C code that reads whatever people upload; no Python thread can stop them. The
parent hands over a track, the child sends back its records, and a child that overruns its time or memory is killed and
replaced. One child serves a worker for as long as it behaves.
"""

import os
import pickle
import platform
import resource
import signal
import subprocess
import sys
import tempfile
import time
import traceback
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any, BinaryIO

from transforms.config import DatasetConfig
from transforms.errors import FmaError, TrackError, UnreachableError
from transforms.extract import TrackFacts, extract
from transforms.locate import open_track
from transforms.quiet import debugging
from transforms.records import frame
from transforms.schema import Record, digest, serialize
from transforms.tracks import Track

BLAS_THREADS = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
"""One for each track: work is spread over processes."""

SAME_KERNELS = {"OPENBLAS_CORETYPE": "Haswell"} if platform.machine() in ("x86_64", "AMD64") else {}
"""OpenBLAS picks its kernels by the CPU's name, and two of them round differently: a dataset's digest must not tell on
which machines it was made. These run on every x86-64 CPU that TensorFlow runs on."""

GRACE = 60.0
"""Seconds beyond its limit after which a track's process ends by itself."""

WriteFramed = Callable[[str, bytes, int], None]
"""Called with (kind, the record as it stands in a TFRecord file, its content digest)."""


class ProcessDiedError(TrackError):
    """The track's process ended under it."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What one track may cost.

    Attributes:
      seconds: of wall time.
      megabytes: of memory beyond what the program itself needs.
    """

    seconds: float = 600.0
    megabytes: int = 2048


class TrackProcess:
    """Runs `extract` in a child process.

    Args:
      config: the dataset's.
      limits: for each track.
    """

    def __init__(self, config: DatasetConfig, limits: Limits = Limits()):
        self._config, self._limits = config, limits
        self._process: subprocess.Popen | None = None

    def extract(self, track: Track, label: int, write: WriteFramed) -> tuple[TrackFacts, int]:
        """Hands every record of the track to `write`; returns its facts and the crc32 of its file.

        Raises:
          TrackError: with its reason; also timeout, out_of_memory and decoder_crashed.
          FmaError: a disk or a network failed, which is no fault of the track's.
          RuntimeError: the child met a programming error, whose traceback is in the message.
        """
        if self._process is None or self._process.poll() is not None:
            self._start()
        deadline = time.monotonic() + self._limits.seconds
        self._notes.seek(0)
        self._notes.truncate()
        try:
            self._connection.send((track, label))
            while True:
                if not self._connection.poll(max(0.0, deadline - time.monotonic())):
                    raise TrackError("timeout", f"not done within {self._limits.seconds:g} s")
                what, *rest = pickle.loads(self._connection.recv_bytes())
                if what == "record":
                    write(*rest)
                elif what == "done":
                    return rest[0], rest[1]
                elif what == "failed":
                    raise TrackError(*rest)
                elif what == "unreadable":
                    message, may_pass = rest
                    message = message if track.path in message else f"{track.locator}: {message}"
                    raise (UnreachableError if may_pass else FmaError)(message)
                else:
                    raise RuntimeError(rest[0])
        except (EOFError, BrokenPipeError, ConnectionResetError) as error:
            raise self._how_it_died() from error
        except BaseException as error:
            # Whatever the child was about to send belongs to this track: the next one gets a fresh child.
            if not isinstance(error, TrackError) or error.reason in ("timeout", "out_of_memory"):
                self.close()
            raise

    def close(self) -> None:
        """Ends the child."""
        if self._process is None:
            return
        self._process.kill()
        self._process.wait()
        self._connection.close()
        self._notes.close()
        self._process = None

    def _start(self) -> None:
        self.close()
        ours, theirs = _socket_pair()
        code = "from transforms.sandbox import serve; serve()"
        limits = str(self._limits.seconds + GRACE), str(self._limits.megabytes)
        arguments = [sys.executable, "-c", code, str(theirs), *limits]
        variables = BLAS_THREADS | SAME_KERNELS
        path = os.pathsep.join(entry for entry in sys.path if entry)
        environment = os.environ | variables | {"PYTHONPATH": path}
        # libmpg123 remarks on every damaged frame: such notes are kept for the case that the process dies of one.
        self._notes = tempfile.TemporaryFile()  # noqa: SIM115 - closed by close
        stderr = None if debugging() else self._notes
        self._process = subprocess.Popen(
            arguments, pass_fds=[theirs], env=environment, stdin=subprocess.DEVNULL, stderr=stderr
        )
        os.close(theirs)
        self._connection = Connection(ours)
        self._connection.send(self._config)

    def _how_it_died(self) -> ProcessDiedError:
        assert self._process is not None
        code = self._process.wait()
        self._notes.seek(0)
        lines = self._notes.read().decode(errors="replace").split("\n")
        last = next((f": {line.strip()[:200]}" for line in reversed(lines) if line.strip()), "")
        self.close()
        if code == -signal.SIGKILL:
            return ProcessDiedError("out_of_memory", "the system killed the decoder's process")
        name = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        return ProcessDiedError("decoder_crashed", f"the decoder's process ended by {name}{last}")


def _socket_pair() -> tuple[int, int]:
    import socket

    ours, theirs = socket.socketpair()
    for end in (ours, theirs):
        for option in (socket.SO_SNDBUF, socket.SO_RCVBUF):
            end.setsockopt(socket.SOL_SOCKET, option, 1 << 20)
    return ours.detach(), theirs.detach()


def serve() -> None:
    """The child's whole life: tracks in, records out, until the parent is gone."""
    connection = Connection(int(sys.argv[1]))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    config = connection.recv()
    seconds = float(sys.argv[2])
    _limit_memory(int(sys.argv[3]))
    while True:
        try:
            track, label = connection.recv()
        except (EOFError, ConnectionResetError):
            return
        # The parent ends a track that takes too long; where the parent is gone, this alarm ends the process.
        signal.setitimer(signal.ITIMER_REAL, seconds)
        try:
            _serve_track(connection, track, label, config)
        except (BrokenPipeError, ConnectionResetError):
            return
        signal.setitimer(signal.ITIMER_REAL, 0)


def _serve_track(connection: Connection, track: Track, label: int, config: DatasetConfig) -> None:
    def send(*message: Any) -> None:
        connection.send_bytes(pickle.dumps(message, protocol=5))

    def write(kind: str, record: Record) -> None:
        send("record", kind, frame(serialize(record)), digest(kind, record, track.split, track.genre))

    try:
        with open_track(track) as file:
            crc32 = checksum(file)
            facts = extract(track, file, label, config, write)
        send("done", facts, crc32)
    except TrackError as error:
        send("failed", error.reason, error.message)
    except MemoryError as error:
        send("failed", "out_of_memory", f"more than the limit for a track: {error}")
    except (BrokenPipeError, ConnectionResetError):
        raise
    except (OSError, zipfile.BadZipFile) as error:
        send("unreadable", str(error), isinstance(error, UnreachableError))
    except Exception:  # noqa: BLE001 - passed on to the parent, which raises it
        send("error", traceback.format_exc())


def checksum(file: BinaryIO) -> int:
    """crc32 of a file, as zips keep it; the file is at its beginning before and after."""
    crc32 = 0
    while block := file.read(1 << 20):
        crc32 = zlib.crc32(block, crc32)
    file.seek(0)
    return crc32


def _limit_memory(megabytes: int) -> None:
    """Bounds private memory on Linux, which counts anonymous maps towards RLIMIT_DATA; other systems go without."""
    if not os.path.exists("/proc/self/statm"):
        return
    with open("/proc/self/statm") as file:
        used = int(file.read().split()[5]) * resource.getpagesize()
    limit = used + (megabytes << 20)
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
