"""The commands that the kill drill disturbs: what each starts from, what it ends in, and the moments that count."""

import contextlib
import io
import json
import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tests.faults.processes import FMA, start_and_wait
from transforms.dataset import manifest as manifests
from transforms.dataset.generation import Generation
from transforms.dataset.verify import verify

SMALL_FMA = (sys.executable, "-m", "tests.faults.small_fma")
INGEST = ["--n-mels", "32", "--window-frames", "20", "--features", "mel,raw,stats", "--max-failures", "50"]
TRAIN = ["--device", "cpu", "--batch-size", "8", "--data", "{w}/dataset", "--run", "{w}/run"]
TRACKS = 16
PROCESSES = "processes"
"""As the begin of a moment: the command has started another process."""


@dataclass(frozen=True)
class Moment:
    """When and how to disturb a command.

    Attributes:
      after: a pattern of files below the scene's folder, or `PROCESSES`; the moment counts from when there is one that
        was not there before. Always `PROCESSES` for a child.
      within: up to how many seconds later, drawn by the seed.
      signal: its name.
      victim: `command`, `group` (as a terminal does that is closed, and Ctrl-C) or `child`.
    """

    after: str
    within: float
    signal: str = "KILL"
    victim: str = "command"

    def __str__(self) -> str:
        return f"{self.signal} to {self.victim} up to {self.within:g} s after {self.after or 'the start'}"


@dataclass(frozen=True)
class Scene:
    """A command that writes; {w} in its words is the folder that it works in.

    Attributes:
      prepare: fills an empty folder with what the command starts from.
      result: what a folder holds when the command has ended well; equal for equal results.
      dataset: whether {w}/dataset is to be sound after every kill, too.
    """

    name: str
    prepare: Callable[[Path], None]
    words: list[str]
    result: Callable[[Path], str]
    moments: list[Moment]
    dataset: bool = False
    program: Sequence[str] = FMA


def succeed(work: Path, *words: str, program: Sequence[str] = FMA) -> None:
    """Run a command to its end; AssertionError where it fails."""
    command = start_and_wait([word.format(w=work) for word in words], work.parent / "prepare-tmp", program)
    assert command.process.returncode == 0, command.stderr


def dataset_result(work: Path) -> str:
    """The digest and the genres of a dataset that is sound and has no other files."""
    dataset = work / "dataset"
    manifest = manifests.load(str(dataset))
    statistics = sorted(manifest.transform_fn.kinds) if manifest.transform_fn else []
    return f"{manifest.digest} {manifest.labels} {statistics} {problems_of(dataset)} {leftovers(dataset)}"


def problems_of(dataset: Path) -> list[str]:
    """Verify a dataset without a word."""
    with contextlib.redirect_stderr(io.StringIO()):
        return verify(str(dataset), manifests.load(str(dataset))).problems


def leftovers(dataset: Path) -> list[str]:
    """Return files that no manifest lists."""
    manifest = manifests.load(str(dataset))
    listed = {dataset / file.path for file in manifest.files()}
    found = [path for path in dataset.rglob("*") if path.is_file() and path.name not in ("dataset.json", ".lock")]
    if manifest.transform_fn:
        found = [path for path in found if dataset / manifest.transform_fn.path not in path.parents]
    return sorted(str(path.relative_to(dataset)) for path in found if path not in listed)


def run_result(run: Path) -> str:
    """The metrics and predictions of a run, and the names of its files."""
    texts = [json.dumps(json.loads((run / "metrics.json").read_text()))]
    for path in sorted((run / "predictions").iterdir()):
        with np.load(path) as arrays:
            texts += [f"{path.name} {name} {arrays[name].tolist()}" for name in arrays.files]
    names = {str(path.relative_to(run)) for path in run.rglob("*") if path.is_file() and "logs" not in path.parts}
    return "\n".join([*texts, *sorted(names)])


def train_result(work: Path) -> str:
    """A finished run."""
    assert json.loads((work / "run" / "state.json").read_text())["finished"]
    return run_result(work / "run")


def workflow_result(work: Path) -> str:
    """A dataset, its runs and the report."""
    assert (work / "report.html").is_file()
    return "\n".join(
        [dataset_result(work), *(f"{run.name} {run_result(run)}" for run in sorted((work / "runs").iterdir()))]
    )


