"""The tracks of a split where these are not the dataset's own, as in a cross-validation."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class Selection:
    """Tracks with one label each, whose records lie among those of others."""

    track_id: np.ndarray  # int64 [tracks], ascending
    label: np.ndarray  # int64 [tracks]
    records: np.ndarray  # int64 [tracks], how many each has

    @property
    def count(self) -> int:
        """How many records they have."""
        return int(self.records.sum())

    def by_label(self, classes: int) -> np.ndarray:
        """Count records by label, int64 [classes]."""
        return np.bincount(self.label, self.records, classes).astype(np.int64)


Splits = Mapping[str, Selection]
"""By the names of `transforms.tracks.SPLITS`."""
