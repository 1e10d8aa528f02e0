"""The table that classical models are fitted on, one row for each track, and the groups of its columns."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from transforms.encoders.facts import KIND, EncoderFacts
from transforms.errors import FmaError, UsageError
from transforms.fma_statistics import LEVEL_COLUMNS
from transforms.music_theory import LEVEL_COLUMN

ALL, LEVEL_FREE = "all", "level-free"
"""Feature groups by name: every column, and every one but those of `LEVEL`."""

LEVEL = frozenset(map("/".join, LEVEL_COLUMNS)) | {f"theory/{LEVEL_COLUMN}"}
"""Columns that say how loud a track is."""

EMBEDDING = f"{KIND}/"
"""What the names of an encoder's columns, and those of its kind, begin with."""


def group_columns(columns: tuple[str, ...], group: str) -> np.ndarray:
    """Return the indices of a group's columns, int64, ascending.

    Args:
      columns: of the table, named feature/..., or embedding/NAME/OUTPUT/...
      group: "all", "level-free", or beginnings of names joined by "+", such as mfcc, mfcc/mean or yamnet/logits;
        "spectral_" and "embedding/" may be left out.

    Raises:
      UsageError: the table has no such columns.
    """
    if group == ALL:
        return np.arange(len(columns))
    if group == LEVEL_FREE:
        return np.flatnonzero([column not in LEVEL for column in columns])
    chosen = np.zeros(len(columns), bool)
    for name in group.split("+"):
        starts = (f"{name}/", f"spectral_{name}/", f"{EMBEDDING}{name}/")
        found = [np.array([f"{column}/".startswith(start) for column in columns], bool) for start in starts]
        if not np.any(found):
            raise UsageError(
                f"--features-group {group}: there is no feature {name!r}; join some of "
                f"{', '.join(dict.fromkeys(map(_feature_of, columns)))} by +, or say {ALL} or {LEVEL_FREE}"
            )
        chosen |= next(columns for columns in found if columns.any())
    return np.flatnonzero(chosen)


def _feature_of(column: str) -> str:
    """Return what a column's group is called: its feature, or NAME/OUTPUT of an embedding."""
    if column.startswith(EMBEDDING):
        return "/".join(column.removeprefix(EMBEDDING).split("/")[:2])
    return column.partition("/")[0]


@dataclass(frozen=True)
class Table:
    """Features, labels and splits by track."""

    name: str  # for messages
    digest: str  # of the content, hexadecimal
    track_ids: np.ndarray  # int64 [tracks], ascending
    values: np.ndarray  # float32 [tracks, columns], finite
    columns: tuple[str, ...]  # names such as "mfcc/mean/01"; the part before the first slash is the feature
    labels: np.ndarray  # int64 [tracks], indices into genres; with many genres bool [tracks, genres], ancestors in it
    genres: list[str]  # the classes' names
    splits: np.ndarray  # str [tracks], one of `transforms.tracks.SPLITS`, or "" everywhere where there is no split
    artists: np.ndarray  # str [tracks], "" where unknown
    default_group: str = ALL  # the feature group to use unless another one is given
    parents: dict[str, str] | None = None  # where a track has many genres: the parent of each, "" at the top
    encoders: Mapping[str, EncoderFacts] = field(default_factory=dict)  # by name, of the columns embedding/NAME/...

    def rows(self, split: str) -> np.ndarray:
        """Return the row numbers of a split, int64."""
        return np.flatnonzero(self.splits == split)

    def take(self, rows: np.ndarray) -> "Table":
        """Return the table with only these rows."""
        by_row = ("track_ids", "values", "labels", "splits", "artists")
        return replace(self, **{name: getattr(self, name)[rows] for name in by_row})


def check_finite(table: Table) -> None:
    """Raise an FmaError that names track and column where a value is not a finite number."""
    bad = ~np.isfinite(table.values.sum(axis=1, dtype=np.float64))
    for row in np.flatnonzero(bad):
        column = int(np.argmin(np.isfinite(table.values[row])))
        raise FmaError(f"{table.name}: track {table.track_ids[row]} has no finite number in {table.columns[column]}")
