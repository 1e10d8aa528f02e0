"""Compaction: all generations of a dataset as one, with the same records and the same digest.

Two passes over files, none over audio: where each track's records lie, then each new shard from slices of the old ones.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
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
from transforms.dataset.shard_io import ShardFileWriter, map_for
from transforms.records import add_digests
from transforms.runtime import console
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
class ShardJob:
    """A shard to write: its plan, the slices of each feature kind and the ledger's lines, both in track order."""

    plan: ShardPlan
    slices: dict[str, list[TrackSlice]]
    lines: list[bytes]


def compact(dataset: str, manifest: Manifest) -> Manifest:
    """Write and commit the dataset as one generation; return the new manifest.

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
    shards = [shard for kind in kinds for shard in manifest.shards(kind)]
    slices: dict[tuple[str, int], TrackSlice] = {}
    with map_for(shards) as run, console.progress("compact", 2 * len(shards) + len(plans), "steps") as progress:
        for shard, found in zip(shards, run(partial(find_slices, dataset, manifest), shards), strict=True):
            slices |= {(shard.kind, track_id): slice_ for track_id, slice_ in found}
            progress.advance(2)
        jobs = []
        for plan in plans:
            ids = [track.track_id for track in plan.tracks]
            of_kinds = {kind: [slices[kind, track_id] for track_id in ids] for kind in kinds}
            jobs.append(ShardJob(plan, of_kinds, [tracks[track_id][1] for track_id in ids]))
        files: list[ShardFile] = []
        for of_shard in run(partial(write_shard, dataset, name), jobs):
            files += of_shard
            progress.advance(1)
    files += _write_failures(dataset, name, failures)
    last = manifest.generations[-1]
    merged = Generation.from_results(name, last.subset, last.job, last.skipped, [ShardResult(name, files)])
    generations = [recount(dataset, merged)]
    compacted = replace(manifest, generations=generations)
    digests = [(one.digest, one.records_digest(one.embeddings)) for one in (manifest, compacted)]
    if digests[0] != digests[1]:
        raise AssertionError(f"compaction changed the digest of {dataset}")
    commit(dataset, compacted)
    settle(dataset, name, compacted)
    return compacted


def _read_ledgers(dataset: str, manifest: Manifest, kind: str) -> dict[int, tuple[LedgerTrack, bytes]]:
    """Return the tracks of all ledgers of a kind, each with its line, by id."""
    all_lines = (line for _, lines in read_ledgers(dataset, manifest.ledgers(kind)) for line in lines)
    return {track.track_id: (track, line) for line in all_lines for track in [parse_line(kind, line)]}


def _planned(track: LedgerTrack) -> Track:
    """Return what a plan needs to know of a track that was ingested."""
    assert isinstance(track, IngestedTrack)
    return Track(track.track_id, track.genre, track.split, duration=track.seconds, genres=track.genres)


def find_slices(dataset: str, manifest: Manifest, shard: ShardFile) -> list[tuple[int, TrackSlice]]:
    """Return (track_id, where its records lie) for each track of a shard, whose records are contiguous."""
    found: list[tuple[int, TrackSlice]] = []
    offset = 0
    for track_id, records in groupby(read_framed(dataset, manifest, shard), key=lambda record: record[0]):
        parts = [(len(framed), content) for _, framed, content in records]
        length, total = sum(size for size, _ in parts), add_digests(*(content for _, content in parts))
        found.append((track_id, TrackSlice(shard.path, offset, length, len(parts), total)))
        offset += length
    return found


def write_shard(dataset: str, generation: str, job: ShardJob) -> list[ShardFile]:
    """Write a shard from slices of old ones: a file for each kind and its ledger of tracks."""
    files = []
    for kind, slices in job.slices.items():
        path = storage.join(kind, generation, f"{job.plan.name}.tfrecord")
        writer = ShardFileWriter(dataset, path, kind, job.plan.split, job.plan.labelled)
        parts = [storage.Slice(storage.join(dataset, one.path), one.offset, one.length) for one in slices]
        for one, data in zip(slices, storage.read_slices(parts), strict=True):
            writer.write(data, one.digest, one.records)
            writer.commit_track()
        files.append(writer.publish())
    files.append(_write_ledger(dataset, generation, TRACKS, job.plan, job.lines))
    return [file for file in files if file]


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
