"""Commands as users start them, and every process that belongs to one, however it was started."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

MARK = "FMA_DRILL_MARK"
ROOT = Path(__file__).resolve().parents[2]
FMA = (sys.executable, "-m", "fma")


class Command:
    """A running command: a session and a process group of its own, a folder for its temporary files.

    Attributes:
      process: the command itself.
      temporary: the folder, made where it does not exist.
    """

    def __init__(self, words: Sequence[str], temporary: Path, program: Sequence[str] = FMA):
        temporary.mkdir(parents=True, exist_ok=True)
        self.temporary = temporary
        self._mark = os.urandom(8).hex()
        self._stderr = temporary.parent / f"{temporary.name}-{self._mark}.stderr"
        environment = os.environ | {MARK: self._mark, "TMPDIR": str(temporary), "TF_CPP_MIN_LOG_LEVEL": "3"}
        with self._stderr.open("wb") as errors:
            self.process = subprocess.Popen(
                [*program, *words],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=errors,
                start_new_session=True,
                env=environment,
                cwd=ROOT,
            )

    @property
    def stderr(self) -> str:
        """What it has written to standard error so far."""
        return self._stderr.read_text(errors="replace")

    @property
    def last_line(self) -> str:
        """The last line of that."""
        return (self.stderr.strip().splitlines() or [""])[-1]

    def family(self) -> dict[int, str]:
        """Return the command lines of all processes that it started, and of itself, by id; zombies do not count."""
        found = {}
        for pid in map(int, filter(str.isdecimal, os.listdir("/proc"))):
            with contextlib.suppress(OSError):
                if self._owns(pid):
                    found[pid] = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        return found

    def _owns(self, pid: int) -> bool:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        state, session = fields[0], int(fields[3])
        if state in "ZX":
            return False
        if session == self.process.pid:
            return True
        return f"{MARK}={self._mark}".encode() in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")

    def wait_until(self, condition: Callable[[], bool], limit: float) -> bool:
        """Wait until something holds; return whether it did before the command ended, or the time was up."""
        deadline = time.monotonic() + limit
        while time.monotonic() < deadline:
            if condition():
                return True
            if self.process.poll() is not None:
                return False
            time.sleep(0.002)
        return False

    def ended_within(self, limit: float) -> bool:
        """Wait for its end; return whether it came in time."""
        try:
            self.process.wait(limit)
        except subprocess.TimeoutExpired:
            return False
        return True

    def kill_all(self) -> None:
        """Kill whatever is left of it."""
        while family := self.family():
            for pid in family:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            self.process.poll()
            time.sleep(0.05)


def start_and_wait(words: Sequence[str], temporary: Path, program: Sequence[str] = FMA) -> Command:
    """Run a command to its end."""
    command = Command(words, temporary, program)
    command.process.wait()
    return command
