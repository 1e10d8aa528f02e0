"""The decoder's process: a track that hangs, crashes or takes too much memory fails alone.

libsndfile and the codecs below it are C code that reads untrusted files, and no Python thread can stop them. The parent
sends a track, the child returns its records; a child that exceeds its time or memory is killed and replaced. One child
serves a worker for any number of tracks.
"""

import pickle
import platform
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from transforms.config import DatasetConfig
from transforms.errors import CONVERT, FmaError, TrackError, UnreachableError
from transforms.runtime import children
from transforms.runtime.stderr import debugging
from transforms.tracks import Track, TrackFacts

if TYPE_CHECKING:
    from transforms.audio.extract import GenreIds

BLAS_THREADS = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")  # a process a core

SAME_KERNELS = {"OPENBLAS_CORETYPE": "Haswell"} if platform.machine() in ("x86_64", "AMD64") else {}
"""OpenBLAS picks its kernels by the CPU, and they round differently: a dataset's digest must not depend on the machine.
These run on every x86-64 CPU that TensorFlow runs on."""

_MEGABYTES = {"MMAP_THRESHOLD": 32, "TRIM_THRESHOLD": 256, "TOP_PAD": 16}
HEAP_KEPT = {f"MALLOC_{name}_": str(size << 20) for name, size in _MEGABYTES.items()}
"""For glibc, which by default returns each block's memory to the system: fresh pages cost a tenth of a track's time."""

WriteFramed = Callable[[str, bytes, int], None]
"""Called with (kind, the record as it stands in a TFRecord file, its content digest)."""


class ProcessDiedError(TrackError):
    """The process ended while it had the track."""


@dataclass(frozen=True, slots=True)
class LimitOptions:
    """The options of a command that change its limits, for messages; the defaults are those of `fma ingest`."""

    seconds: str = "--retry-failed timeout --track-timeout"
    megabytes: str = "--retry-failed out_of_memory --track-memory"
    processes: str = "--workers"
    audio_minutes: str = ""


@dataclass(frozen=True, slots=True)
class Limits:
    """What one track may cost."""

    seconds: float = 600.0  # of wall time
    megabytes: int = 2048  # of memory beyond what the program itself needs
    audio_seconds: float | None = None  # of the track's length; None: any
    options: LimitOptions = LimitOptions()

    def timeout(self, seconds: float) -> TrackError:
        """Return the error for a track that took longer than `seconds`."""
        allowing = f"{self.options.seconds} {2 * self.seconds:g} allows more"
        return TrackError("timeout", f"not done within {seconds:g} s: {allowing}")

    def exceeded(self, reason: str, message: str) -> TrackError:
        """Return the error that the child reports, with the option that allows more where that is a limit's."""
        allowing = {"out_of_memory": f"{self.options.megabytes} {2 * self.megabytes}"}
        if self.audio_seconds and self.options.audio_minutes:
            allowing["too_long"] = f"{self.options.audio_minutes} {2 * self.audio_seconds / 60:g}"
        return TrackError(reason, f"{message}: {allowing[reason]} allows more" if reason in allowing else message)


