"""Random edits of a dataset's and of runs' files: each is refused in one line, or changes no number.

    python -m tests.faults.edits --edits 2000 --seed 1
    python -m tests.faults.edits --seed 1 --only 17     # one of them, with all that it printed

prints each edit that broke a promise, then how many of each kind of file ended how; exits with 1 if any was broken.
"""

import argparse
import contextlib
import os
import random
import re
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from tests.faults import world
from tests.faults.children import Ended, run_all, warm_up
from tests.faults.world import Target
from transforms.runtime import console

LIMIT = 180.0
"""Seconds for a command, which takes up to 10 on an idle machine."""

MOST_MEGABYTES = 2000
REFUSED, NAMED, SAME = HELD = ("refused", "named", "same")
"""Ends in one line; goes on without the file, and says so in its result; ends as if nothing had been edited."""


@dataclass(frozen=True)
class Edit:
    """One edit: the file, what is done to it, and the command that then reads it."""

    number: int
    target: Target
    name: str
    what: str
    apply: Callable[[Path], object]
    command: str

    def __str__(self) -> str:
        return f"edit {self.number}: {self.target.path}: {self.what}; {self.command}"


@dataclass(frozen=True)
class Outcome:
    """How a command ended on an edited world, in a word, and how it would look to its user."""

    edit: Edit
    word: str
    ended: Ended

    @property
    def held(self) -> bool:
        return self.word in HELD


def flip(path: str, chance: random.Random, _: list[str]) -> tuple[str, Callable[[Path], object]]:
    """One bit."""
    at, bit = chance.random(), chance.randrange(8)

    def apply(folder: Path) -> None:
        data = bytearray((folder / path).read_bytes())
        data[int(at * len(data))] ^= 1 << bit
        replace(folder / path, bytes(data))

    return f"bit {bit} of the byte at {at:.4f} flipped", apply


def cut(path: str, chance: random.Random, _: list[str]) -> tuple[str, Callable[[Path], object]]:
    """Anything from nothing left to one byte lost."""
    at = chance.choice((0.0, 1.0, chance.random(), chance.random()))

    def apply(folder: Path) -> None:
        data = (folder / path).read_bytes()
        replace(folder / path, data[: min(len(data) - 1, int(at * len(data)))])

    return f"cut at {at:.4f}", apply


def swap(path: str, _: random.Random, others: list[str]) -> tuple[str, Callable[[Path], object]]:
    """Change places with another file."""

    def apply(folder: Path) -> None:
        one, other = folder / path, folder / others[0]
        data = one.read_bytes()
        replace(one, other.read_bytes())
        replace(other, data)

    return f"swapped with {others[0]}", apply


def copy(path: str, _: random.Random, others: list[str]) -> tuple[str, Callable[[Path], object]]:
    """Become another file."""
    return f"{others[0]} copied over it", lambda folder: replace(folder / path, (folder / others[0]).read_bytes())


def delete(path: str, _: random.Random, others: list[str]) -> tuple[str, Callable[[Path], object]]:
    """Be gone."""
    return "deleted", lambda folder: (folder / path).unlink()


def replace(path: Path, data: bytes) -> None:
    """Write a new file in place of one that is a link to the sound one."""
    path.unlink()
    path.write_bytes(data)


EDITS = {"bit": flip, "cut": cut, "swap": swap, "copy": copy, "delete": delete}
WEIGHTS = (4, 2, 2, 2, 1)


def draw(seed: int, number: int, targets: list[Target], costs: Mapping[str, float] = world.COSTS) -> Edit:
    """Return an edit; every kind of file has the same share, and commands that take long are chosen less often."""
    chance = random.Random(f"{seed}/{number}")
    kinds = sorted({target.kind for target in targets})
    kind = kinds[number % len(kinds)]
    same_kind = [target for target in targets if target.kind == kind]
    target = chance.choice(same_kind)
    near = [other.path for other in same_kind if other.path != target.path]
    far = [other.path for other in targets if other.path != target.path]
    partner = chance.choice(near if near and chance.random() < 0.6 else far)
    (name,) = chance.choices(list(EDITS), WEIGHTS)
    what, apply = EDITS[name](target.path, chance, [partner])
    (command,) = chance.choices(target.commands, [1 / costs[name] for name in target.commands])
    return Edit(number, target, name, what, apply, command)


def run_command(name: str, source: Path, folder: Path, edit: Edit | None = None) -> None:
    """Copy the world, edit it, run a command on it; does not return."""
    shutil.copytree(source, folder, copy_function=os.link)
    if edit:
        edit.apply(folder)
        edited, sound = folder / edit.target.path, source / edit.target.path
        if edited.exists() and edited.read_bytes() == sound.read_bytes():
            os._exit(0)  # by a file of the same content
    code = 0
    for words in world.COMMANDS[name]:
        code = code or world.call(words, folder)
    if not code:
        print(result_of(folder))
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def result_of(folder: Path) -> str:
    """Describe what a command wrote: all numbers, and nothing that depends on the time."""
    lines = []
    for path in world.files_of(folder):
        file = folder / path
        if not path.startswith(("new", "half")):
            continue
        if path.endswith(".npz") and "/predictions/" in path:
            with np.load(file) as arrays:
                lines += [f"{path} {name} {arrays[name].tolist()}" for name in arrays.files]
        elif path.endswith(("metrics.json", "history.csv", "search.csv", "labels.txt", ".html")):
            lines.append(f"{path} {file.read_text()}")
    return "\n".join(lines)


