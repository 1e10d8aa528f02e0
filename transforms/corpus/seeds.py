"""Random numbers that depend on what they are for, and on nothing else: not on order, processes or Python's hash()."""

import hashlib

import numpy as np


def generator(*key: str | int) -> np.random.Generator:
    """A PCG64 stream of its own for each key, the same on every machine.

    Args:
      key: what the numbers are for, the seed first, e.g. (seed, "Rock", 3, 1482).
    """
    digest = hashlib.sha256("\x1f".join(map(str, key)).encode()).digest()
    return np.random.Generator(np.random.PCG64(int.from_bytes(digest[:16], "big")))
