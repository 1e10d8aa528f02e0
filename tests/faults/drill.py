"""The kill drill: every command that writes, struck at its worst moments by a signal, and run again at once.

    python -m tests.faults.drill --seed 1                    # all moments
    python -m tests.faults.drill --scene compact --scene run # those of some commands
    python -m tests.faults.drill --audio DIR --metadata DIR --moments 20   # FMA's own form: small, then medium

After each strike a dataset has to be sound; 5 s later no process of the command may be left; the same command, run
again at once, has to end in what an undisturbed run ends in, and leave neither temporary files nor a lock behind.
Prints one line for each moment and exits with 1 if a promise was broken.
"""

import argparse
import fcntl
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.faults.processes import Command
from tests.faults.scenes import PROCESSES, Moment, Scene, dataset_result, make_scenes, problems_of, succeed
from transforms.dataset import manifest as manifests

GONE_WITHIN = 5.0  # seconds after a strike
ENDS_WITHIN = 15.0  # seconds after one of its processes was killed
LONGEST = 600.0  # seconds for anything
DRAWS = 5


@dataclass
class Outcome:
    """What became of one moment.

    Attributes:
      victim: what was struck, "" where the command was done before.
      seconds: from its start to the strike.
      ended: seconds from the strike to its end.
      state: of the dataset right after it.
      broken: the promises that did not hold.
    """

    scene: str
    moment: Moment
    seed: int
    victim: str = ""
    seconds: float = 0.0
    ended: float = 0.0
    state: str = ""
    broken: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        what = f"{self.moment.signal:<4} {self.victim:<22} at {self.seconds:5.2f} s, ended in {self.ended:4.1f} s"
        verdict = "BROKEN: " + "; ".join(self.broken) if self.broken else "held"
        return f"{self.scene:<20} seed {self.seed:>5}  {what}  {self.state:<9} {verdict}"


def disturb(scene: Scene, moment: Moment, seed: int, folder: Path, expected: str, *, slower: float = 1.0) -> Outcome:
    """Strike the scene's command once, run it again, and look at all that was promised.

    Args:
      slower: by which factor, on a machine that is busy with other things.
    """
    outcome = Outcome(scene.name, moment, seed)
    chance = random.Random(seed)
    work, temporary = folder / "work", folder / "tmp"
    for draw in range(DRAWS):
        shutil.rmtree(folder, ignore_errors=True)
        work.mkdir(parents=True)
        scene.prepare(work)
        words = [word.format(w=work) for word in scene.words]
        command = Command(words, temporary, scene.program)
        if strike(command, chance, work, draw, outcome):
            break
        command.kill_all()
    struck = time.monotonic()
    limit = slower * (ENDS_WITHIN if moment.victim == "child" else GONE_WITHIN)
    if not command.ended_within(limit):
        outcome.broken.append(f"did not end within {limit:.0f} s: {'; '.join(command.family().values())}")
        command.kill_all()
    outcome.ended = time.monotonic() - struck
    check_output(command, outcome)
    if scene.dataset:
        outcome.state = state_of(work / "dataset")
        outcome.broken += [outcome.state] if outcome.state.startswith("broken") else []
    again = Command(words, temporary, scene.program)
    time.sleep(max(0.0, struck + slower * GONE_WITHIN - time.monotonic()))
    left = command.family()
    outcome.broken += [f"{len(left)} processes live on: {'; '.join(line[-80:] for line in left.values())}"] * bool(left)
    check_rerun(scene, again, work, expected, outcome)
    command.kill_all()
    again.kill_all()
    return outcome


def strike(command: Command, chance: random.Random, work: Path, draw: int, outcome: Outcome) -> bool:
    """Wait for the moment and send the signal; return whether the command was still running."""
    started, moment = time.monotonic(), outcome.moment
    if moment.after == PROCESSES or moment.victim == "child":
        begun = command.wait_until(lambda: len(command.family()) > 1, LONGEST)
    else:
        before = set(work.glob(moment.after)) if moment.after else set()
        begun = not moment.after or command.wait_until(lambda: bool(set(work.glob(moment.after)) - before), LONGEST)
    if not begun:
        return False
    time.sleep(chance.uniform(0, moment.within) / 2**draw)
    below = sorted(set(command.family()) - {command.process.pid})
    if command.process.poll() is not None:
        return False
    outcome.seconds = time.monotonic() - started
    number = signal.Signals[f"SIG{moment.signal}"]
    if moment.victim == "group":
        os.killpg(command.process.pid, number)
        outcome.victim = f"its group of {1 + len(below)}"
        return True
    victim = chance.choice(below) if moment.victim == "child" and below else command.process.pid
    try:
        os.kill(victim, number)
    except ProcessLookupError:
        return False
    outcome.victim = f"1 of {len(below)} below" if victim in below else f"command of {len(below)} more"
    return True