def judge(edit: Edit, folder: Path, ended: Ended, expected: str) -> str:
    """Return how a command ended, in a word."""
    traceback = "Traceback (most recent call last)" in ended.stderr or ended.code == 70
    for word, is_so in (
        ("HUNG", ended.code is None),
        ("TRACEBACK", traceback),
        ("CRASHED", ended.code not in (0, 1, 2)),
        ("MEMORY", ended.megabytes > MOST_MEGABYTES),
    ):
        if is_so:
            return word
    if ended.code:
        last = (ended.stderr.strip().splitlines() or [""])[-1]
        found = last.startswith("fma: error: ") or (edit.command == "verify" and "problem: " in ended.stdout)
        return REFUSED if found else "NO MESSAGE"
    if normalised(ended.stdout, folder) in (expected, ""):
        return "UNNOTICED" if edit.command == "verify" and ended.stdout else SAME
    return NAMED if str(folder / edit.target.path) in ended.stdout else "OTHER RESULT"


def normalised(text: str, folder: Path) -> str:
    """Return a text without the folder's name and without times of day."""
    return re.sub(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d)?", "TIME", text.replace(str(folder), "WORLD"))


def undisturbed(source: Path, names: list[str], jobs: int) -> dict[str, str]:
    """Run commands on the world as it is; return their output, by name."""
    folders = [source.parent / f"sound-{i}" for i in range(len(names))]
    tasks = [(partial(run_command, name, source, folder), folder) for name, folder in zip(names, folders, strict=True)]
    expected = {}
    for index, ended in run_all(tasks, jobs, LIMIT):
        assert ended.code == 0, f"{names[index]}: {ended.stderr}"
        expected[names[index]] = normalised(ended.stdout, folders[index])
        shutil.rmtree(folders[index])
    return expected


def drill(
    folder: Path, seed: int, numbers: list[int], jobs: int, on_outcome: Callable[[Outcome], object]
) -> list[Outcome]:
    """Make the world below an empty folder and run a command on each of its edits; Ctrl-C ends it early."""
    source = folder / "world"
    source.mkdir()
    world.make_world(source)
    targets = world.targets_of(source)
    edits = [draw(seed, number, targets) for number in numbers]
    expected = undisturbed(source, sorted({edit.command for edit in edits}), jobs)
    folders = [folder / f"edit-{number}" for number in numbers]
    tasks = [(partial(run_command, e.command, source, f, e), f) for e, f in zip(edits, folders, strict=True)]
    outcomes: list[Outcome] = []
    with contextlib.suppress(KeyboardInterrupt), console.progress("edits", len(edits), "edits") as progress:
        for index, ended in run_all(tasks, jobs, LIMIT):
            edit, copied = edits[index], folders[index]
            outcome = Outcome(edit, judge(edit, copied, ended, expected[edit.command]), ended)
            on_outcome(outcome)
            outcomes.append(outcome)
            shutil.rmtree(copied, ignore_errors=True)
            progress.advance(1, f"{sum(not outcome.held for outcome in outcomes)} broke a promise")
    return sorted(outcomes, key=lambda outcome: outcome.edit.number)


def report(outcomes: list[Outcome]) -> None:
    """Print a row for each kind of file, one for each kind of edit, and a column for each outcome."""
    counts = Counter((outcome.edit.target.kind, outcome.word) for outcome in outcomes)
    words = [*HELD, *sorted({outcome.word for outcome in outcomes if not outcome.held})]
    kinds = [name for name, _, _ in world.KINDS]
    rows = [(kind, *(counts[kind, word] for word in words)) for kind in kinds]
    totals = Counter(outcome.word for outcome in outcomes)
    console.table("", ("file", *words), [*rows, ("all", *(totals[word] for word in words))])
    names = Counter((outcome.edit.name, outcome.word) for outcome in outcomes)
    console.table("", ("edit", *words), [(name, *(names[name, word] for word in words)) for name in EDITS])


def show_broken(outcome: Outcome) -> None:
    """Print an edit that broke a promise."""
    if not outcome.held:
        console.say(f"{outcome.word}: {outcome.edit}")


def show_all(outcome: Outcome) -> None:
    """Print an edit, and all that the command printed."""
    console.say(f"{outcome.word}: {outcome.edit}: exit code {outcome.ended.code}, {outcome.ended.seconds:.1f} s")
    console.say(f"{outcome.ended.stdout}\n{outcome.ended.stderr}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--edits", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--first", type=int, default=0, help="number of the first edit")
    parser.add_argument("--only", type=int, action="append", help="only the edit of that number; may be repeated")
    parser.add_argument("--jobs", type=int, default=2)
    args = parser.parse_args()
    numbers = args.only or list(range(args.first, args.first + args.edits))
    warm_up()
    with tempfile.TemporaryDirectory(prefix="fma-edits-") as folder:
        outcomes = drill(Path(folder), args.seed, numbers, args.jobs, show_all if args.only else show_broken)
    report(outcomes)
    held = sum(outcome.held for outcome in outcomes)
    console.say(f"{held:,} of {len(outcomes):,} edits held")
    return 0 if held == len(outcomes) else 1


if __name__ == "__main__":
    sys.exit(main())
