"""Datasets and runs to damage, with every kind of file that they hold, and the commands that read each kind."""

import contextlib
import io
import os
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile

from tests.conftest import tone
from tests.faults.children import Child, wait_for
from transforms.runtime import guard

SETTINGS = ["--n-mels", "32", "--window-frames", "20", "--features", "mel,raw,stats", "--shards", "2"]
TINY = ["--device", "cpu", "--epochs", "2", "--batch-size", "8"]
TRANSFER = ["train", "tiny_transfer", "--device", "cpu", "--data", "{w}/data", "--run", "{w}/half", "--batch-size", "8"]

COMMANDS: dict[str, list[list[str]]] = {
    "verify": [["verify", "{w}/data"]],
    "show": [["show", "{w}/data", "--json"]],
    "sheet": [["show", "{w}/data", "--sheet", "{w}/new.png"]],
    "explain": [["explain", "{w}/data", "3", "--runs", "{w}/run", "{w}/classical", "--json"]],
    "explain failed": [["explain", "{w}/data", "16", "--runs", "{w}/run", "--json"]],
    "train": [["train", "tiny", "--data", "{w}/data", "--run", "{w}/new", *TINY]],
    "train raw": [["train", "tiny_raw", "--data", "{w}/data", "--run", "{w}/new", *TINY]],
    "resume": [TRANSFER],
    "finished": [["train", "tiny", "--data", "{w}/data", "--run", "{w}/run", *TINY]],
    "more epochs": [["train", "tiny", "--data", "{w}/data", "--run", "{w}/run", *TINY, "--epochs", "3"]],
    "evaluate": [["evaluate", "{w}/run", "--data", "{w}/data", "--device", "cpu", "--json"]],
    "evaluate training": [
        ["evaluate", "{w}/run", "--data", "{w}/data", "--device", "cpu", "--split", "training", "--json"]
    ],
    "predict": [["predict", "{w}/run", "{w}/song.wav", "--device", "cpu", "--json"]],
    "predict classical": [["predict", "{w}/classical", "{w}/song.wav", "--json"]],
    "predict bundle": [["predict", "{w}/bundle", "{w}/song.wav", "--json"]],
    "export": [["export", "{w}/run", "--out", "{w}/new", "--no-tflite"]],
    "export classical": [
        ["export", "{w}/classical", "--out", "{w}/new"],
        ["predict", "{w}/new", "{w}/song.wav", "--json"],
    ],
    "baselines": [["baselines", "--data", "{w}/data", "--run", "{w}/new", "--models", "gnb,knn", "--jobs", "1"]],
    "report": [["report", "{w}/run", "{w}/classical", "--data", "{w}/data", "--out", "{w}/new.html"]],
    "compact": [["compact", "{w}/data"], ["verify", "{w}/data"]],
    "statistics": [["silent statistics", "{w}/grown"], ["compare statistics", "{w}/grown", "{w}/../world/data"]],
    "neighbours": [["neighbours", "{w}/run", "{w}/data"]],
}
"""By name: the words after `fma`, one list after the other; {w} is the folder."""

SLOW = {
    "train": 4,
    "train raw": 4,
    "resume": 5,
    "more epochs": 4,
    "export": 3,
    "export classical": 4,
    "statistics": 15,
    "baselines": 3,
}
COSTS = {name: SLOW.get(name, 1) for name in COMMANDS}
"""About how many seconds each takes."""

DATASET = ["show", "train", "train raw", "evaluate", "baselines", "report", "explain", "compact", "verify", "resume"]
CONFIG = ["evaluate", "predict", "report", "export", "finished", "explain"]
KINDS: list[tuple[str, str, list[str]]] = [
    ("dataset.json", r"data/dataset\.json", DATASET),
    ("mel shard", r"data/mel/.*", ["train", "evaluate", "evaluate training", "sheet", "verify", "compact", "resume"]),
    ("raw shard", r"data/raw/.*", ["train raw", "verify", "compact"]),
    ("stats shard", r"data/stats/.*", ["baselines", "verify", "compact"]),
    ("ledger of tracks", r"data/tracks/.*", ["explain", "report", "verify", "compact", "evaluate", "train"]),
    ("ledger of failures", r"data/failures/.*", ["explain failed", "report", "verify", "compact"]),
    ("statistics' cache", r"grown/transform_fn/.*/cache(\.json|/.*)", ["statistics"]),
    ("statistics", r"data/transform_fn/.*/normalization\.npz", ["train", "resume", "verify"]),
    ("config.json", r"run/config\.json", CONFIG),
    ("state.json", r"run/state\.json", ["evaluate", "predict", "finished", "report"]),
    ("history.csv", r"run/history\.csv", ["report"]),
    ("metrics.json", r"run/metrics\.json", ["finished", "report"]),
    ("model.keras", r"run/model\.keras", ["evaluate", "export"]),
    ("model.tflite", r"run/model\.tflite\.zip", ["predict"]),
    ("predictions", r"run/predictions/.*", ["report", "explain"]),
    ("neighbours", r"run/neighbours/.*", ["neighbours"]),
    ("backup of a finished run", r"run/backup/.*", ["more epochs"]),
    ("config.json, half done", r"half/config\.json", ["resume"]),
    ("state.json, half done", r"half/state\.json", ["resume"]),
    ("history.csv, half done", r"half/history\.csv", ["resume"]),
    ("model.keras, half done", r"half/model\.keras", ["resume"]),
    ("backup", r"half/backup/.*", ["resume"]),
    ("features of a frozen front", r"half/features/.*", ["resume"]),
    ("config.json of baselines", r"classical/config\.json", ["predict classical", "report", "export classical"]),
    ("classical model", r"classical/models/.*", ["predict classical", "export classical"]),
    ("metrics.json of baselines", r"classical/metrics\.json", ["report", "predict classical", "export classical"]),
    ("predictions of baselines", r"classical/predictions/.*", ["report", "explain"]),
    ("search.csv", r"classical/search\.csv", ["report"]),
    ("bundle", r"bundle/.*", ["predict bundle"]),
]
"""Kinds of files: name, their paths, and the commands that read them."""

