"""Compaction: all generations of a dataset as one, with the same records and the same digest.

Two passes over files, none over audio: where each track's records lie, then each new shard from slices of the old ones.
"""

import json
from collections.abc import Iterable
from dataclasses import astuple, dataclass, replace
from functools import partial
from itertools import groupby

from transforms import storage
from transforms.dataset.embeddings import require_embeddings
from transforms.dataset.generation import FAILURES, TRACKS, Generation, ShardFile, ShardResult
from transforms.dataset.ledger import IngestedTrack, LedgerTrack, parse_line, read_ledgers
from transforms.dataset.leftovers import announce, planned_files, settle
from transforms.dataset.manifest import Manifest, commit
from transforms.dataset.plan import ShardPlan, generation_name, make_plan
from transforms.dataset.rewrite import read_framed, recount
from transforms.dataset.shard_io import ShardFileWriter
from transforms.dataset.shard_map import ALL_CORES, ShardMap, ShardTask
from transforms.records import Schema, add_digests
from transforms.tracks import Track


@dataclass(frozen=True, slots=True)
class TrackSlice:
    """A track's records in a file: where they are, how many, and the sum of their content digests."""

    path: str
    offset: int
    length: int
    records: int
    digest: int


@dataclass(frozen=True, slots=True)
class MergedShard:
    """A shard to write: its plan, the slices of each feature kind and the ledger's lines, both in track order."""

    plan: ShardPlan  # without its tracks
    slices: dict[str, list[TrackSlice]]
    lines: list[str]

    @property
    def bytes(self) -> int:
        """How much is read for it."""
        return sum(one.length for slices in self.slices.values() for one in slices)

    def to_line(self) -> str:
        """Return one line of JSON."""
        slices = {kind: [astuple(one) for one in of_kind] for kind, of_kind in self.slices.items()}
        return json.dumps([self.plan.to_line(), slices, self.lines])

    @classmethod
    def from_line(cls, line: str) -> "MergedShard":
        """Parse what `to_line` returned."""
        plan, slices, lines = json.loads(line)
        of_kinds = {kind: [TrackSlice(*one) for one in of_kind] for kind, of_kind in slices.items()}
        return cls(ShardPlan.from_line(plan), of_kinds, lines)


def compact(dataset: str, manifest: Manifest, shards: ShardMap = ALL_CORES) -> Manifest:
    """Write and commit the dataset as one generation; return the new manifest.

    The files are the same whoever writes them, as `shards` has it.

    Raises:
      UsageError: some of the tracks have embeddings by an encoder, and others have not: a generation has all or none.
    """
    kinds = [*manifest.config.features, *manifest.embeddings]
    for name in manifest.encoders:
        require_embeddings(dataset, manifest, name)
    tracks, failures = _read_ledgers(dataset, manifest, TRACKS), _read_ledgers(dataset, manifest, FAILURES)
    plans = make_plan((_planned(track) for track, _ in tracks.values()), manifest.config)
    name = generation_name(len(manifest.generations) + 1, plans, [], manifest.vocabulary, manifest.config)
    written = planned_files(name, [*plans, *_failure_plans(failures)], kinds)
    announce(dataset, name, written, replaced=[file.path for file in manifest.files()])
    slices = _find_all_slices(dataset, manifest, kinds, shards)
    tasks = []
    for plan in plans:
        ids = [track.track_id for track in plan.tracks]
        of_kinds = {kind: [slices[kind, track_id] for track_id in ids] for kind in kinds}
        merged = MergedShard(replace(plan, tracks=()), of_kinds, [tracks[track_id][1].decode() for track_id in ids])
        tasks.append(ShardTask(plan.name, merged.to_line(), merged.bytes))
    results = list(shards.run("write shards", partial(write_shard, dataset, name), tasks, generation=name))
    results.append(ShardResult(name, _write_failures(dataset, name, failures)))
    last = manifest.generations[-1]
    merged_generation = Generation.from_results(name, last.subset, last.job, last.skipped, results)
    compacted = replace(manifest, generations=[recount(dataset, merged_generation)])
    digests = [(one.digest, one.records_digest(one.embeddings)) for one in (manifest, compacted)]
    if digests[0] != digests[1]:
        raise AssertionError(f"compaction changed the digest of {dataset}")
    commit(dataset, compacted)
    settle(dataset, name, compacted)
    return compacted


