"""Files read over a network by ranges of bytes: a buffering file object with few requests, and prefetching."""

import io
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

AT_ONCE = 8  # concurrent requests; the client keeps ten connections
FIRST = 3 << 19  # bytes that are requested when a file is opened: a whole clip of 30 s (1.2 MB at 320 kb/s)

LEAST, MOST = 1 << 18, 1 << 23  # bytes that are read ahead: doubled with each request that continues the last one

TAIL = 1 << 20  # bytes that are requested at the end of a file, where a zip has its directory (of 10,000 files, say)


@dataclass(frozen=True, slots=True)
class Slice:
    """A part of a file: its path, the first byte and the number of bytes."""

    path: str
    offset: int
    length: int


def read_ahead(work: Callable[[Item], Result], items: Iterable[Item], ahead: int = 2 * AT_ONCE) -> Iterator[Result]:
    """Yield work(item) of each item, in order; threads work up to `ahead` items ahead."""
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


class RangedFile(io.BufferedIOBase):
    """A seekable, buffered file for reading; its memory is bounded by `MOST` and by the largest read.

    Args:
      fetch: fetch(start, stop) returns the bytes from start up to stop, or to the end where stop is None; fewer, or
        none, where the file ends.
      measure: returns the file's size; called only when it is needed.
    """

    def __init__(self, fetch: Callable[[int, int | None], bytes], measure: Callable[[], int]):
        self._fetch, self._measure = fetch, measure
        self._position = 0
        self._ahead = LEAST
        self._expected = range(0)  # bytes that `expect` has announced
        self._start, self._buffer = 0, fetch(0, FIRST)
        self._size = len(self._buffer) if len(self._buffer) < FIRST else None

    @property
    def size(self) -> int:
        """Bytes of the file."""
        if self._size is None:
            self._size = self._measure()
        return self._size

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position}
        position = offset + (self.size if whence == io.SEEK_END else base[whence])
        if position < 0:
            raise OSError(22, "Invalid argument")  # as a local file does
        self._position = position
        return position

    def expect(self, offset: int, length: int) -> None:
        """Announce that `length` bytes from `offset` on are read next, so that one request fetches them."""
        if self._buffered(offset) < length:
            self._start, self._buffer = offset, b""
            self._expected = range(offset, offset + length)

    def read(self, size: int | None = -1, /) -> bytes:
        if size is None or size < 0:
            if self._size is None:
                return self._read_all()
            size = max(0, self._size - self._position)
        parts = []
        while size and (self._buffered(self._position) or self._fill(size)):
            parts.append(self._take(size))
            size -= len(parts[-1])
        return b"".join(parts)

    def _read_all(self) -> bytes:
        """Read the rest of a file whose size is not known yet."""
        held = self._take(self._buffered(self._position))
        rest = self._fetch(self._position, None)
        self._position += len(rest)
        self._size = self._position if rest else None
        return held + rest

    def read1(self, size: int = -1, /) -> bytes:
        if not self._buffered(self._position):
            self._fill(max(size, 1))
        return self._take(self._buffered(self._position) if size < 0 else size)

    def peek(self, size: int = 0, /) -> bytes:
        """Return what is in the buffer, without moving the position; `readline` searches it."""
        if not self._buffered(self._position):
            self._fill(1)
        at = self._position - self._start
        return self._buffer[at : at + max(size, 1 << 13)]

    def _buffered(self, position: int) -> int:
        """Return the number of buffered bytes from a position on."""
        at = position - self._start
        return len(self._buffer) - at if 0 <= at <= len(self._buffer) else 0

    def _take(self, size: int) -> bytes:
        at = self._position - self._start
        data = self._buffer[at : at + size] if self._buffered(self._position) else b""
        self._position += len(data)
        return data

    def _fill(self, size: int) -> bool:
        """Fetch at least `size` bytes from the position on; return whether there were any."""
        if self._size is not None and self._position >= self._size:
            return False
        start, stop = self._choose(size)
        data = self._fetch(start, stop)
        if 0 < len(data) < stop - start:
            self._size = start + len(data)
        self._start, self._buffer = start, data
        return self._buffered(self._position) > 0

    def _choose(self, size: int) -> tuple[int, int]:
        """Return the range to fetch."""
        position = self._position
        goes_on = bool(self._buffer) and position == self._start + len(self._buffer)
        if position in self._expected:
            return position, max(self._expected.stop, position + size)
        if self._size is not None and self._size - position <= TAIL and not goes_on:
            return max(0, min(position, self._size - TAIL)), self._size
        self._ahead = min(MOST, 2 * self._ahead) if goes_on else LEAST
        # A large piece from a new position is most likely all that is wanted there.
        return position, position + (max(size, self._ahead) if goes_on or size < LEAST else size)