UNREAD = re.compile(
    r".*(/\.lock|\.tmp|/logs/.*|\.wav)|grown/.*|data/transform_fn/.*(/cache.*|/transform_fn/.*|/schema\.pbtxt)"
)
"""Files that no command reads back, or whose kind stands in another folder already."""


@dataclass(frozen=True)
class Target:
    """A file to damage: its path below the world, its kind, and the commands that read such files."""

    path: str
    kind: str
    commands: list[str]


def files_of(world: Path) -> list[str]:
    """Return the paths of all files below a folder, sorted."""
    return sorted(str(path.relative_to(world)) for path in world.rglob("*") if path.is_file())


def targets_of(world: Path) -> list[Target]:
    """Return every file of a kind of `KINDS`; AssertionError for a file whose kind nobody has thought of."""
    found = []
    for path in files_of(world):
        kind = next((kind for kind in KINDS if re.fullmatch(kind[1], path)), None)
        assert kind or UNREAD.fullmatch(path), f"{path} is of no known kind"
        if kind:
            found.append(Target(path, kind[0], kind[2]))
    return found


def make_world(world: Path) -> None:
    """Write data/ and grown/ (datasets), run/, half/ and classical/ (runs), bundle/ (an export) and song.wav.

    grown/ is what data/ was before its statistics were brought up to date; half/ was killed in its second epoch.
    """
    from tests.pipelines.ingest.test_ingest import make_music

    music = world.parent / "music"
    music.mkdir()
    make_music(music, 17, name="all.csv")
    (music / "16.flac").write_bytes(b"no music at all" * 100)
    lines = (music / "all.csv").read_text().splitlines()
    (music / "some.csv").write_text("\n".join(lines[:9]) + "\n")
    common = ["--audio", str(music), *SETTINGS, "--workers", "1", "--max-failures", "50", "--out", "{w}/grown"]
    fine(world, ["ingest", *common, "--metadata", str(music / "some.csv")])
    fine(world, ["statistics", "{w}/grown", "--workers", "1"])
    fine(world, ["ingest", *common, "--metadata", str(music / "all.csv")])
    wait_for(Child(lambda: os.execvp("cp", ["cp", "-a", str(world / "grown"), str(world / "data")]), world), 60)
    fine(world, ["statistics", "{w}/data", "--workers", "1"])
    fine(world, ["train", "tiny", "--data", "{w}/data", "--run", "{w}/run", *TINY])
    fine(world, ["baselines", "--data", "{w}/data", "--run", "{w}/classical", "--models", "gnb,knn", "--jobs", "1"])
    fine(world, ["export", "{w}/classical", "--out", "{w}/bundle"])
    soundfile.write(world / "song.wav", tone(3), 22_050)
    fine(world, ["neighbours", "{w}/run", "{w}/data"])
    killed = wait_for(Child(lambda: run_until(TRANSFER, world, "state.json", 3), world), 120)
    assert killed.code == 9, killed.stderr


def run_until(words: list[str], world: Path, name: str, times: int) -> None:
    """Run a command that ends at once, as if killed, just before a file of that name is replaced for the nth time."""
    seen = 0

    def on_event(event: str, args: tuple) -> None:
        nonlocal seen
        if event == "os.rename" and str(args[1]).endswith(f"/{name}"):
            seen += 1
            if seen == times:
                os._exit(9)

    sys.addaudithook(on_event)
    os._exit(call(words, world))


def fine(world: Path, words: list[str]) -> None:
    """Run a command in a child; AssertionError where it fails."""
    ended = wait_for(Child(lambda: os._exit(call(words, world)), world), 180)
    assert ended.code == 0, f"{' '.join(words)}: {ended.stderr[-3000:]}"


def call(words: list[str], world: Path) -> int:
    """Run a command in this process; return its exit code."""
    import fma

    words = [word.format(w=world) for word in words]
    return guard.main_guard(OTHERS[words[0]], *words[1:]) if words[0] in OTHERS else fma.main(words)


def update_statistics(dataset: str) -> int:
    """Run `fma statistics`, whose result tells how much it could take from its cache."""
    import fma

    with contextlib.redirect_stdout(io.StringIO()):
        return fma.main(["statistics", dataset, "--workers", "1"])


def compare_statistics(dataset: str, other: str) -> int:
    """Print whether two datasets have the same statistics, within 1e-6."""
    from trainers.runs.normalization import find_normalization
    from transforms.dataset.manifest import load

    for kind in ("mel", "stats"):
        one, two = (find_normalization(path, load(path), kind) for path in (dataset, other))
        same = [np.allclose(getattr(one, name), getattr(two, name), 1e-6, 1e-6) for name in ("mean", "deviation")]
        print(kind, same)
    return 0


def show_neighbours(run: str, dataset: str) -> int:
    """Print what `fma serve --data` would show beside a song."""
    from trainers.serving.neighbours import open_neighbours
    from trainers.serving.scorers import open_scorer

    neighbours = open_neighbours(run, open_scorer(run), dataset)
    print(neighbours.nearest(np.ones(len(neighbours.shift), np.float32), 5))
    return 0


OTHERS: dict[str, Callable[..., int]] = {
    "neighbours": show_neighbours,
    "silent statistics": update_statistics,
    "compare statistics": compare_statistics,
}
"""What is read elsewhere than by a command that ends, or needs another look."""
