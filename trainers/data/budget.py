"""How much of a split is kept in memory: decided from the manifest's bytes and from what this machine has free."""

import os
from dataclasses import dataclass
from typing import Literal

Cache = Literal["auto", "on", "off"]

CACHE_SHARE = 1 / 3
"""Of the free memory, for one split: training and validation may both be cached and leave room for the model."""

SHUFFLE_SHARE = 1 / 8
"""Of the free memory, for records that wait to be drawn."""

MIN_SHUFFLE = 256
"""Records that are shuffled among each other even where memory is short."""

_CGROUPS = (
    ("sys/fs/cgroup/memory.max", "sys/fs/cgroup/memory.current", "sys/fs/cgroup/memory.stat"),
    (
        "sys/fs/cgroup/memory/memory.limit_in_bytes",
        "sys/fs/cgroup/memory/memory.usage_in_bytes",
        "sys/fs/cgroup/memory/memory.stat",
    ),
)
"""(limit, use, details) of this process's control group, version 2 and 1."""


@dataclass(frozen=True, slots=True)
class Budget:
    """What `plan_memory` decided: whether to cache, and records in the shuffle buffer (0: no shuffling)."""

    cache: bool
    shuffle: int


def plan_memory(records: int, size: int, memory: int, cache: Cache, shuffle: bool) -> Budget:
    """Decides what of a split to keep in memory.

    Args:
      records: in the split.
      size: bytes of its shards.
      memory: free bytes.
      cache: "auto" caches a split that fits into its share of the memory.
      shuffle: whether records are shuffled: all of them among each other where the split is cached (the buffer then
        holds the cache's own bytes) or fits, else as many as fit.
    """
    cached = cache == "on" or (cache == "auto" and size <= memory * CACHE_SHARE)
    if not shuffle:
        return Budget(cached, 0)
    fit = int(memory * SHUFFLE_SHARE * records / max(1, size))
    return Budget(cached, records if cached else min(records, max(MIN_SHUFFLE, fit)))


def available_memory(root: str = "/") -> int:
    """Bytes that this process can still take: what the kernel calls available, within its control group's limit.

    Args:
      root: folder that holds proc/ and sys/.
    """
    amounts = [_control_group(root, *names) for names in _CGROUPS] + [_kernel_estimate(root)]
    known = [amount for amount in amounts if amount is not None]
    # Where there is neither (macOS), half of what is built in.
    return min(known) if known else os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2


def _read_text(root: str, name: str) -> str:
    try:
        with open(os.path.join(root, name), encoding="ascii") as file:
            return file.read()
    except FileNotFoundError:
        return ""


def _kernel_estimate(root: str) -> int | None:
    for line in _read_text(root, "proc/meminfo").splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return None


def _control_group(root: str, limit_name: str, use_name: str, stat_name: str) -> int | None:
    limit, use = _read_text(root, limit_name).strip(), _read_text(root, use_name).strip()
    if not limit.isdigit() or not use.isdigit():
        return None  # no such group, or "max"
    fields = dict(line.split(maxsplit=1) for line in _read_text(root, stat_name).splitlines())
    # File pages that nobody uses are counted as used, and are given up when memory is asked for.
    idle = int(fields.get("total_inactive_file", fields.get("inactive_file", 0)))
    return max(0, int(limit) - max(0, int(use) - idle))