def export_result(work: Path) -> str:
    """The names of an export's files and the export's own description."""
    out = work / "exported"
    return f"{sorted(str(path.relative_to(out)) for path in out.rglob('*'))} {(out / 'export.json').read_text()}"


def baselines_result(work: Path) -> str:
    """A run of baselines."""
    return run_result(work / "run")


class Stage:
    """The music, and the datasets and runs that scenes start from; each is made when it is first needed.

    Args:
      base: an empty folder.
    """

    def __init__(self, base: Path):
        self._base = base
        self.music, self.tables = base / "music", base / "tables"
        make_tables(self.music, self.tables)

    def ingest(self, table: str) -> list[str]:
        """Return the words of an ingest of a table."""
        words = ["ingest", "--audio", str(self.music), "--metadata", str(self.tables / table), *INGEST]
        return [*words, "--out", "{w}/dataset", "--workers", "2"]

    def copy(self, name: str) -> Callable[[Path], None]:
        """Return a function that fills a folder with what the method of that name makes."""

        def prepare(work: Path) -> None:
            made = self._base / f"made-{name}"
            if not made.exists():
                made.mkdir()
                getattr(self, name)(made)
            shutil.copytree(made, work, dirs_exist_ok=True)

        return prepare

    def nothing(self, _: Path) -> None:
        """Leave the folder empty."""

    def half(self, work: Path) -> None:
        """Ingest half of the tracks."""
        succeed(work, *self.ingest("half.csv"))

    def whole(self, work: Path) -> None:
        """Ingest all tracks, one of which fails."""
        succeed(work, *self.ingest("broken.csv"), "--shards", "4")

    def large(self, work: Path) -> None:
        """Write a dataset that takes some seconds to compact."""
        from tests.trainers.synthetic import write_dataset

        dataset = work / "dataset"
        write_dataset(dataset, tracks={"training": 150, "validation": 30, "test": 30}, windows=12, shards=4)
        manifest = manifests.load(str(dataset))
        manifest.generations.append(Generation("0002-empty", ""))
        manifests.commit(str(dataset), manifest)

    def analysed(self, work: Path) -> None:
        """Ingest half of the tracks and analyse them."""
        self.copy("half")(work)
        succeed(work, "statistics", "{w}/dataset", "--workers", "1")

    def trained(self, work: Path) -> None:
        """Train a small model."""
        self.copy("analysed")(work)
        succeed(work, "train", "tiny", *TRAIN, program=SMALL_FMA)


def make_scenes(base: Path) -> list[Scene]:
    """Return all scenes.

    Args:
      base: an empty folder for what they share.
    """
    stage = Stage(base)
    return [*ingest_scenes(stage), *dataset_scenes(stage), run_scene(stage), *training_scenes(stage)]


SHARD, STAGED = "dataset/mel/*/*.tfrecord", "dataset/mel/*/.*.tmp"


def ingest_scenes(stage: Stage) -> list[Scene]:
    """A new dataset, growth in batches, changed tracks and failed ones."""
    grow = [*stage.ingest("all.csv"), "--commit-every", "6"]
    update, retry = [*stage.ingest("changed.csv"), "--update"], [*stage.ingest("repaired.csv"), "--retry-failed"]
    new_moments = [
        Moment("", 2),
        Moment("dataset/.lock", 2, "TERM"),
        Moment(PROCESSES, 4, "KILL", "child"),
        Moment(STAGED, 0.3),
        Moment(SHARD, 0.2, "HUP", "group"),
        Moment("dataset/dataset.json", 0.1),
    ]
    growth_moments = [
        Moment(PROCESSES, 6, "KILL", "child"),
        Moment(SHARD, 0.2),
        Moment(SHARD, 1, "TERM"),
        Moment(SHARD, 3, "INT", "group"),
    ]
    update_moments = [Moment(STAGED, 0.5), Moment(SHARD, 0.05), Moment(SHARD, 1, "TERM")]
    retry_moments = [Moment(STAGED, 0.3), Moment(SHARD, 0.5)]
    return [
        Scene("ingest", stage.nothing, grow, dataset_result, new_moments, dataset=True),
        Scene("growth", stage.copy("half"), grow, dataset_result, growth_moments, dataset=True),
        Scene("update", stage.copy("whole"), update, dataset_result, update_moments, dataset=True),
        Scene("retry", stage.copy("whole"), retry, dataset_result, retry_moments, dataset=True),
    ]


