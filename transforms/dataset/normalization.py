"""The normalisation of a kind's values: arrays that `fma statistics` found in the training split.

`transform_fn/<name>/<kind>/normalization.npz` of a dataset holds, exactly as in tensorflow_transform's graph beside it:

| kind | arrays |
|---|---|
| mel | mean and deviation of each band in dB, float32 [n_mels] |
| stats | mean and deviation of each column, float64 [518]; principal axes of the z-scores, float64 [518, k] |
"""

import hashlib
import io
from dataclasses import dataclass

import numpy as np

from transforms import storage
from transforms.audio.features import KINDS
from transforms.config import DatasetConfig
from transforms.dataset.manifest import TransformFn
from transforms.errors import FmaError
from transforms.library_errors import DAMAGED_ZIP
from transforms.runtime.invocation import command_line

FILE = "normalization.npz"
NAMES = {"mel": ("mean", "deviation"), "stats": ("mean", "deviation", "axes")}
DTYPES = {"mel": np.dtype(np.float32), "stats": np.dtype(np.float64)}


@dataclass(frozen=True)
class Normalization:
    """What a kind's values are scaled by; see the table above for shapes and dtypes."""

    kind: str  # mel or stats
    mean: np.ndarray
    deviation: np.ndarray  # above 0: 1 where the values do not vary
    axes: np.ndarray | None = None  # of stats

    def to_bytes(self) -> bytes:
        """Return the content of normalization.npz; equal arrays give equal bytes."""
        file = io.BytesIO()
        np.savez(file, **{name: getattr(self, name) for name in NAMES[self.kind]})
        return file.getvalue()

    @classmethod
    def from_bytes(cls, kind: str, data: bytes) -> "Normalization":
        """Parse what `to_bytes` returned; ValueError where it is damaged."""
        try:
            with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
                return cls(kind, **{name: arrays[name] for name in NAMES[kind]})
        except DAMAGED_ZIP as error:
            raise ValueError(str(error) or type(error).__name__) from error

    def check(self, config: DatasetConfig) -> None:
        """Raise a ValueError unless the arrays can normalise the records of a dataset with these settings."""
        size = KINDS[self.kind].shape(config)[0]
        for name in NAMES[self.kind]:
            values = getattr(self, name)
            if values.dtype != DTYPES[self.kind] or values.shape[:1] != (size,) or values.ndim != 1 + (name == "axes"):
                raise ValueError(f"{name} is {values.dtype} {list(values.shape)}")
            if not np.isfinite(values).all():
                raise ValueError(f"{name} has values that are not finite numbers")
        if not (self.deviation > 0).all():
            raise ValueError("a deviation is not above 0")


def arrays_path(dataset: str, statistics: str, kind: str) -> str:
    """Return the path of a kind's normalization.npz; `statistics` is the folder, relative to the dataset."""
    return storage.join(dataset, statistics, kind, FILE)


def write_arrays(dataset: str, statistics: str, found: Normalization) -> str:
    """Write a kind's normalization.npz; return its sha256."""
    data = found.to_bytes()
    storage.write_bytes(arrays_path(dataset, statistics, found.kind), data)
    return hashlib.sha256(data).hexdigest()


def read_arrays(dataset: str, config: DatasetConfig, statistics: TransformFn, kind: str) -> Normalization:
    """Read the normalisation of a kind that dataset.json lists.

    Raises:
      FmaError: its file is missing or is not the one that was written.
    """
    path = arrays_path(dataset, statistics.path, kind)
    advice = f"run {command_line('statistics', dataset)}"
    try:
        data = storage.read_bytes(path)
    except FileNotFoundError as error:
        raise FmaError(f"{path} is missing: {advice}") from error
    if hashlib.sha256(data).hexdigest() != statistics.arrays.get(kind):
        raise FmaError(f"{path} is not what was written (checksum): {advice}")
    try:
        found = Normalization.from_bytes(kind, data)
        found.check(config)
    except ValueError as error:
        raise FmaError(f"{path} is damaged ({error}): {advice}") from error
    return found
