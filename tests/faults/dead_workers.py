"""A worker process of Beam that dies, while others still start or later: the command ends in one line, or recovers.

    python -m tests.faults.dead_workers --repeat 50 --workers 2,4,8

prints one line for each death and a table, and exits with 1 if a command hung or left anything behind.
"""

import argparse
import contextlib
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from tests.faults.processes import Command
from tests.faults.scenes import INGEST
from transforms.runtime import console

WORKER = "sdk_worker_main"
ENDS_WITHIN = 15.0  # seconds after the death, on a machine that is not busy with anything else
HUNG_AFTER = 120.0
TRACKS = 24
ONE_LINE, RECOVERED = "one line", "recovered"


@dataclass(frozen=True)
class Death:
    """One death: how many workers there were to be, how many there were, and what became of the command."""

    workers: int
    seed: int
    alive: int
    delay: float
    word: str
    seconds: float
    last_line: str
    left: int

    @property
    def held(self) -> bool:
        return self.word in (ONE_LINE, RECOVERED) and not self.left

    def __str__(self) -> str:
        where = f"1 of {self.alive} alive, {self.delay:.2f} s after the first"
        return (
            f"{self.workers} workers, seed {self.seed}: {where}: {self.word} in {self.seconds:.1f} s, {self.left} left"
        )


def kill_one(workers: int, seed: int, folder: Path, music: Path, latest: float) -> Death | None:
    """Ingest with so many workers and kill one; None where the ingest was done before.

    Args:
      latest: seconds after the first worker's start at most.
    """
    chance = random.Random(seed)
    words = ["ingest", "--audio", str(music), "--metadata", str(music / "tracks.csv"), *INGEST]
    words += ["--out", str(folder / "dataset"), "--shards", str(workers), "--workers", str(workers)]
    command = Command(words, folder / "tmp")
    try:
        if not command.wait_until(lambda: bool(workers_of(command)), HUNG_AFTER):
            return None
        delay = chance.uniform(0, latest)
        time.sleep(delay)
        alive = workers_of(command)
        if not alive:
            return None
        with contextlib.suppress(ProcessLookupError):
            os.kill(chance.choice(alive), signal.SIGKILL)
        started = time.monotonic()
        ended = command.ended_within(HUNG_AFTER)
        seconds = time.monotonic() - started
        word = outcome_of(command, ended, seconds)
        time.sleep(max(0.0, 5 - seconds))
        return Death(workers, seed, len(alive), delay, word, seconds, command.last_line, len(command.family()))
    finally:
        command.kill_all()


def workers_of(command: Command) -> list[int]:
    """Return the ids of Beam's workers, in order."""
    return sorted(pid for pid, line in command.family().items() if WORKER in line)


def outcome_of(command: Command, ended: bool, seconds: float) -> str:
    """Return how the command ended, in a word or two."""
    if not ended:
        return "HUNG"
    if "Traceback (most recent call last)" in command.stderr:
        return "TRACEBACK"
    if not command.process.returncode:
        return RECOVERED
    if not command.last_line.startswith("fma: error: "):
        return "NO MESSAGE"
    return ONE_LINE if seconds <= ENDS_WITHIN else "LATE"


def main() -> int:
    from tests.pipelines.ingest.test_ingest import make_music

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", default="2,4,8")
    parser.add_argument("--repeat", type=int, default=10, help="deaths for each number of workers")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--latest", type=float, default=6.0, help="seconds after the first worker's start at most")
    args = parser.parse_args()
    counts: Counter[tuple[int, str]] = Counter()
    numbers = [int(text) for text in args.workers.split(",")]
    broken = 0
    with tempfile.TemporaryDirectory(prefix="fma-deaths-") as folder:
        music = Path(folder, "music")
        music.mkdir()
        make_music(music, TRACKS)
        for workers in numbers:
            for seed in range(1000 * args.seed, 1000 * args.seed + args.repeat):
                death = kill_one(workers, seed, Path(folder, f"{workers}-{seed}"), music, args.latest)
                counts[workers, death.word if death else "done before"] += 1
                if death:
                    console.say(str(death) if death.held else f"{death}: {death.last_line}")
                    broken += not death.held
    words = sorted({word for _, word in counts})
    rows = [(f"{workers} workers", *(counts[workers, word] for word in words)) for workers in numbers]
    console.table("", ("deaths", *words), rows)
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
