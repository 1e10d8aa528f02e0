"""Functions computed on all cores, in processes."""

import contextlib
import pickle
import queue
import traceback
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from multiprocessing.connection import Connection
from typing import TypeVar

from transforms.errors import FmaError
from transforms.runtime import children, cores

Item = TypeVar("Item")
Result = TypeVar("Result")


@contextlib.contextmanager
def process_pool(
    processes: int | None = None,
) -> Iterator[Callable[[Callable[[Item], Result], Iterable[Item]], Iterator[Result]]]:
    """Yield a `map` that computes in processes, one for each core: function, items and results must be picklable.

    Raises:
      FmaError: a process died.
    """
    pool = [children.start("from transforms.runtime.pool import serve; serve()") for _ in range(processes or cores())]
    idle: queue.SimpleQueue[Connection] = queue.SimpleQueue()
    for _, channel in pool:
        idle.put(channel)

    def call(function: Callable[[Item], Result], item: Item) -> Result:
        task = pickle.dumps((function, item), protocol=5)
        channel = idle.get()
        try:
            channel.send_bytes(task)
            result, error = channel.recv()
        except (EOFError, BrokenPipeError, ConnectionResetError) as broken:
            raise FmaError("a process died (out of memory?); run the command again") from broken
        finally:
            idle.put(channel)
        if error:
            raise error
        return result

    threads = ThreadPoolExecutor(len(pool), thread_name_prefix="pool")
    try:
        yield lambda function, items: threads.map(partial(call, function), items)
    finally:
        threads.shutdown(wait=False, cancel_futures=True)
        for child, _ in pool:
            child.kill()
        threads.shutdown()
        for child, channel in pool:
            child.wait()
            channel.close()


def serve() -> None:
    """Compute what a parent's `process_pool` sends, until it is gone."""
    channel = children.connection()
    with contextlib.suppress(EOFError, BrokenPipeError, ConnectionResetError):
        while True:
            channel.send(_compute(*channel.recv()))


def _compute(function: Callable[[Item], Result], item: Item) -> tuple[Result | None, Exception | None]:
    try:
        return function(item), None
    except Exception as error:  # noqa: BLE001 - raised by the parent
        error.add_note(f"in a process of the pool:\n{traceback.format_exc()}")
        return None, error
