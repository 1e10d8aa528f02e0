"""What clients share: places, disk and turns. An address never has more than its share, so that others get theirs."""

import asyncio
import ipaddress
from collections import Counter, deque
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

from trainers.serving.problems import RefusedError

SHARE = 4  # an address may have a quarter of what there is


def client_address(client: tuple[str, int] | None) -> str:
    """Return whom a connection counts for: the address, or the /64 network of IPv6, which one client owns whole."""
    host = client[0] if client else ""
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return host
    if isinstance(address, ipaddress.IPv4Address):
        return host
    return str(address.ipv4_mapped or ipaddress.ip_network((int(address) >> 64 << 64, 64)))


class Shares:
    """Something limited of which clients take some.

    Args:
      most: of all of them together; an address may take a quarter of it.
    """

    def __init__(self, most: int):
        self._most, self._share = most, max(1, most // SHARE)
        self._taken: Counter[str] = Counter()

    def check(self, address: str, amount: int = 1) -> None:
        """Raise a RefusedError where that much is not left, or not for this address."""
        if self._taken[address] + amount > self._share or self._taken.total() + amount > self._most:
            message = "too many songs at once: try again in a moment"
            raise RefusedError(503, "busy", message, {"Retry-After": "1"})

    def take(self, address: str, amount: int) -> None:
        """Take an amount; see `check`."""
        self.check(address, amount)
        self._taken[address] += amount

    def give_back(self, address: str, amount: int) -> None:
        """Give back what was taken."""
        self._taken[address] -= amount
        if not self._taken[address]:
            del self._taken[address]

    @contextmanager
    def one(self, address: str) -> Iterator[None]:
        """Take one while the block runs; see `check`."""
        self.take(address, 1)
        try:
            yield
        finally:
            self.give_back(address, 1)


class Turns:
    """A limited number of turns at once. Those who wait are called by address in rotation, and in order within one."""

    def __init__(self, most: int):
        self._free = most
        self._waiting: dict[str, deque[asyncio.Future[None]]] = {}  # the address whose turn is next comes first

    @asynccontextmanager
    async def take(self, address: str) -> AsyncIterator[None]:
        """Wait for a turn, which lasts while the block runs."""
        if self._free:
            self._free -= 1
        else:
            await self._wait(address)
        try:
            yield
        finally:
            self._call_next()

    async def _wait(self, address: str) -> None:
        turn = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(address, deque()).append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._call_next()
            raise

    def _call_next(self) -> None:
        while self._waiting:
            address = next(iter(self._waiting))
            waiting = self._waiting.pop(address)
            turn = waiting.popleft()
            if waiting:
                self._waiting[address] = waiting
            if not turn.cancelled():
                turn.set_result(None)
                return
        self._free += 1
