"""Which version of this program runs: workers elsewhere may have been set up from another one."""

import functools
import hashlib
from importlib.util import find_spec
from pathlib import Path

ROOMS = ("pipelines", "transforms")
"""The rooms that a worker of ours runs code of."""


@functools.cache
def code_digest() -> str:
    """12 hexadecimal digits; equal for equal source, wherever it is installed."""
    hashed = hashlib.sha256()
    for room in ROOMS:
        spec = find_spec(room)
        assert spec is not None and spec.submodule_search_locations
        folder = Path(next(iter(spec.submodule_search_locations)))
        for path in sorted(folder.rglob("*.py")):
            content = path.read_bytes()
            hashed.update(f"{room}/{path.relative_to(folder)} {len(content)}\n".encode() + content)
    return hashed.hexdigest()[:12]