def _find_all_slices(
    dataset: str, manifest: Manifest, kinds: Iterable[str], shards: ShardMap
) -> dict[tuple[str, int], TrackSlice]:
    """Return where the records of each kind and track lie."""
    kind_of = {shard.path: shard.kind for kind in kinds for shard in manifest.shards(kind)}
    tasks = [ShardTask.of_file(shard) for kind in kinds for shard in manifest.shards(kind)]
    found = shards.run("find records", partial(find_slices, dataset, manifest.schema), tasks)
    return {
        (kind_of[result.name], track_id): TrackSlice(result.name, *place)
        for result in found
        for track_id, *place in json.loads(result.found)
    }


def _read_ledgers(dataset: str, manifest: Manifest, kind: str) -> dict[int, tuple[LedgerTrack, bytes]]:
    """Return the tracks of all ledgers of a kind, each with its line, by id."""
    all_lines = (line for _, lines in read_ledgers(dataset, manifest.ledgers(kind)) for line in lines)
    return {track.track_id: (track, line) for line in all_lines for track in [parse_line(kind, line)]}


def _planned(track: LedgerTrack) -> Track:
    """Return what a plan needs to know of a track that was ingested."""
    assert isinstance(track, IngestedTrack)
    return Track(track.track_id, track.genre, track.split, duration=track.seconds, genres=track.genres)


def find_slices(dataset: str, schema: Schema, line: str) -> ShardResult:
    """Find where the records of each track of a shard lie, which are contiguous.

    What is found is JSON: [[track_id, then the fields of its `TrackSlice` but for the path], ...].
    """
    shard = ShardFile.from_line(line)
    found: list[tuple[int, int, int, int, int]] = []
    offset = 0
    for track_id, records in groupby(read_framed(dataset, shard, schema), key=lambda record: record[0]):
        parts = [(len(framed), content) for _, framed, content in records]
        length, total = sum(size for size, _ in parts), add_digests(*(content for _, content in parts))
        found.append((track_id, offset, length, len(parts), total))
        offset += length
    return ShardResult(shard.path, found=json.dumps(found))


def write_shard(dataset: str, generation: str, line: str) -> ShardResult:
    """Write a `MergedShard` from slices of old ones: a file for each kind and its ledger of tracks."""
    shard = MergedShard.from_line(line)
    files = []
    for kind, slices in shard.slices.items():
        path = storage.join(kind, generation, f"{shard.plan.name}.tfrecord")
        writer = ShardFileWriter(dataset, path, kind, shard.plan.split, shard.plan.labelled)
        parts = [storage.Slice(storage.join(dataset, one.path), one.offset, one.length) for one in slices]
        for one, data in zip(slices, storage.read_slices(parts), strict=True):
            writer.write(data, one.digest, one.records)
            writer.commit_track()
        files.append(writer.publish())
    lines = (line.encode() for line in shard.lines)
    files.append(_write_ledger(dataset, generation, TRACKS, shard.plan, lines))
    return ShardResult(shard.plan.name, [file for file in files if file])


def _write_ledger(
    dataset: str, generation: str, kind: str, plan: ShardPlan, lines: Iterable[bytes]
) -> ShardFile | None:
    path = storage.join(kind, generation, f"{plan.name}.jsonl")
    writer = ShardFileWriter(dataset, path, kind, plan.split, plan.labelled)
    for line in lines:
        writer.write(line)
        writer.commit_track()
    return writer.publish()


def _failure_plans(failures: dict[int, tuple[LedgerTrack, bytes]]) -> list[ShardPlan]:
    return [ShardPlan(split, 0, 1, ()) for split in sorted({track.split for track, _ in failures.values()})]


def _write_failures(dataset: str, generation: str, failures: dict[int, tuple[LedgerTrack, bytes]]) -> list[ShardFile]:
    """Write the ledgers of tracks that failed, one for each split."""
    files = []
    for plan in _failure_plans(failures):
        lines = [line for _, (track, line) in sorted(failures.items()) if track.split == plan.split]
        files.append(_write_ledger(dataset, generation, FAILURES, plan, lines))
    return [file for file in files if file]
