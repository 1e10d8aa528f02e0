"""Embeddings of whole tracks: what a frozen encoder gives at all positions of a track, as means and deviations.

A record of kind embedding/NAME has the payload float32 [2, D]: mean and standard deviation (divided by n) of each
dimension over all positions of all windows of the track, the encoder's outputs one behind another. Each generation of
a dataset has a file of them for each file of the windows that the encoder reads, or none at all.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from transforms import storage
from transforms.dataset.generation import ShardFile
from transforms.dataset.manifest import Manifest
from transforms.dataset.shard_io import ShardFileWriter, read_shard
from transforms.encoders.facts import EncoderFacts
from transforms.errors import FmaError, UsageError
from transforms.records import Record, Schema, digest, frame, serialize
from transforms.runtime import console
from transforms.runtime.invocation import command_line


@dataclass(frozen=True)
class Embeddings:
    """Embeddings by track, in the order of the tracks' ids."""

    facts: EncoderFacts  # of the encoder
    track_id: np.ndarray  # int64 [tracks], ascending
    label: np.ndarray  # int64 [tracks]; -1 for a track without a genre_top
    split: np.ndarray  # str [tracks], one of `transforms.tracks.SPLITS`
    mean: np.ndarray  # float32 [tracks, D]
    deviation: np.ndarray  # float32 [tracks, D]


def read_embeddings(dataset: str, manifest: Manifest, name: str, splits: Sequence[str] = ()) -> Embeddings:
    """Read the embeddings of the tracks of some splits (default: all) by the encoder of that name.

    Raises:
      UsageError: the dataset has none, or not of all of its tracks.
      FmaError: a shard is missing or damaged.
    """
    require_embeddings(dataset, manifest, name)
    facts = manifest.encoders[name]
    shards = [shard for shard in manifest.shards(facts.kind) if not splits or shard.split in splits]
    schema = manifest.schema
    values = np.empty((sum(shard.records for shard in shards), *facts.shape), np.float32)
    ids: list[int] = []
    labels: list[int] = []
    for shard in shards:
        for record, _ in read_shard(dataset, shard, schema):
            values[len(ids)] = schema.decode(shard.kind, record.payload)
            ids.append(record.track_id)
            labels.append(record.label)
    order = np.argsort(np.array(ids, np.int64))
    split = np.repeat([shard.split for shard in shards], [shard.records for shard in shards])
    return Embeddings(
        facts,
        np.array(ids, np.int64)[order],
        np.array(labels, np.int64)[order],
        split.astype(str)[order],
        values[order, 0],
        values[order, 1],
    )


def require_embeddings(dataset: str, manifest: Manifest, name: str) -> None:
    """Raise a UsageError unless all tracks of a dataset have embeddings by the encoder of that name."""
    command = command_line("embed", dataset, "--encoder", name)
    if name not in manifest.encoders:
        held = f" (it has {', '.join(manifest.encoders)})" if manifest.encoders else ""
        raise UsageError(f"{dataset} has no embeddings by {name}{held}: run {command}")
    if missing := manifest.lacks(manifest.encoders[name].kind):
        tracks = console.counted(missing, "track")
        raise UsageError(f"{dataset} has {tracks} without embeddings by {name}: run {command}, which adds them")


def embeddings_path(source: ShardFile, facts: EncoderFacts) -> str:
    """Return the path, relative to the dataset, of the embeddings of a shard's tracks."""
    return f"{facts.kind}{source.path.removeprefix(source.kind)}"


def write_embeddings(
    dataset: str, source: ShardFile, facts: EncoderFacts, schema: Schema, tracks: Iterable[tuple[Record, np.ndarray]]
) -> ShardFile:
    """Write the embeddings of a shard's tracks.

    Args:
      source: the shard of windows whose tracks they are.
      schema: the dataset's.
      tracks: any record of each track, in order, and its payload [2, D].

    Raises:
      FmaError: a value is not a finite number, or the tracks are not as many as the shard's.
    """
    writer = ShardFileWriter(dataset, embeddings_path(source, facts), facts.kind, source.split, source.labelled)
    try:
        for of_track, values in tracks:
            if values.shape != facts.shape or not np.isfinite(values).all():
                raise FmaError(
                    f"encoder {facts.name} gives values for track {of_track.track_id} that are not finite numbers"
                )
            record = replace(of_track, window=0, start=0, payload=values.astype("<f4").tobytes())
            content = digest(facts.kind, record, source.split, *schema.vocabulary.names(record))
            writer.write(frame(serialize(record)), content)
            writer.commit_track()
        if writer.facts.tracks != source.tracks:
            raise FmaError(f"{storage.join(dataset, source.path)} does not have the {source.tracks:,} tracks it should")
        published = writer.publish()
    finally:
        writer.discard()
    assert published is not None
    return published