def dataset_scenes(stage: Stage) -> list[Scene]:
    """What else writes to a dataset."""
    compact, statistics = ["compact", "{w}/dataset", "--remove-old"], ["statistics", "{w}/dataset", "--workers", "2"]
    compact_moments = [
        Moment("", 0.6),
        Moment(STAGED, 0.2),
        Moment(STAGED, 0.4, "TERM"),
        Moment(SHARD, 0.3, "HUP", "group"),
        Moment(PROCESSES, 1, "KILL", "child"),
    ]
    statistics_moments = [
        Moment(PROCESSES, 2),
        Moment(PROCESSES, 5, "TERM"),
        Moment("dataset/transform_fn/*/*", 0.5),
    ]
    return [
        Scene("compact", stage.copy("large"), compact, dataset_result, compact_moments, dataset=True),
        Scene("statistics", stage.copy("half"), statistics, dataset_result, statistics_moments, dataset=True),
    ]


def run_scene(stage: Stage) -> Scene:
    """All steps by one command."""
    words = ["run", "--audio", str(stage.music), "--metadata", str(stage.tables / "half.csv"), *INGEST]
    words += ["--out", "{w}", "--workers", "2", "--models", "mel_cnn,baselines"]
    words += ["--options", "mel_cnn=--epochs 2 --batch-size 8", "--options", "baselines=--models gnb --jobs 1"]
    moments = [
        Moment(PROCESSES, 4),
        Moment("dataset/dataset.json", 6, "TERM"),
        Moment("runs/*/config.json", 2),
        Moment("runs/baselines-*/config.json", 1, "HUP", "group"),
    ]
    return Scene("run", stage.nothing, words, workflow_result, moments)


def training_scenes(stage: Stage) -> list[Scene]:
    """Training in each phase and with more epochs, the classical models, and an export."""
    baselines = ["baselines", "--data", "{w}/dataset", "--run", "{w}/run", "--models", "gnb,knn,logreg", "--jobs", "2"]
    transfer_moments = [
        Moment("run/config.json", 0.5),
        Moment("run/features/*.npz", 0.2),
        Moment("run/state.json", 0.1, "TERM"),
        Moment("run/backup/epoch-0004/*", 0.3),
        Moment("run/predictions/*", 0.05),
    ]
    transfer = Scene(
        "head and fine-tuning",
        stage.copy("analysed"),
        ["train", "tiny_transfer", *TRAIN],
        train_result,
        transfer_moments,
        program=SMALL_FMA,
    )
    cnn, cnn_moments = (
        ["train", "mel_cnn", "--epochs", "2", *TRAIN],
        [Moment("", 6, "TERM"), Moment("run/state.json", 1)],
    )
    more, more_moments = ["train", "tiny", *TRAIN, "--epochs", "3"], [Moment("run/backup/epoch-0003/*", 0.3)] * 2
    baselines_moments = [Moment("run/.lock", 1), Moment("run/models/*", 0.1)]
    export = ["export", "{w}/run", "--out", "{w}/exported", "--no-tflite"]
    return [
        transfer,
        Scene("mel_cnn", stage.copy("analysed"), cnn, train_result, cnn_moments),
        Scene("more epochs", stage.copy("trained"), more, train_result, more_moments, program=SMALL_FMA),
        Scene("baselines", stage.copy("half"), baselines, baselines_result, baselines_moments),
        Scene("export", stage.copy("trained"), export, export_result, [Moment("", 4)], program=SMALL_FMA),
    ]


def make_tables(music: Path, tables: Path) -> None:
    """Write the music and the tables: half and all of it, one with a broken file, which `repaired` has whole, and
    `changed`, in which one track has another file and one is gone.
    """
    from tests.pipelines.ingest.test_ingest import make_music

    for folder in (music, tables):
        folder.mkdir()
    make_music(music, TRACKS, name="all.csv")
    lines = (music / "all.csv").read_text().splitlines()

    def write(name: str, rows: list[str]) -> None:
        (tables / name).write_text("\n".join(rows) + "\n")

    write("all.csv", lines)
    write("half.csv", lines[: 1 + TRACKS // 2])
    (music / "broken.mp3").write_bytes(b"no music" * 500)
    write("broken.csv", [*lines[:-1], lines[-1].replace(lines[-1].split(",")[1], "broken.mp3")])
    write("repaired.csv", lines)
    write("changed.csv", [lines[0], lines[1].replace(lines[1].split(",")[1], lines[9].split(",")[1]), *lines[3:-1]])