class TrackProcess:
    """A child process that runs `extract`."""

    def __init__(self, config: DatasetConfig, limits: Limits = Limits()):
        self._config, self._limits = config, limits
        self._process: subprocess.Popen | None = None
        self._guard = threading.Lock()
        self._user: int | None = None  # the thread that is inside `extract`
        self._ended = False  # whether another thread has called `close` meanwhile

    @property
    def running(self) -> bool:
        """Whether there is a child."""
        return self._process is not None and self._process.poll() is None

    def extract(
        self, track: Track, ids: "GenreIds", write: WriteFramed, *, restart: Callable[[], None], seconds: float = 0
    ) -> tuple[TrackFacts, int]:
        """Pass every record of the track to `write`; return its facts and the crc32 of its file.

        `ids` are those of its label and of its genres, as `transforms.taxonomy.Vocabulary.ids` returns them.
        `restart` is called where the track begins again: what was written of it does not count. `seconds` is what it
        may take, instead of the limit.

        Raises:
          TrackError: with its reason; also timeout, out_of_memory and decoder_crashed.
          FmaError: a disk or a network failed: not the track's fault.
          RuntimeError: the child met a programming error, whose traceback is in the message.
        """
        with self._guard:
            self._user, self._ended = threading.get_ident(), False
        try:
            return self._extract(track, ids, write, restart=restart, seconds=seconds or self._limits.seconds)
        finally:
            with self._guard:
                self._user = None
            if self._ended:
                self.close()

    def _extract(
        self, track: Track, ids: "GenreIds", write: WriteFramed, *, restart: Callable[[], None], seconds: float
    ) -> tuple[TrackFacts, int]:
        try:
            if not self.running:
                self._start()
            deadline = time.monotonic() + seconds
            self._stderr.seek(0)
            self._stderr.truncate()
            if self._ended:  # closed before there was a child to kill
                raise EOFError
            self._connection.send((track, ids))
            while True:
                if not self._connection.poll(max(0.0, deadline - time.monotonic())):
                    raise self._limits.timeout(seconds)
                what, *rest = pickle.loads(self._connection.recv_bytes())
                if what == "restart":
                    restart()
                    continue
                if what not in ("records", "done"):
                    raise _failure(track, self._limits, what, *rest)
                for record in rest[0]:
                    write(*record)
                if what == "done":
                    return rest[1], rest[2]
        except (EOFError, BrokenPipeError, ConnectionResetError) as error:
            raise self._death_error() from error
        except BaseException as error:
            # The child may still send what belongs to this track: the next one gets a new child.
            if not isinstance(error, TrackError) or error.reason in ("timeout", "out_of_memory"):
                self.close()
            raise

    def close(self) -> None:
        """Kill the child; from any thread, repeatedly. A track that another thread extracts raises ProcessDiedError."""
        with self._guard:
            process, elsewhere = self._process, self._user not in (None, threading.get_ident())
            self._ended = self._ended or elsewhere
            if process is None:
                return
            process.kill()
            if elsewhere:
                return  # that thread notices the end of its pipe and cleans up
            process.wait()
            self._connection.close()
            self._stderr.close()
            self._process = None

    def _start(self) -> None:
        self.close()
        # libmpg123 reports every damaged frame: the reports are kept in case the process dies of one.
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115 - closed by close
        self._process, self._connection = children.start(
            "from transforms.audio.decoder_main import serve; serve()",
            str(self._limits.megabytes),
            variables=BLAS_THREADS | SAME_KERNELS | HEAP_KEPT,
            stderr=None if debugging() else self._stderr,
        )
        self._connection.send((self._config, self._limits.audio_seconds))

    def _death_error(self) -> ProcessDiedError:
        assert self._process is not None
        if self._ended:
            self.close()
            return ProcessDiedError("decoder_crashed", "the decoder's process was closed")
        code = self._process.wait()
        self._stderr.seek(0)
        lines = self._stderr.read().decode(errors="replace").split("\n")
        last = next((f" ({line.strip()[:200]})" for line in reversed(lines) if line.strip()), "")
        self.close()
        if code == -signal.SIGKILL:
            advice = f"free some memory, or lower {self._limits.options.processes}"
            return ProcessDiedError("out_of_memory", f"the system killed the decoder's process: {advice}")
        name = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        return ProcessDiedError("decoder_crashed", f"the decoder's process ended by {name}{last}: {CONVERT}")


def _failure(track: Track, limits: Limits, what: str, *facts: Any) -> Exception:
    """Return the error for a track that the child could not finish."""
    if what == "failed":
        return limits.exceeded(*facts)
    if what == "unreadable":
        message, may_pass = facts
        message = message if track.path in message else f"{track.locator}: {message}"
        return UnreachableError(message) if may_pass else FmaError(message)
    return RuntimeError(facts[0])
