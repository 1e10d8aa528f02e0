"""The records of a dataset in a Beam pipeline of one's own."""

from collections.abc import Iterator
from dataclasses import dataclass

import apache_beam as beam
import numpy as np

from transforms.dataset.generation import ShardFile
from transforms.dataset.manifest import load
from transforms.dataset.shard_io import read_shard
from transforms.errors import UsageError
from transforms.records import Schema


@dataclass(frozen=True)
class DatasetRecord:
    """A record as an element of a pipeline."""

    track_id: int
    split: str  # one of `transforms.tracks.SPLITS`
    genre: str  # the genre_top, or "" where the track has none
    genres: tuple[str, ...]  # all of its genres with their ancestors, in the order of their names
    window: int  # index in the track; 0 for a kind that has one record for each track
    start_s: float  # seconds from the track's beginning to the window's
    values: np.ndarray  # as `fma show` calls the kind: mel uint8 [n_mels, frames], raw int16 [samples], ...


class ReadRecords(beam.PTransform):
    """Reads the records of a kind, each as a `DatasetRecord`.

    The manifest is read where the pipeline is made; later growth of the dataset is not seen.

    Args:
      dataset: a local path or gs:// address that the workers see.
      kind: `mel`, `raw`, `stats`, ..., or `embedding/NAME`.
      split: `training`, `validation` or `test`; None for all.

    Raises:
      UsageError: there is no such dataset, or it has no such records.
      FmaError: in a worker, a shard is not what was written.
    """

    def __init__(self, dataset: str, kind: str, split: str | None = None):
        super().__init__()
        manifest = load(dataset)
        self._dataset, self._schema = dataset, manifest.schema
        self._shards = manifest.shards(kind, split)
        if not self._shards:
            held = ", ".join((*manifest.config.features, *manifest.embeddings))
            raise UsageError(f"{dataset} has no {kind} records{f' of split {split}' if split else ''}: it has {held}")

    def expand(self, begin: beam.pvalue.PBegin) -> beam.PCollection:
        shards = begin | "Shards" >> beam.Create(self._shards) | beam.Reshuffle()
        return shards | "Read" >> beam.FlatMap(read_dataset_records, self._dataset, self._schema)


def read_dataset_records(shard: ShardFile, dataset: str, schema: Schema) -> Iterator[DatasetRecord]:
    """Read the records of a shard."""
    for record, _ in read_shard(dataset, shard, schema):
        genre, genres = schema.vocabulary.names(record)
        start_s = record.start / schema.config.sample_rate
        values = schema.decode(shard.kind, record.payload)
        yield DatasetRecord(record.track_id, shard.split, genre, genres, record.window, start_s, values)
