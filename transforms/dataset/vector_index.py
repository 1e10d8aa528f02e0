"""An index of vectors in files: the closest ones of millions in milliseconds, by usearch, an optional library.

The search is approximate (HNSW: Malkov and Yashunin, 2018), so that it may miss some of the closest vectors, and they
are stored in half precision: cosines are off by up to 0.001.
"""

import io
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from transforms import storage
from transforms.errors import FmaError, UsageError
from transforms.library_errors import DAMAGED_ZIP
from transforms.runtime import console
from transforms.runtime.os_errors import annotate_os_errors

if TYPE_CHECKING:
    from usearch.index import Index

BLOCK = 4096  # vectors that are added at once
CANDIDATES = 256  # that a search keeps, and does not: more of them miss less, and take longer
VECTORS, FACTS = "usearch", "npz"
"""Endings of the two files of an index. The second has the other arrays, and is written last."""


@dataclass(frozen=True)
class IndexedVectors:
    """Vectors of length 1 in a file, of which a search reads those that it passes."""

    index: "Index"

    @property
    def shape(self) -> tuple[int, int]:
        """Return the number of vectors, and of their dimensions."""
        return len(self.index), self.index.ndim

    def __getitem__(self, row: int) -> np.ndarray:
        return np.asarray(self.index.get(int(row), dtype="f32"), np.float32).reshape(-1)

    def closest(self, direction: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the rows, int64, of up to `count` vectors close to a direction, float32 [e], and their cosines."""
        found = self.index.search(direction, count, threads=1)
        return found.keys.astype(np.int64), 1 - found.distances


def write(folder: str, name: str, arrays: dict[str, Any]) -> dict[str, Any]:
    """Write an index of the array `vectors`, float32 [n, e], and the other arrays; return what `read` does.

    Other indices of the folder stay. An error leaves no index.

    Raises:
      UsageError: usearch is not installed, or the folder is not on this machine.
    """
    index_type = _load_usearch(folder)
    index = index_type(ndim=arrays["vectors"].shape[1], metric="cos", dtype="f16")
    with console.progress("index", len(arrays["vectors"]), "tracks") as progress:
        for start in range(0, len(arrays["vectors"]), BLOCK):
            block = arrays["vectors"][start : start + BLOCK]
            index.add(np.arange(start, start + len(block)), block)
            progress.advance(len(block))
    path = _path(folder, name, VECTORS)
    with annotate_os_errors(path):
        os.makedirs(folder, exist_ok=True)
        index.save(f"{path}.tmp")
        os.replace(f"{path}.tmp", path)
        facts = io.BytesIO()
        np.savez(facts, **{key: arrays[key] for key in arrays if key != "vectors"})
        storage.write_bytes(_path(folder, name, FACTS), facts.getvalue())
    found = read(folder, name)
    assert found is not None
    return found


def read(folder: str, name: str) -> dict[str, Any] | None:
    """Open what `write` has written, None where it has not: arrays, and IndexedVectors as `vectors`.

    Raises:
      UsageError: usearch is not installed, or the folder is not on this machine.
      FmaError: a file is damaged.
    """
    index_type = _load_usearch(folder)
    path, facts = _path(folder, name, VECTORS), _path(folder, name, FACTS)
    if not os.path.exists(facts):
        return None
    try:
        with np.load(facts, allow_pickle=False) as found:
            arrays = dict(found)
        index = index_type.restore(path, view=True, expansion_search=CANDIDATES)
    except DAMAGED_ZIP as error:
        raise FmaError(f"the index {os.path.join(folder, name)} is damaged ({error}): remove its two files") from error
    return arrays | {"vectors": IndexedVectors(index)}


def _path(folder: str, name: str, ending: str) -> str:
    return os.path.join(folder, f"{name}.{ending}")


def _load_usearch(folder: str) -> Any:
    if not storage.is_local(folder):
        raise UsageError(f"--index {folder}: give a folder of this machine")
    try:
        from usearch.index import Index
    except ImportError as error:
        raise UsageError("--index needs usearch: pip install 'fma-genres[search]'") from error
    return Index
