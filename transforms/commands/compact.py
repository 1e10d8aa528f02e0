"""`fma compact`: all generations of a dataset as one, with the same records and the same digest.

Two passes over files, none over audio: where each track's records lie, then each new shard from slices of the old ones.
"""

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

from transforms import storage
from transforms.dataset.build import write_line
from transforms.dataset.growth import jobs_elsewhere, locked, remove_orphans
from transforms.dataset.manifest import LEDGERS, Generation, Manifest, ShardFile, commit, load, read_ledger
from transforms.dataset.plan import ShardPlan, generation_name, make_plan
from transforms.dataset.rewrite import read_framed, recount
from transforms.dataset.shard_io import ShardFileWriter
from transforms.records.schema import add_digests
from transforms.runtime import console
from transforms.runtime.parallel import in_processes
from transforms.tracks import Track


@dataclass(frozen=True, slots=True)
class Slice:
    """A track's records in a file: where they are, how many, and the sum of their content digests."""

    path: str
    offset: int
    length: int
    records: int
    digest: int


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    parser.description = (
        "Rewrites the generations of a dataset into one; records, labels and digest stay. The old files stay until the "
        "next run that writes, for readers that have them open."
    )
    parser.epilog = "example: fma compact data/medium"
    parser.add_argument("dataset", metavar="DATASET")
    parser.add_argument("--remove-old", action="store_true", help="remove the old files at once")


def run(args: argparse.Namespace) -> int:
    """Runs the command; see `fma compact --help`."""
    load(args.dataset)
    with locked(args.dataset), console.annotate_os_errors(args.dataset):
        manifest = load(args.dataset)
        before = len(manifest.generations)
        elsewhere = jobs_elsewhere(args.dataset)
        remove_orphans(args.dataset, manifest, elsewhere)
        if before > 1:
            manifest = compact(args.dataset, manifest)
        if args.remove_old:
            remove_orphans(args.dataset, manifest, elsewhere)
    console.say(f"{before:,} generations are now {len(manifest.generations):,}, in {len(manifest.files()):,} files")
    console.say(f"digest {manifest.digest}")
    return 0


def compact(dataset: str, manifest: Manifest) -> Manifest:
    """Writes and commits the dataset as one generation; returns the new manifest."""
    lines = {kind: list(read_ledger(dataset, manifest, kind)) for kind in LEDGERS}
    plans = make_plan(map(_track, lines["tracks"]), manifest.config)
    name = generation_name(len(manifest.generations) + 1, plans, [], manifest.labels, manifest.config)
    shards = [shard for kind in manifest.config.features for shard in manifest.shards(kind)]
    slices: dict[tuple[str, int], Slice] = {}
    with console.progress("compact", 2 * len(shards) + len(plans), "steps") as progress:
        for shard, found in zip(shards, in_processes(partial(find_slices, dataset, manifest), shards), strict=True):
            slices |= {(shard.kind, track_id): slice_ for track_id, slice_ in found}
            progress.advance(2)
        by_id = {line["track_id"]: line for line in lines["tracks"]}
        jobs = [_shard_job(plan, manifest.config.features, slices, by_id) for plan in plans]
        files: list[ShardFile] = []
        for written in in_processes(partial(write_shard, dataset, name, manifest.config.features), jobs):
            files += written
            progress.advance(1)
    files += _write_failures(dataset, name, lines["failures"])
    merged = _merge(dataset, manifest, name, files)
    compacted = Manifest(manifest.config, manifest.labels, [merged], manifest.transform_fn, manifest.version)
    if compacted.digest != manifest.digest:
        raise AssertionError(f"compaction changed the digest of {dataset}")
    commit(dataset, compacted)
    return compacted


def find_slices(dataset: str, manifest: Manifest, shard: ShardFile) -> list[tuple[int, Slice]]:
    """(track_id, where its records lie) for each track of a shard, whose records are contiguous."""
    found: list[tuple[int, Slice]] = []
    offset = 0
    for track_id, framed, content in read_framed(dataset, shard, manifest.labels):
        if found and found[-1][0] == track_id:
            old = found.pop()[1]
            total = add_digests(old.digest, content)
            found.append((track_id, Slice(old.path, old.offset, old.length + len(framed), old.records + 1, total)))
        else:
            found.append((track_id, Slice(shard.path, offset, len(framed), 1, content)))
        offset += len(framed)
    return found


def write_shard(
    dataset: str, name: str, kinds: tuple[str, ...], job: tuple[ShardPlan, dict[tuple[str, int], Slice], list[dict]]
) -> list[ShardFile]:
    """One new shard from slices of old ones: a file for each kind and its tracks ledger."""
    plan, slices, lines = job
    files = []
    for kind in kinds:
        writer = ShardFileWriter(dataset, storage.join(kind, name, f"{plan.name}.tfrecord"), kind, plan.split)
        wanted = [slices[kind, track.track_id] for track in plan.tracks]
        parts = [storage.Slice(storage.join(dataset, one.path), one.offset, one.length) for one in wanted]
        for one, data in zip(wanted, storage.read_slices(parts), strict=True):
            writer.write(data, one.digest, one.records)
            writer.commit_track()
        files.append(writer.publish())
    return [*(file for file in files if file), *_write_ledger(dataset, name, "tracks", plan, lines)]


def _write_ledger(dataset: str, name: str, kind: str, plan: ShardPlan, lines: list[dict]) -> Iterator[ShardFile]:
    writer = ShardFileWriter(dataset, storage.join(kind, name, f"{plan.name}.jsonl"), kind, plan.split)
    for line in sorted(lines, key=lambda line: line["track_id"]):
        write_line(writer, line)
    file = writer.publish()
    if file:
        yield file


def _write_failures(dataset: str, name: str, lines: list[dict]) -> list[ShardFile]:
    files: list[ShardFile] = []
    for split in sorted({line["split"] for line in lines}):
        plan = ShardPlan(split, 0, 1, ())
        files += _write_ledger(dataset, name, "failures", plan, [line for line in lines if line["split"] == split])
    return files


def _merge(dataset: str, manifest: Manifest, name: str, files: list[ShardFile]) -> Generation:
    last = manifest.generations[-1]
    files = sorted(files, key=lambda file: file.path)
    shards = [file for file in files if file.kind not in LEDGERS]
    ledgers = [file for file in files if file.kind in LEDGERS]
    return recount(dataset, Generation(name, last.subset, last.job, shards, ledgers, skipped=last.skipped))


def _track(line: dict[str, Any]) -> Track:
    return Track(line["track_id"], line["genre"], line["split"], duration=line["seconds"])


def _shard_job(
    plan: ShardPlan, kinds: tuple[str, ...], slices: dict[tuple[str, int], Slice], lines: dict[int, dict[str, Any]]
) -> tuple[ShardPlan, dict[tuple[str, int], Slice], list[dict]]:
    ids = [track.track_id for track in plan.tracks]
    keys = [(kind, track_id) for kind in kinds for track_id in ids]
    return plan, {key: slices[key] for key in keys}, [lines[track_id] for track_id in ids]
