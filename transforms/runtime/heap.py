"""The C allocator of this process, for blocks that are made and freed again and again."""

import ctypes
import sys

LARGE = 16 << 20
"""Bytes from which glibc may give a freed block back to the system, and above 32 MiB always does: each fresh page costs
more than what is written to it. Batches of 256 raw records were parsed at half the speed for that."""

_MMAP_MAX, _TRIM_THRESHOLD, _TOP_PAD, _ARENA_MAX = -4, -1, -2, -8  # malloc.h


def keep_large_blocks(size: int) -> None:
    """Let the process keep freed memory, up to 1 GiB, where it will need many blocks of so many bytes.

    Call it before threads start: each of those would have a heap of its own, of at most 64 MiB. Without glibc it does
    nothing.
    """
    if size < LARGE or not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt:
        for name, value in ((_MMAP_MAX, 0), (_TRIM_THRESHOLD, 1 << 30), (_TOP_PAD, 64 << 20), (_ARENA_MAX, 1)):
            mallopt(name, value)
