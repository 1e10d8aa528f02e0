"""The steps of `fma run`: ingest -> statistics -> trainers and baselines -> report; only what changed is done."""

import argparse
import hashlib
import json
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from enum import Enum
from functools import partial
from importlib.metadata import version
from typing import Any

from pipelines.commands.ingest import examine
from pipelines.commands.statistics import nothing_to_do
from transforms import storage
from transforms.dataset.manifest import load
from transforms.errors import FmaError, check_format_version
from transforms.runtime import console
from transforms.runtime.console import human_seconds


class Result(Enum):
    """How a node ended."""

    DONE = "done"
    SKIPPED = "skipped"
    FAILED = "failed"
    NOT_RUN = "not run"


@dataclass(frozen=True, slots=True)
class Decision:
    """Whether a node has to run.

    Attributes:
      needed: whether something it depends on has changed since it was done.
      why: for the user, in a few words.
    """

    needed: bool
    why: str


@dataclass(frozen=True, slots=True)
class Node:
    """One step.

    Attributes:
      name: unique in its graph.
      needs: nodes without which it cannot run.
      takes: nodes whose results it uses as far as there are any; at least one of them, where there are some.
      decide: compares its inputs with those of the last time; called when what it needs is done.
      command: arguments of `fma` that run it alone; called when it runs.
      keep: called after it was done, to remember its inputs.
    """

    name: str
    needs: tuple[str, ...]
    decide: Callable[[], Decision]
    command: Callable[[], list[str]]
    keep: Callable[[], None]
    takes: tuple[str, ...] = ()


def blocked_by(node: Node, results: Mapping[str, Result]) -> str:
    """Why a node cannot run after what the others came to, or ""."""
    bad = (Result.FAILED, Result.NOT_RUN)
    missing = [name for name in node.needs if results[name] in bad]
    if node.takes and all(results[name] in bad for name in node.takes):
        missing += node.takes
    return f"needs {', '.join(missing)}" if missing else ""


def plan(nodes: list[Node]) -> dict[str, Decision]:
    """What would run, without running it: a node behind one that runs would run too, or at least look again."""
    decisions: dict[str, Decision] = {}
    for node in nodes:
        before = [name for name in (*node.needs, *node.takes) if decisions[name].needed]
        decisions[node.name] = Decision(True, f"after {', '.join(before)}") if before else node.decide()
    return decisions


FILE_NAME = "run.json"
FORMAT_VERSION = 1


def key_of(inputs: dict[str, Any]) -> str:
    """A short, stable name for inputs, 8 hex digits."""
    return hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()[:8]


class Memory:
    """The inputs with which each node of a working folder was last done.

    Args:
      work: the folder; need not exist yet.

    Raises:
      FmaError: its run.json is damaged or of a newer version.
    """

    def __init__(self, work: str):
        self._path = storage.join(work, FILE_NAME)
        self._done: dict[str, dict[str, Any]] = {}
        if storage.exists(self._path):
            self._done = self._read()

    def _read(self) -> dict[str, dict[str, Any]]:
        try:
            values = json.loads(storage.read_bytes(self._path))
            check_format_version(self._path, values, FORMAT_VERSION)
            return values["done"]
        except (ValueError, KeyError, TypeError) as error:
            raise FmaError(f"{self._path} is damaged ({error}); remove it to run every step again") from None

    def inputs(self, name: str) -> dict[str, Any] | None:
        """Those with which a node was last done, or None."""
        return self._done.get(name)

    def keep(self, name: str, inputs: dict[str, Any]) -> None:
        """Remembers that a node was done."""
        self._done[name] = inputs
        text = json.dumps({"format_version": FORMAT_VERSION, "done": self._done}, indent=2, sort_keys=True)
        storage.write_bytes(self._path, f"{text}\n".encode())


def changed(before: dict[str, Any] | None, now: dict[str, Any]) -> str:
    """Which inputs differ from the last time, in a few words; "" for none."""
    if before is None:
        return "not done yet"
    names = sorted(name for name in {*before, *now} if before.get(name) != now.get(name))
    return f"{', '.join(names)} changed" if names else ""


@dataclass(frozen=True, slots=True)
class Step:
    """What became of a node.

    Attributes:
      result: how it ended.
      note: why, or how long it took.
      command: that runs it alone, where it was tried.
    """

    result: Result
    note: str
    command: str = ""


def execute(nodes: list[Node]) -> dict[str, Step]:
    """Runs what has to run; a node that fails costs those that need it, and no others.

    Returns:
      what became of each node, in the order given.
    """
    steps: dict[str, Step] = {}
    for at, node in enumerate(nodes, 1):
        hindered = blocked_by(node, {name: step.result for name, step in steps.items()})
        steps[node.name] = Step(Result.NOT_RUN, hindered) if hindered else _run(node, f"[{at}/{len(nodes)}]")
    return steps


def _run(node: Node, position: str) -> Step:
    try:
        decision = node.decide()
    except FmaError as error:
        console.log(f"{position} {node.name}: {error}")
        return Step(Result.FAILED, str(error))
    if not decision.needed:
        console.log(f"{position} {node.name}: skipped, {decision.why}")
        return Step(Result.SKIPPED, decision.why)
    arguments = node.command()
    command = shlex.join(["fma", *arguments])
    console.log(f"{position} {node.name}: {decision.why}")
    console.log(f"      {command}")
    started = time.monotonic()
    code = subprocess.run([sys.executable, "-m", "fma", *arguments], check=False).returncode
    took = human_seconds(time.monotonic() - started)
    if code:
        return Step(Result.FAILED, f"exit code {code} after {took}", command)
    node.keep()
    return Step(Result.DONE, took, command)


