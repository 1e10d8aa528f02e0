"""The table that classical models are fitted on, one row for each track, and the groups of its columns."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from trainers.data.targets import Targets, parents_of
from transforms.dataset.generation import ShardFile
from transforms.dataset.ledger import read_tracks
from transforms.dataset.manifest import Manifest
from transforms.dataset.shard_io import read_shard
from transforms.errors import FmaError, UsageError
from transforms.fma_statistics import COLUMNS
from transforms.records import decode_payload
from transforms.runtime import console


def group_columns(columns: tuple[str, ...], group: str) -> np.ndarray:
    """Return the indices of a group's columns, int64, ascending.

    Args:
      columns: of the table, named feature/...
      group: "all", or features joined by "+"; "spectral_" may be left out of a feature's name.

    Raises:
      UsageError: the table has no such feature.
    """
    features = [column.partition("/")[0] for column in columns]
    if group == "all":
        return np.arange(len(columns))
    wanted = set()
    for name in group.split("+"):
        found = next((feature for feature in (name, f"spectral_{name}") if feature in features), None)
        if found is None:
            raise UsageError(
                f"--features-group {group}: there is no feature {name!r}; join some of "
                f"{', '.join(dict.fromkeys(features))} by +, or say all"
            )
        wanted.add(found)
    return np.array([i for i, feature in enumerate(features) if feature in wanted])


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
    default_group: str = "all"  # the feature group to use unless another one is given
    parents: dict[str, str] | None = None  # where a track has many genres: the parent of each, "" at the top

    def rows(self, split: str) -> np.ndarray:
        """Return the row numbers of a split, int64."""
        return np.flatnonzero(self.splits == split)

    def take(self, rows: np.ndarray) -> "Table":
        """Return the table with only these rows."""
        by_row = ("track_ids", "values", "labels", "splits", "artists")
        return replace(self, **{name: getattr(self, name)[rows] for name in by_row})


def read_stats(dataset: str, manifest: Manifest, splits: Sequence[str] = (), targets: Targets | None = None) -> Table:
    """Read the stats records of some splits (default: all) in the order of track ids, without TensorFlow.

    With targets, the table has all tracks with genres, and the targets' genres; else those with a top genre.

    Raises:
      UsageError: the dataset has no such records.
      FmaError: a shard is not what was written.
    """
    if "stats" not in manifest.config.features:
        raise UsageError(
            f"{dataset} holds no stats records, which the classical models are fitted on; "
            "ingest into a new dataset with --features stats (or mel,raw,stats)"
        )
    shards = manifest.shards("stats", labels="all" if targets else "top")
    shards = [shard for shard in shards if not splits or shard.split in splits]
    if not shards:
        raise UsageError(f"{dataset} has no track in the split {' or '.join(splits) or 'of any name'}")
    track_ids, labels, values = _read_shards(dataset, manifest, shards)
    of_record = np.repeat([shard.split for shard in shards], [shard.records for shard in shards])
    artists = {track.track_id: track.artist for track in read_tracks(dataset, manifest)}
    order = np.argsort(track_ids)
    table = Table(
        name=dataset,
        digest=manifest.digest,
        track_ids=track_ids,
        values=values,
        columns=tuple("/".join(column) for column in COLUMNS),
        labels=targets.truth[targets.rows(track_ids)] if targets else labels,
        genres=list(targets.genres if targets else manifest.labels),
        splits=of_record,
        artists=np.array([artists.get(track_id, "") for track_id in track_ids.tolist()]),
        parents=parents_of(targets.genres, manifest.genres) if targets else None,
    ).take(order)
    check_finite(table)
    return table


def _read_shards(
    dataset: str, manifest: Manifest, shards: Sequence[ShardFile]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return track ids, labels and values in the order of the files."""
    count = sum(shard.records for shard in shards)
    track_ids, labels = np.empty(count, np.int64), np.empty(count, np.int64)
    values = np.empty((count, len(COLUMNS)), np.float32)
    row = 0
    with console.progress("read", count, "tracks") as progress:
        for shard in shards:
            for record, _ in read_shard(dataset, shard, manifest.schema):
                track_ids[row], labels[row] = record.track_id, record.label
                values[row] = decode_payload("stats", record.payload, manifest.config)
                row += 1
            progress.advance(shard.records)
    return track_ids, labels, values


def check_finite(table: Table) -> None:
    """Raise an FmaError that names track and column where a value is not a finite number."""
    bad = ~np.isfinite(table.values.sum(axis=1, dtype=np.float64))
    for row in np.flatnonzero(bad):
        column = int(np.argmin(np.isfinite(table.values[row])))
        raise FmaError(f"{table.name}: track {table.track_ids[row]} has no finite number in {table.columns[column]}")