def check_output(command: Command, outcome: Outcome) -> None:
    """A command that could still say something says it in one line."""
    stderr, code = command.stderr, command.process.returncode
    if "Traceback (most recent call last)" in stderr:
        outcome.broken.append(f"traceback: {command.last_line}")
    elif code and code > 0 and "fma: " not in command.last_line:
        outcome.broken.append(f"exit code {code} without a line: {command.last_line}")


def state_of(dataset: Path) -> str:
    """Return `none`, `sound` or `broken: ...`."""
    if not manifests.is_dataset(str(dataset)):
        return "none"
    problems = problems_of(dataset)
    return f"broken: {problems[0]}" if problems else "sound"


def check_rerun(scene: Scene, again: Command, work: Path, expected: str, outcome: Outcome) -> None:
    """The same command ends as if nothing had happened; what the first one had left is gone."""
    again.ended_within(LONGEST)
    if again.process.returncode:
        outcome.broken.append(f"the rerun failed: {again.last_line}")
        return
    found = scene.result(work)
    if found != expected:
        outcome.broken.append(f"another result: {difference(expected, found)}")
    left = [path for path in again.temporary.rglob("*") if path.name != f"fma-{os.getuid()}"]
    if left:
        outcome.broken.append(f"temporary files stay: {', '.join(path.name for path in left[:5])}")
    outcome.broken += [f"{lock} is held" for lock in work.rglob(".lock") if is_held(lock)]


def difference(expected: str, found: str) -> str:
    """Return the first place where two texts differ."""
    at = next((i for i, (one, other) in enumerate(zip(expected, found, strict=False)) if one != other), len(expected))
    return f"{expected[max(0, at - 40) : at + 60]!r} became {found[max(0, at - 40) : at + 60]!r}"


def is_held(lock: Path) -> bool:
    """Return whether a process holds a lock."""
    with lock.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def drill(
    scene: Scene,
    folder: Path,
    seed: int,
    report: Callable[[str], None],
    *,
    only: Sequence[int] = (),
    slower: float = 1.0,
) -> list[Outcome]:
    """Disturb a scene at each of its moments, or only at those of some numbers; see `disturb`."""
    whole = folder / f"{scene.name}-whole"
    whole.mkdir(parents=True)
    scene.prepare(whole)
    succeed(whole, *scene.words, program=scene.program)
    expected = scene.result(whole)
    outcomes = []
    for number, moment in enumerate(scene.moments):
        if only and number not in only:
            continue
        work = folder / f"{scene.name}-{number}"
        outcome = disturb(scene, moment, 100 * seed + number, work, expected, slower=slower)
        report(str(outcome))
        outcomes.append(outcome)
        if not outcome.broken:
            shutil.rmtree(work)
    return outcomes


def fma_scene(audio: str, metadata: str, moments: int) -> Scene:
    """FMA's small, then medium, on real audio."""
    common = ["ingest", "--audio", audio, "--metadata", metadata, "--features", "mel,stats", "--max-failures", "20"]
    common += ["--out", "{w}/dataset", "--workers", "2"]
    times = [Moment(PROCESSES, 20, victim=("command", "child")[i % 2]) for i in range(moments)]
    small = [*common, "--subset", "small"]
    return Scene(
        "small to medium",
        lambda work: succeed(work, *small),
        [*common, "--subset", "medium"],
        dataset_result,
        times,
        dataset=True,
    )


def say(line: str) -> None:
    """Print a line at once."""
    print(line, flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--scene", action="append", help="only this one; may be repeated")
    parser.add_argument("--audio", help="FMA's audio instead of made-up music")
    parser.add_argument("--metadata", help="FMA's metadata")
    parser.add_argument("--moments", type=int, default=20, help="with --audio")
    parser.add_argument("--slower", type=float, default=1.0, help="factor of the time limits, on a busy machine")
    args = parser.parse_args()
    outcomes = []
    with tempfile.TemporaryDirectory(prefix="fma-drill-") as folder:
        scenes = [fma_scene(args.audio, args.metadata, args.moments)] if args.audio else make_scenes(Path(folder))
        for scene in scenes:
            if not args.scene or scene.name in args.scene:
                outcomes += drill(scene, Path(folder), args.seed, say, slower=args.slower)
    held = sum(not outcome.broken for outcome in outcomes)
    print(f"{held} of {len(outcomes)} moments held")
    return 0 if held == len(outcomes) else 1


if __name__ == "__main__":
    sys.exit(main())
