"""Reading many files on all cores."""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import TypeVar

from transforms.shard_files import ShardFile

Item = TypeVar("Item")
Result = TypeVar("Result")
IN_PROCESS_UP_TO = 64 << 20
"""Bytes below which starting processes costs more than they save."""


def map_files(function: Callable[[ShardFile], Result], files: Sequence[ShardFile]) -> Iterator[Result]:
    """`function` of each file, in order; in processes of their own where there is much to read.

    Args:
      function: picklable.
      files: of a manifest.
    """
    if sum(file.bytes for file in files) <= IN_PROCESS_UP_TO:
        yield from map(function, files)
        return
    yield from in_processes(function, files)


def in_processes(function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """`function` of each item, in order, on all cores; both must be picklable."""
    with ProcessPoolExecutor(cores()) as pool:
        yield from pool.map(function, items)


def cores() -> int:
    """Processors that this process may use; of the machine, where the system does not tell (macOS)."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
