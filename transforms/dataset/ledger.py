"""One track in a dataset: its ledger line, and where each of its records lies."""

from dataclasses import dataclass
from typing import Any

from transforms import storage
from transforms.dataset.manifest import Generation, Manifest, ShardFile, read_ledger_file
from transforms.dataset.rewrite import shard_name
from transforms.records.schema import deserialize
from transforms.records.tfrecord import OVERHEAD, read_records


@dataclass(frozen=True, slots=True)
class Place:
    """Where a record lies.

    Attributes:
      kind: feature kind.
      window: number of the window in its track; 0 for a record of the whole track.
      start_s: seconds from the track's beginning to the window's.
      shard: path, relative to the dataset.
      offset: bytes from the file's beginning to the record's framing.
      length: bytes, with the framing.
    """

    kind: str
    window: int
    start_s: float
    shard: str
    offset: int
    length: int


@dataclass(frozen=True, slots=True)
class Found:
    """A track of a dataset.

    Attributes:
      line: its line in the ledger.
      ingested: False for one that failed, whose line has the reason.
      generation: name of the generation it came with.
      places: of its records, in the order of the manifest's files.
    """

    line: dict[str, Any]
    ingested: bool
    generation: str
    places: tuple[Place, ...]


def find_track(dataset: str, manifest: Manifest, track_id: int) -> Found | None:
    """Looks a track up, or returns None where no ledger names it.

    Args:
      dataset: path.
      manifest: its manifest.
      track_id: the track's.

    Raises:
      FmaError: a file of the dataset is damaged.
    """
    for generation in manifest.generations:
        for ledger in generation.ledgers:
            for line in read_ledger_file(dataset, ledger):
                if line["track_id"] == track_id:
                    ingested = ledger.kind == "tracks"
                    places = _places(dataset, manifest, generation, ledger, track_id) if ingested else []
                    return Found(line, ingested, generation.name, tuple(places))
    return None


def _places(dataset: str, manifest: Manifest, generation: Generation, ledger: ShardFile, track_id: int) -> list[Place]:
    shards = [shard for shard in generation.shards if shard_name(shard) == shard_name(ledger)]
    return [place for shard in shards for place in _places_in(dataset, manifest, shard, track_id)]


def _places_in(dataset: str, manifest: Manifest, shard: ShardFile, track_id: int) -> list[Place]:
    places, offset = [], 0
    with storage.open_read(storage.join(dataset, shard.path)) as file:
        for data in read_records(file, shard.path):
            record, length = deserialize(data), len(data) + OVERHEAD
            if record.track_id == track_id:
                seconds = record.start / manifest.config.sample_rate
                places.append(Place(shard.kind, record.window, seconds, shard.path, offset, length))
            elif places:
                break  # records are in track order
            offset += length
    return places
