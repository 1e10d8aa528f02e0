"""The graph behind `fma run`: nodes that are commands of their own, and what is to be done about each."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum


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


def hindrance(node: Node, results: Mapping[str, Result]) -> str:
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
