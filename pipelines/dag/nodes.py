"""The nodes of `fma run`: ingest -> statistics -> each trainer and the baselines -> report.

Each declares its inputs: what it reads, by digest, its settings, and the version of this program. A trainer's run
folder carries a key of these in its name, so a run on a grown dataset stands beside the one before, and a run that was
broken off is found again.
"""

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from typing import Any

from pipelines.dag.graph import Decision, Node
from pipelines.dag.memory import Memory, changed, key_of
from pipelines.ingest import examine
from pipelines.statistics import nothing_to_do
from transforms import storage
from transforms.dataset.manifest import load

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
    found = {} if model == BASELINES else manifest.transform_fn or {}
    statistics = {key: value for key, value in found.items() if key != "path"}  # what they are of, not where they lie
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
