"""Commands in processes of their own; what runs below one, and whether it ends: through /proc, so on Linux only."""

import contextlib
import os
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def start(words: list[str], code: str = "import sys, fma; ", temporary: Path | None = None) -> subprocess.Popen:
    """A command in a process group of its own, as a terminal starts it."""
    environment = os.environ | {"PYTHONPATH": str(ROOT)} | ({"TMPDIR": str(temporary)} if temporary else {})
    interruptible = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
    return subprocess.Popen(
        [sys.executable, "-P", "-c", f"{interruptible}{code}sys.exit(fma.main())", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env=environment,
    )


def descendants(pid: int) -> list[int]:
    """The ids of the processes below a process, parents before children; [] on systems without /proc."""
    parents: dict[int, int] = {}
    for entry in os.listdir("/proc") if os.path.isdir("/proc") else ():
        with contextlib.suppress(FileNotFoundError, ProcessLookupError, ValueError):
            child = int(entry)
            with open(f"/proc/{child}/stat", "rb") as file:
                parents[child] = int(file.read().rpartition(b")")[2].split()[1])
    found: list[int] = []
    front = [pid]
    while front:
        front = sorted(child for child, parent in parents.items() if parent in front)
        found += front
    return found


def is_running(pid: int) -> bool:
    """Whether there is a process of that number that has not ended."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def command_of(pid: int) -> str:
    """The command line of a process, "" where it has ended."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        return Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")
    return ""


def wait_for(pid: int, text: str, count: int = 1, seconds: float = 120.0) -> list[int]:
    """Wait until so many processes below a process have `text` in their command lines; return those."""
    deadline = time.monotonic() + seconds
    while True:
        found = [child for child in descendants(pid) if text in command_of(child)]
        if len(found) >= count:
            return found
        assert time.monotonic() < deadline, f"{len(found)} of {count} processes with {text}"
        assert is_running(pid), f"ended before it had {count} processes with {text}"
        time.sleep(0.01)


def assert_all_end(pids: list[int], seconds: float = 5.0) -> None:
    """Wait for processes to end, but for so long only."""
    deadline = time.monotonic() + seconds
    while left := [pid for pid in pids if is_running(pid)]:
        assert time.monotonic() < deadline, f"after {seconds:g} s there still run {[command_of(pid) for pid in left]}"
        time.sleep(0.05)
