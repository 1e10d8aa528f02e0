"""The ledgers: one JSON line for each track that was ingested or failed; and where the records of a track lie."""

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from itertools import chain
from typing import Any, TypeVar

from transforms import storage
from transforms.dataset.generation import FAILURES, TRACKS, ShardFile
from transforms.dataset.manifest import Manifest
from transforms.dataset.shard_io import read_shard
from transforms.errors import FmaError, TrackError
from transforms.records import OVERHEAD
from transforms.runtime.invocation import command_line
from transforms.tracks import Track, TrackFacts


@dataclass(frozen=True, slots=True)
class IngestedTrack(Track):
    """A line of a `tracks` ledger: a track and its `TrackFacts`. Lines of older versions may lack some of them.

    Attributes:
      crc32: of the file that was decoded.
      digest: of the track's records of all kinds, 64 hexadecimal digits.
    """

    seconds: float = 0.0
    windows: int = 0
    silent: bool = False
    audio_sha256: str = ""
    zeroed_share: float = 0.0
    decoder: str = ""
    declared_seconds: float | None = None
    truncated: bool = False
    antiphase: bool = False
    digest: str = ""

    @property
    def facts(self) -> TrackFacts:
        """What ingestion found out about it."""
        return TrackFacts(**{name: getattr(self, name) for name in TrackFacts.__dataclass_fields__})


@dataclass(frozen=True, slots=True)
class FailedTrack(Track):
    """A line of a `failures` ledger: a track, a reason (one of `transforms.errors.REASONS`) and what was found."""

    reason: str = ""
    message: str = ""


LedgerTrack = IngestedTrack | FailedTrack
Line = TypeVar("Line", IngestedTrack, FailedTrack)


def ingested_line(track: Track, facts: TrackFacts, crc32: int, digest: int) -> bytes:
    """Return the line of an ingested track, as `IngestedTrack` describes it."""
    return _line(track.to_json() | asdict(facts) | {"crc32": crc32, "digest": f"{digest:064x}"})


def failed_line(track: Track, error: TrackError) -> bytes:
    """Return the line of a track that failed."""
    return _line(track.to_json() | {"reason": error.reason, "message": error.message})


def _line(values: dict[str, Any]) -> bytes:
    return (json.dumps(values) + "\n").encode()


def parse_line(kind: str, line: bytes) -> LedgerTrack:
    """Parse a line of a ledger of that kind; fields that this version does not know are left out."""
    return _parse(FailedTrack, line) if kind == FAILURES else _parse(IngestedTrack, line)


def _parse(type_: type[Line], line: bytes) -> Line:
    known = type_.__dataclass_fields__
    return type_(**{key: value for key, value in json.loads(line).items() if key in known})


def read_tracks(dataset: str, manifest: Manifest) -> Iterator[IngestedTrack]:
    """Read the ingested tracks, generation by generation; FmaError where a ledger is missing or damaged."""
    for _, lines in read_ledgers(dataset, manifest.ledgers(TRACKS)):
        yield from (_parse(IngestedTrack, line) for line in lines)


def read_failures(dataset: str, manifest: Manifest) -> Iterator[FailedTrack]:
    """Read the tracks that failed; see `read_tracks`."""
    for _, lines in read_ledgers(dataset, manifest.ledgers(FAILURES)):
        yield from (_parse(FailedTrack, line) for line in lines)


def read_ledgers(dataset: str, ledgers: Iterable[ShardFile]) -> Iterator[tuple[ShardFile, list[bytes]]]:
    """Read ledger files, in order; those in a bucket are prefetched, since each takes the time of a request.

    Yields:
      a file, and its lines as `read_lines` returns them.
    """

    def read(ledger: ShardFile) -> tuple[ShardFile, list[bytes]]:
        return ledger, read_lines(dataset, ledger)

    return map(read, ledgers) if storage.is_local(dataset) else storage.read_ahead(read, ledgers)


def read_lines(dataset: str, ledger: ShardFile) -> list[bytes]:
    """Read the lines of a ledger file as stored, each with its line end; FmaError where it is missing or damaged."""
    path = storage.join(dataset, ledger.path)
    try:
        data = storage.read_bytes(path)
    except FileNotFoundError as error:
        raise FmaError(f"{path} is missing: run {command_line('verify', dataset)}") from error
    if hashlib.sha256(data).hexdigest() != ledger.sha256:
        raise FmaError(f"{path} is damaged: run {command_line('verify', dataset)}")
    return data.splitlines(keepends=True)


@dataclass(frozen=True, slots=True)
class RecordLocation:
    """Where a record lies."""

    kind: str  # feature kind
    window: int  # number of the window in its track; 0 for a record of the whole track
    start_s: float  # seconds from the track's beginning to the window's
    shard: str  # path, relative to the dataset
    offset: int  # bytes from the file's beginning to the record's framing
    length: int  # bytes, with the framing


@dataclass(frozen=True, slots=True)
class FoundTrack:
    """A track of a dataset."""

    track: LedgerTrack  # its ledger line
    cells: dict[str, Any]  # of that line as they are stored, to show them all
    generation: str  # name of the one that it came with
    records: tuple[RecordLocation, ...]  # in the order of the manifest's files


def find_track(dataset: str, manifest: Manifest, track_id: int) -> FoundTrack | None:
    """Look a track up; None where no ledger names it, FmaError where a file of the dataset is damaged."""
    for generation in manifest.generations:
        for ledger, lines in read_ledgers(dataset, generation.ledgers):
            for line in lines:
                track = parse_line(ledger.kind, line)
                if track.track_id == track_id:
                    shards = [shard for shard in generation.shards if shard.name == ledger.name]
                    found = [_find_records(dataset, manifest, shard, track_id) for shard in shards]
                    records = tuple(chain.from_iterable(found)) if ledger.kind == TRACKS else ()
                    return FoundTrack(track, json.loads(line), generation.name, records)
    return None


def _find_records(dataset: str, manifest: Manifest, shard: ShardFile, track_id: int) -> Iterator[RecordLocation]:
    offset = 0
    # To the end, though the track's records are together: only there it is known that the file is what was written.
    for record, data in read_shard(dataset, shard, manifest.schema):
        length = len(data) + OVERHEAD
        if record.track_id == track_id:
            seconds = record.start / manifest.config.sample_rate
            yield RecordLocation(shard.kind, record.window, seconds, shard.path, offset, length)
        offset += length
