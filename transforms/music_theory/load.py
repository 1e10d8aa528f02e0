"""Loading the features: Numba compiles the functions of librosa that they use, and keeps them beside librosa.

Two processes that compile the same function at once can keep halves that do not fit each other, and every process that
loads them crashes. So the first one compiles all while the others wait.
"""

import hashlib
import os
import sys
import tempfile
from functools import cache
from importlib.metadata import version
from importlib.util import find_spec
from typing import TYPE_CHECKING

import numpy as np

from transforms.library_errors import NOWHERE_TO_COMPILE
from transforms.storage.local import lock, open_own

if TYPE_CHECKING:
    from transforms.music_theory.theory import Theory

RATE, SECONDS = 22_050, 6
"""Of the sound that is analysed so that all is compiled."""


@cache
def load_theory() -> "type[Theory]":
    """Return the class, with all that it uses compiled.

    Raises:
      OSError: there is no folder where compiled functions can be kept.
    """
    mark = os.path.join(tempfile.gettempdir(), f"fma-genres-{os.getuid()}-{_installation()}")
    if os.path.exists(f"{mark}.compiled"):
        return _import()
    with open_own(f"{mark}.lock") as file:
        lock(file, wait=True)
        theory = _import()
        clicks = np.zeros(RATE * SECONDS, np.float32)
        clicks[:: RATE // 2] = 0.5
        one = theory(RATE)
        one.push(clicks + np.sin(0.1 * np.arange(len(clicks), dtype=np.float32)) / 10)
        one.finish()
        with open_own(f"{mark}.compiled"):
            pass
    return theory


def _import() -> "type[Theory]":
    try:
        from transforms.music_theory.theory import Theory
    except RuntimeError as error:
        if not NOWHERE_TO_COMPILE.search(str(error)):
            raise
        raise OSError(NOWHERE_TO_COMPILE.meaning) from error
    return Theory


def _installation() -> str:
    """Return a text that changes where other compiled functions are used, or none are kept yet."""
    spec = find_spec("librosa")
    place = spec.origin if spec and spec.origin else ""
    facts = (place, os.stat(place).st_ctime_ns, os.environ.get("NUMBA_CACHE_DIR"), version("numba"), sys.version)
    return hashlib.sha256(repr(facts).encode()).hexdigest()[:12]
