"""Reading many files on all cores."""

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import TypeVar

from transforms.shard_files import ShardFile

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
    with ProcessPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        yield from pool.map(function, files)
