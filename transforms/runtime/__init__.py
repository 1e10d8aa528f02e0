"""The process that runs: its terminal, its standard error, the cores that it may use."""

import os
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def in_processes(function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """Yield `function` of each item, in order, computed on all cores; both must be picklable."""
    from concurrent.futures import ProcessPoolExecutor  # half of the start-up of commands that need none

    with ProcessPoolExecutor(cores()) as pool:
        yield from pool.map(function, items)


def cores() -> int:
    """Return the number of processors that this process may use; all of the machine's where that is unknown (macOS)."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
