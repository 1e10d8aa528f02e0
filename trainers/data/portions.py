"""Which records of a split each of several processes reads: shares of equal size, as portions of shards."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from transforms.dataset.generation import ShardFile


class Share(NamedTuple):
    """The share of one of several processes."""

    process: int  # counted from 0
    processes: int


WHOLE = Share(0, 1)


@dataclass(frozen=True, slots=True)
class Portion:
    """Neighbouring records of a shard: those from `start` up to `stop`."""

    shard: ShardFile
    start: int
    stop: int

    @property
    def records(self) -> int:
        """Their number."""
        return self.stop - self.start

    @property
    def length(self) -> int:
        """Their number as tf.data takes it: -1 for the rest of the shard, so that too many in it are noticed."""
        return -1 if self.stop == self.shard.records and self.records else self.records

    @property
    def bytes(self) -> int:
        """Their size, about."""
        return self.shard.bytes * self.records // max(1, self.shard.records)


def divide(shards: Sequence[ShardFile], share: Share = WHOLE) -> list[Portion]:
    """Return the records of a share: neighbouring ones, as many as in any other or one less.

    Every record is in exactly one share. A shard in which two shares meet is read for both, and each takes its own
    records: shards do not divide evenly, and a process that has fewer records than another would end its epoch early.

    Returns:
      at least one portion, which may be empty.
    """
    total = sum(shard.records for shard in shards)
    first, last = share.process * total // share.processes, (share.process + 1) * total // share.processes
    found, start = [], 0
    for shard in shards:
        begin, end = max(first, start), min(last, start + shard.records)
        if begin < end:
            found.append(Portion(shard, begin - start, end - start))
        start += shard.records
    return found or [Portion(shards[0], 0, 0)]
