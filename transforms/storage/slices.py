"""Parts of files, read ahead: an address takes its time to answer, and answers many at once."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

AT_ONCE = 8
"""Requests at a time; the client keeps ten connections."""


@dataclass(frozen=True, slots=True)
class Slice:
    """A part of a file: its path, the first byte and how many."""

    path: str
    offset: int
    length: int


def read_ahead(work: Callable[[Item], Result], items: Iterable[Item], ahead: int = 2 * AT_ONCE) -> Iterator[Result]:
    """work(item) of each item, in order; threads are up to `ahead` items before the one that is asked for."""
    with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="storage") as pool:
        waiting: deque[Future[Result]] = deque()
        try:
            for item in items:
                waiting.append(pool.submit(work, item))
                if len(waiting) > ahead:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
