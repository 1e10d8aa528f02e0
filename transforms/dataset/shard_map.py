"""Work on many shards: a function makes a `ShardResult` of each plan line, on this machine or, by `pipelines`, on Beam.

Only lines go to workers and come back; what is large they write to files.
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

from transforms.dataset.generation import ShardFile, ShardResult
from transforms.runtime import console, temporary

IN_PROCESS_UP_TO = 512 << 20  # bytes below which starting processes costs more than they save

ShardFunction = Callable[[str], ShardResult]
"""Picklable; its result has the name of the shard whose line it is given."""


@dataclass(frozen=True, slots=True)
class ShardTask:
    """One shard's part of the work."""

    name: str  # unique in the work
    line: str  # all that the function needs to know of the shard, without a line's end
    bytes: int  # to read, for the progress

    @classmethod
    def of_file(cls, file: ShardFile) -> "ShardTask":
        """Return the task of reading a file, whose line is that of `ShardFile.to_line`."""
        return cls(file.path, file.to_line(), file.bytes)


class ShardMap(Protocol):
    """Who does the work."""

    @property
    def needs_lock(self) -> bool:
        """Whether files lie in the dataset's folder while the work is done, also where the dataset is only read."""

    def folder(self) -> AbstractContextManager[str]:
        """Return a context that yields a new folder which all workers see, and removes it."""

    def run(
        self,
        label: str,
        function: ShardFunction,
        tasks: Sequence[ShardTask],
        *,
        generation: str = "",
        note: Callable[[], str] = str,
    ) -> Iterator[ShardResult]:
        """Return the tasks' results in the order of the tasks.

        Args:
          label: of the progress.
          generation: that the work writes, whose files are announced; "" for work that only reads the dataset.
          note: gives a text for the progress, where results are seen while others are computed.

        Raises:
          FmaError: as the function raises, of the first task in order where one fails; or a worker died.
        """


@dataclass(frozen=True, slots=True)
class LocalMap:
    """This process, or processes of this machine."""

    workers: int | None = None  # processes, or None for one for each core, and none where there is little to read
    needs_lock = False

    def folder(self) -> AbstractContextManager[str]:
        """Return a context that yields a new temporary folder, and removes it."""
        return temporary.new_folder()

    def run(
        self,
        label: str,
        function: ShardFunction,
        tasks: Sequence[ShardTask],
        *,
        generation: str = "",
        note: Callable[[], str] = str,
    ) -> Iterator[ShardResult]:
        """Yield the tasks' results in order, each as soon as it and those before it are there; see `ShardMap`."""
        total = sum(task.bytes for task in tasks)
        with console.progress(label, total, "bytes") as progress, self._map(total) as compute:
            for task, result in zip(tasks, compute(function, [task.line for task in tasks]), strict=True):
                yield result
                progress.advance(task.bytes, note())

    def _map(self, total: int) -> AbstractContextManager[Callable[..., Iterator[Any]]]:
        if self.workers == 1 or (self.workers is None and total <= IN_PROCESS_UP_TO):
            return contextlib.nullcontext(map)
        from transforms.runtime.pool import process_pool  # slow to import

        return process_pool(self.workers)


ALL_CORES = LocalMap()