Inputs = Callable[[], dict[str, Any]]
Command = Callable[[], list[str]]
_Parts = tuple[Callable[[], Decision], Command, Callable[[], None]]

BASELINES = "baselines"
DATASET, REPORT = "dataset", "report.html"


@dataclass(frozen=True)
class Work:
    """What a `fma run` is about.

    Attributes:
      folder: WORK.
      ingest: arguments of `fma ingest`, parsed.
      ingest_words: the same as they were given.
      beam_words: those that go to Beam, in statistics too.
      models: options by model, in order; `baselines` is one of them.
      memory: of the folder.
    """

    folder: str
    ingest: argparse.Namespace
    ingest_words: list[str]
    beam_words: list[str]
    models: dict[str, list[str]]
    memory: Memory

    @property
    def dataset(self) -> str:
        """The dataset's folder."""
        return storage.join(self.folder, DATASET)

    @property
    def report(self) -> str:
        """The report's path."""
        return storage.join(self.folder, REPORT)


def make_nodes(work: Work) -> list[Node]:
    """The graph, in an order in which it can run."""
    ingest = Node("ingest", (), partial(_decide_ingest, work), lambda: ["ingest", *work.ingest_words], _nothing)
    statistics = Node(
        "statistics",
        ("ingest",),
        partial(_decide_statistics, work),
        lambda: ["statistics", work.dataset, *work.beam_words],
        _nothing,
    )
    trainers = [_trainer(work, model) for model in work.models]
    inputs, command = partial(_report_inputs, work), partial(_report_command, work)
    report = _remembering(work, "report", inputs, command, lambda: work.report)
    return [ingest, statistics, *trainers, Node("report", ("ingest",), *report, takes=tuple(work.models))]


def _nothing() -> None:
    """Ingest and statistics leave what they did in dataset.json."""


def _decide_ingest(work: Work) -> Decision:
    manifest, growth = examine(work.ingest)
    if growth.has_work:
        parts = [f"{len(growth.new):,} new tracks"] if growth.new else []
        gone = len(growth.drop | growth.drop_failures)
        parts += [f"{gone:,} to take out"] if gone else []
        return Decision(True, ", ".join(parts))
    if not storage.exists(work.dataset) or not manifest.generations:
        return Decision(True, "not done yet")
    return Decision(False, f"nothing new, {growth.kept:,} tracks kept")


def _decide_statistics(work: Work) -> Decision:
    reason = nothing_to_do(work.dataset, load(work.dataset))
    return Decision(False, reason) if reason else Decision(True, "the training split is not analysed yet")


def _trainer(work: Work, model: str) -> Node:
    inputs, command = partial(_trainer_inputs, work, model), partial(_trainer_command, work, model)
    needs = ("ingest",) if model == BASELINES else ("ingest", "statistics")
    return Node(model, needs, *_remembering(work, model, inputs, command, lambda: run_folder(work, model)))


def _trainer_inputs(work: Work, model: str) -> dict[str, Any]:
    manifest = load(work.dataset)
    statistics = asdict(manifest.transform_fn) if manifest.transform_fn and model != BASELINES else {}
    statistics.pop("path", None)  # what they are of, not where they lie
    return {
        "dataset": manifest.digest,
        "statistics": statistics,
        "settings": work.models[model],
        "version": version("fma-genres"),
    }


def run_folder(work: Work, model: str) -> str:
    """Where a model's run on the dataset as it is now lies."""
    return storage.join(work.folder, "runs", f"{model}-{key_of(_trainer_inputs(work, model))}")


def _trainer_command(work: Work, model: str) -> list[str]:
    name = [BASELINES] if model == BASELINES else ["train", model]
    return [*name, "--data", work.dataset, "--run", run_folder(work, model), *work.models[model]]


def _finished_runs(work: Work) -> dict[str, str]:
    """Run folders by model, of those that were done with the inputs as they are now."""
    done = {model: work.memory.inputs(model) == _trainer_inputs(work, model) for model in work.models}
    return {model: run_folder(work, model) for model in work.models if done[model]}


def _report_inputs(work: Work) -> dict[str, Any]:
    return {
        "dataset": load(work.dataset).digest,
        "runs": list(_finished_runs(work).values()),
        "version": version("fma-genres"),
    }


def _report_command(work: Work) -> list[str]:
    return ["report", *_finished_runs(work).values(), "--data", work.dataset, "--out", work.report]


def _remembering(work: Work, name: str, inputs: Inputs, command: Command, output: Callable[[], str]) -> _Parts:
    """(decide, command, keep) of a node that runs where its inputs have changed or its output is gone."""

    def decide() -> Decision:
        why = changed(work.memory.inputs(name), inputs())
        if not why and not storage.exists(output()):
            why = f"{output()} is gone"
        return Decision(bool(why), why or f"{', '.join(inputs())}: as when {output()} was made")

    return decide, command, lambda: work.memory.keep(name, inputs())
