"""Verification: every file of a dataset is read again and compared with what dataset.json says of it."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import BinaryIO, cast

from transforms import storage
from transforms.dataset.generation import LEDGERS, ShardFile, ShardResult
from transforms.dataset.leaks import Leak, audit
from transforms.dataset.ledger import read_tracks
from transforms.dataset.manifest import Manifest
from transforms.dataset.normalization import read_arrays
from transforms.dataset.shard_io import HashedFile
from transforms.dataset.shard_map import ALL_CORES, ShardMap, ShardTask
from transforms.errors import FmaError
from transforms.records import KINDS, Schema, add_digests, deserialize, digest, read_records
from transforms.runtime import console


@dataclass(slots=True)
class Verdict:
    """What `verify` found."""

    digest: str  # of the records as they were read
    problems: list[str] = field(default_factory=list)  # one line each; none for a sound dataset
    # artists, albums and recordings in several splits; a property of the data, not damage
    leaks: list[Leak] = field(default_factory=list)


def verify(dataset: str, manifest: Manifest, shards: ShardMap = ALL_CORES) -> Verdict:
    """Read every file that a manifest lists again and compare it with what the manifest says.

    The verdict is the same whoever reads the files, as `shards` has it.
    """
    tasks = [ShardTask.of_file(file) for file in manifest.files()]
    problems: list[str] = []
    digests: dict[str, int] = {}

    def note() -> str:
        return console.counted(len(problems), "problem") if problems else ""

    for result in shards.run("verify", partial(check_file, dataset, manifest.schema), tasks, note=note):
        found, value = json.loads(result.found)
        problems += found
        digests[result.name] = int(value, 16)
    total = add_digests(*(digests[shard.path] for kind in manifest.config.features for shard in manifest.shards(kind)))
    read = hashlib.sha256(f"{manifest.config.digest} {total:064x}".encode()).hexdigest()
    problems += _check_statistics(dataset, manifest)
    if problems:
        return Verdict(read, problems)
    return Verdict(read, _check_tracks(dataset, manifest), audit(dataset, manifest, shards))


def _check_statistics(dataset: str, manifest: Manifest) -> Iterator[str]:
    have = manifest.transform_fn
    if have is None:
        return
    for kind in have.arrays:
        try:
            read_arrays(dataset, manifest.config, have, kind)
        except FmaError as error:
            yield str(error)


def check_file(dataset: str, schema: Schema, line: str) -> ShardResult:
    """Compare one file with its line in the manifest; what is found is JSON, [problems, the digest of its records]."""
    file = ShardFile.from_line(line)
    problems, total = _check_file(dataset, schema, file)
    return ShardResult(file.path, found=json.dumps([problems, f"{total:064x}"]))


def _check_file(dataset: str, schema: Schema, file: ShardFile) -> tuple[list[str], int]:
    try:
        with storage.open_read(storage.join(dataset, file.path)) as opened:
            hashed = HashedFile(opened)
            if file.kind in LEDGERS:
                hashed.read()
                return _compare(file, file.records, hashed, int(file.digest, 16)), 0
            return _check_records(hashed, schema, file)
    except FileNotFoundError:
        return [f"{file.path} is missing"], 0


def _check_records(hashed: HashedFile, schema: Schema, file: ShardFile) -> tuple[list[str], int]:
    problems: list[str] = []
    total = records = 0
    last = (-1, -1)
    try:
        for serialized in read_records(cast(BinaryIO, hashed), file.path):
            record = deserialize(serialized)
            if wrong := schema.find_mismatch(record, file.kind, file.labelled):
                problems.append(f"{file.path}: record {records} has {wrong}")
            else:
                total = add_digests(total, digest(file.kind, record, file.split, *schema.vocabulary.names(record)))
            if (record.track_id, record.window) <= last:
                problems.append(f"{file.path}: record {records} is out of order")
            last = (record.track_id, record.window)
            records += 1
    except (FmaError, ValueError) as error:
        return [*problems, str(error)], total
    return problems + _compare(file, records, hashed, total), total


def _compare(file: ShardFile, records: int, hashed: HashedFile, total: int) -> list[str]:
    problems = []
    if hashed.bytes != file.bytes:
        problems.append(f"{file.path} has {hashed.bytes:,} bytes, not {file.bytes:,}")
    if records != file.records:
        problems.append(f"{file.path} has {records:,} records, not {file.records:,}")
    if not problems and hashed.hashed.hexdigest() != file.sha256:
        problems.append(f"{file.path} is not what was written (checksum)")
    if not problems and f"{total:064x}" != file.digest:
        problems.append(f"{file.path}: its records are not those that were written (digest)")
    return problems


def _check_tracks(dataset: str, manifest: Manifest) -> list[str]:
    """Compare the ledgers with the totals and with each other."""
    problems = []
    seen: set[int] = set()
    windows = 0
    for track in read_tracks(dataset, manifest):
        if track.track_id in seen:
            problems.append(f"track {track.shown_id} was ingested twice")
        seen.add(track.track_id)
        windows += track.windows
    totals = manifest.totals
    if len(seen) != totals["tracks"]:
        problems.append(f"the ledgers name {len(seen):,} tracks, the totals {totals['tracks']:,}")
    for kind, count in totals["records"].items():
        want = windows if KINDS[kind].per == "window" else len(seen)
        if count != want:
            problems.append(f"there are {count:,} {kind} records for {want:,} {KINDS[kind].per}s")
    return problems
