"""The kill drill: ingest, kill -9 something at a random moment, look, ingest again; the dataset must never be damaged.

    python -m tests.faults.drill --moments 20 --seed 1
    python -m tests.faults.drill --audio DIR --metadata DIR --moments 20     # FMA's own form: small, then medium

prints one line for each moment and exits with 1 if a promise was broken.
"""

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pipelines.runners.local import descendants
from transforms.dataset import manifest as manifests
from transforms.dataset.verify import verify

FMA = [sys.executable, "-m", "fma"]
DONE = "nothing (it was done)"
DRAWS = 5


@dataclass(frozen=True)
class Scene:
    """What is grown: the command that makes the old dataset, and the one that is disturbed."""

    old: list[str]
    new: list[str]


@dataclass(frozen=True)
class Moment:
    """One kill: its seed, when, what was hit, and what the dataset was afterwards.

    Attributes:
      state: `old`, `new`, `between` (old, and the batches of the run that were committed) or `broken`.
      recovered: whether the same command, run again, came to the end digest of an undisturbed run.
    """

    seed: int
    seconds: float
    victim: str
    state: str
    recovered: bool

    def __str__(self) -> str:
        end = "same end digest" if self.recovered else "ANOTHER END DIGEST"
        return f"seed {self.seed:>5}  at {self.seconds:5.2f} s  {self.victim:<28} dataset {self.state:<7} then {end}"

    @property
    def held(self) -> bool:
        return self.state != "broken" and self.recovered


def run(command: list[str], out: Path) -> None:
    """Run an ingest to its end; CalledProcessError where it fails."""
    subprocess.run([*FMA, "ingest", *command, "--out", str(out)], check=True, capture_output=True)


def state_of(out: Path, old: manifests.Manifest, new: manifests.Manifest) -> str:
    """`old`, `new`, `between` or `broken`: a dataset is only ever what was committed, and every commit is sound."""
    manifest = manifests.load(str(out))
    if verify(str(out), manifest).problems:
        return "broken"
    if manifest.digest == new.digest:
        return "new"
    if manifest.digest == old.digest:
        return "old"
    grown = manifest.generations[: len(old.generations)] == old.generations
    return "between" if grown and manifest.labels == new.labels else "broken"


def drill(scene: Scene, work: Path, seeds: list[int], report: Callable[[str], None]) -> list[Moment]:
    """Kills at one moment for each seed; the moments are spread over the whole length of an undisturbed run."""
    run(scene.old, work / "old")
    shutil.copytree(work / "old", work / "whole")
    started = time.monotonic()
    run(scene.new, work / "whole")
    length = time.monotonic() - started
    old, new = (manifests.load(str(work / name)) for name in ("old", "whole"))
    assert state_of(work / "whole", old, new) == "new"
    assert old.digest != new.digest
    assert new.labels[: len(old.labels)] == old.labels
    for name, manifest in (("old", old), ("new", new)):
        report(f"{name}: {manifest.totals['tracks']} tracks, labels {', '.join(manifest.labels)}")
    moments = []
    for seed in seeds:
        moment = one_moment(scene, work, seed, length, (old, new))
        report(str(moment))
        moments.append(moment)
    return moments


def one_moment(
    scene: Scene, work: Path, seed: int, length: float, ends: tuple[manifests.Manifest, manifests.Manifest]
) -> Moment:
    """Kills once, looks at the dataset, and runs the same command again.

    A run that is done before its moment (a busy machine makes one longer and the next one shorter) is drawn again.
    """
    chance = random.Random(seed)
    out = work / f"moment-{seed}"
    for _ in range(DRAWS):
        shutil.rmtree(out, ignore_errors=True)
        shutil.copytree(work / "old", out)
        seconds, started = chance.uniform(0, length), time.monotonic()
        victim = kill_at(seconds, chance, [*FMA, "ingest", *scene.new, "--out", str(out)])
        if victim != DONE:
            break
        length = time.monotonic() - started
    state = state_of(out, *ends)
    run(scene.new, out)
    recovered = state_of(out, *ends) == "new" and not leftovers(out)
    if recovered and state != "broken":
        shutil.rmtree(out)
    return Moment(seed, seconds, victim, state, recovered)


def leftovers(out: Path) -> list[Path]:
    """Files that no manifest lists, once a run has ended well."""
    listed = {out / file.path for file in manifests.load(str(out)).files()}
    found = [path for path in out.rglob("*") if path.is_file() and path.name not in ("dataset.json", ".lock")]
    return [path for path in found if path not in listed]


def kill_at(seconds: float, chance: random.Random, command: list[str]) -> str:
    """Start a command in a process group of its own and kill the launcher or one below it; return which."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    try:
        process.wait(seconds)
        return DONE
    except subprocess.TimeoutExpired:
        pass
    family = [process.pid, *descendants(process.pid)]
    victim = process.pid if chance.random() < 0.5 else chance.choice(family)
    name = "launcher" if victim == process.pid else f"process {family.index(victim)} of {len(family) - 1} below"
    try:
        os.kill(victim, signal.SIGKILL)
    except ProcessLookupError:
        name += " (had ended)"
    try:
        # A worker's death either fails the job, or the job recovers; a hang would break the promise.
        process.wait(60)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        name += " (hung: killed)"
    wait_for_orphans(family)
    return name


def wait_for_orphans(family: list[int]) -> None:
    """Workers whose launcher is gone end by themselves; what does not is killed after a while."""
    deadline = time.monotonic() + 20
    while any(os.path.exists(f"/proc/{pid}") for pid in family) and time.monotonic() < deadline:
        time.sleep(0.1)
    for pid in family:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue


def make_scene(folder: Path, tracks: int = 16) -> Scene:
    """Two plain csvs over the same files: the first half, then all."""
    from tests.pipelines.ingest.test_ingest import SMALL, make_music

    make_music(folder, tracks, name="all.csv")
    lines = (folder / "all.csv").read_text().splitlines()
    (folder / "some.csv").write_text("\n".join(lines[: tracks // 2]) + "\n")
    common = ["--audio", str(folder), *SMALL]
    return Scene(
        [*common, "--metadata", str(folder / "some.csv"), "--workers", "1"],
        [*common, "--metadata", str(folder / "all.csv"), "--workers", "2", "--commit-every", str(tracks // 4)],
    )


def fma_scene(audio: str, metadata: str) -> Scene:
    """FMA's small, then medium."""
    common = ["--audio", audio, "--metadata", metadata, "--features", "mel,stats", "--max-failures", "20"]
    return Scene([*common, "--subset", "small"], [*common, "--subset", "medium", "--workers", "2"])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--moments", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--audio", help="FMA's audio instead of made-up music")
    parser.add_argument("--metadata", help="FMA's metadata")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="fma-drill-") as folder:
        work = Path(folder)
        if args.audio:
            scene = fma_scene(args.audio, args.metadata)
        else:
            (work / "music").mkdir()
            scene = make_scene(work / "music")
        seeds = [args.seed * 1000 + i for i in range(args.moments)]
        moments = drill(scene, work, seeds, lambda line: print(line, flush=True))
    held = sum(moment.held for moment in moments)
    print(f"{held} of {len(moments)} moments held")
    return 0 if held == len(moments) else 1


if __name__ == "__main__":
    sys.exit(main())
