"""Removal of tracks: files that hold them are rewritten without them, all others stay as they are.

The old files stay on disk until the next run that writes, for readers that have them open.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from itertools import groupby
from typing import Any

from transforms import storage
from transforms.dataset.generation import FAILURES, TRACKS, Generation, ShardFile
from transforms.dataset.ledger import FailedTrack, IngestedTrack, parse_line, read_ledgers, read_lines
from transforms.dataset.leftovers import announce
from transforms.dataset.manifest import Manifest
from transforms.dataset.shard_io import ShardFileWriter, read_shard
from transforms.errors import FmaError
from transforms.records import Schema, add_digests, digest, frame
from transforms.runtime.invocation import command_line
from transforms.tracks import FLAGS


def without_tracks(
    dataset: str, manifest: Manifest, tracks: set[int], failures: set[int], folder: str
) -> tuple[list[Generation], int]:
    """Return the manifest's generations without some tracks; the manifest is not changed.

    Args:
      tracks: ids of ingested tracks to remove.
      failures: ids of failed tracks to remove.
      folder: name of the generation that the new files belong to.

    Returns:
      (generations, bytes that were written again).
    """
    rewriter = _Rewriter(dataset, manifest, tracks, failures, folder)
    return [rewriter.generation(generation) for generation in manifest.generations], rewriter.bytes


class _Rewriter:
    def __init__(self, dataset: str, manifest: Manifest, tracks: set[int], failures: set[int], folder: str):
        self._dataset, self._manifest, self._folder = dataset, manifest, folder
        self._drop = {TRACKS: tracks, FAILURES: failures}
        self.bytes = 0

    def generation(self, generation: Generation) -> Generation:
        touched = {
            (ledger.kind, ledger.name)
            for ledger, lines in read_ledgers(self._dataset, generation.ledgers)
            if any(parse_line(ledger.kind, line).track_id in self._drop[ledger.kind] for line in lines)
        }
        if not touched:
            return generation
        files = generation.files()
        new = [self._path(file, generation.name) for file in files]
        announce(self._dataset, self._folder, new, replaced=[file.path for file in files])
        ledgers = [self._ledger(ledger, generation.name, touched) for ledger in generation.ledgers]
        shards = [self._shard(shard, generation.name, touched) for shard in generation.shards]
        kept = replace(generation, ledgers=[file for file in ledgers if file], shards=[file for file in shards if file])
        return recount(self._dataset, kept)

    def _ledger(self, ledger: ShardFile, generation: str, touched: set[tuple[str, str]]) -> ShardFile | None:
        if (ledger.kind, ledger.name) not in touched:
            return ledger
        writer = self._writer(ledger, generation)
        for line in read_lines(self._dataset, ledger):
            if parse_line(ledger.kind, line).track_id not in self._drop[ledger.kind]:
                writer.write(line)
                writer.commit_track()
        return self._publish(writer)

    def _shard(self, shard: ShardFile, generation: str, touched: set[tuple[str, str]]) -> ShardFile | None:
        if (TRACKS, shard.name) not in touched:
            return shard
        writer = self._writer(shard, generation)
        records = read_framed(self._dataset, shard, self._manifest.schema)
        for track_id, of_track in groupby(records, key=lambda record: record[0]):
            if track_id not in self._drop[TRACKS]:
                for _, framed, content in of_track:
                    writer.write(framed, content)
                writer.commit_track()
        return self._publish(writer)

    def _writer(self, file: ShardFile, generation: str) -> ShardFileWriter:
        return ShardFileWriter(self._dataset, self._path(file, generation), file.kind, file.split, file.labelled)

    def _path(self, file: ShardFile, generation: str) -> str:
        return storage.join(file.kind, self._folder, f"{generation}-{file.path.rpartition('/')[2]}")

    def _publish(self, writer: ShardFileWriter) -> ShardFile | None:
        facts = writer.publish()
        self.bytes += facts.bytes if facts else 0
        return facts


def read_framed(dataset: str, shard: ShardFile, schema: Schema) -> Iterator[tuple[int, bytes, int]]:
    """Read (track_id, record as it stands in the file, content digest) of every record of a shard.

    Raises:
      FmaError: the shard is not what was written; raised at its end at the latest.
    """
    total = 0
    for record, serialized in read_shard(dataset, shard, schema):
        content = digest(shard.kind, record, shard.split, *schema.vocabulary.names(record))
        total = add_digests(total, content)
        yield record.track_id, frame(serialized), content
    if f"{total:064x}" != shard.digest:
        path = storage.join(dataset, shard.path)
        raise FmaError(f"{path}: its records are not those that were written: run {command_line('verify', dataset)}")


def recount(dataset: str, generation: Generation) -> Generation:
    """Return the generation with its counts taken from its ledgers."""
    found = read_ledgers(dataset, generation.ledgers)
    lines = [parse_line(ledger.kind, line) for ledger, lines in found for line in lines]
    tracks = [line for line in lines if isinstance(line, IngestedTrack)]
    flags: dict[str, Any] = {flag: sum(track.facts.flags[flag] for track in tracks) for flag in FLAGS}
    return replace(
        generation,
        genres=dict(sorted(Counter(track.genre for track in tracks if track.genre).items())),
        failures=dict(sorted(Counter(line.reason for line in lines if isinstance(line, FailedTrack)).items())),
        **flags,
    )
