"""What a feature kind is: a payload's type and shape, and how to compute it from a stream of samples."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np

from transforms.config import DatasetConfig


@dataclass(frozen=True, slots=True)
class Feature:
    """One payload: `window` is its index in the track, `start` its first sample at the dataset's rate."""

    window: int
    start: int
    payload: bytes


class Extractor(Protocol):
    """Computes one kind's features of one track from its samples, block by block."""

    def push(self, samples: np.ndarray) -> Iterator[Feature]:
        """Adds mono float32 [n] at the dataset's sample rate; yields the features that are complete."""

    def finish(self) -> Iterator[Feature]:
        """Yields the features that waited for the end of the track."""


@dataclass(frozen=True, slots=True)
class FeatureKind:
    """A record family.

    Attributes:
      name: as in `--features` and in shard paths.
      per: whether there is a record for each window or one for each track.
      dtype: of the payload, little-endian.
      shape: payload shape for a config.
      extractor: makes the object that computes the features of one track.
    """

    name: str
    per: Literal["window", "track"]
    dtype: np.dtype
    shape: Callable[[DatasetConfig], tuple[int, ...]]
    extractor: Callable[[DatasetConfig], Extractor]

    def payload_bytes(self, config: DatasetConfig) -> int:
        """Bytes of one payload."""
        return int(np.prod(self.shape(config))) * self.dtype.itemsize
