"""Running the graph: one node after the other, each as a command in a process of its own."""

import shlex
import subprocess
import sys
import time
from dataclasses import dataclass

from pipelines.dag.graph import Node, Result, hindrance
from transforms.errors import FmaError
from transforms.runtime import console
from transforms.runtime.console import human_seconds


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
        hindered = hindrance(node, {name: step.result for name, step in steps.items()})
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
