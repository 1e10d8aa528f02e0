"""Taking tracks out of a dataset: files that hold them are written anew without them, all others stay as they are.

The old files stay on disk until the next run that writes, so that a reader that has their names goes on unharmed.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

from transforms import storage
from transforms.dataset.build import write_line
from transforms.dataset.manifest import Generation, Manifest, ShardFile, read_ledger_file
from transforms.dataset.shard_io import ShardFileWriter, read_shard
from transforms.errors import FmaError
from transforms.records.schema import add_digests, deserialize, digest
from transforms.records.tfrecord import frame


def without_tracks(
    dataset: str, manifest: Manifest, tracks: set[int], failures: set[int], folder: str
) -> tuple[list[Generation], int]:
    """The manifest's generations without some tracks.

    Args:
      dataset: path of the dataset.
      manifest: of the dataset; it is not changed.
      tracks: ids of ingested tracks to take out.
      failures: ids of failed tracks to take out.
      folder: name of the generation that the new files belong to.

    Returns:
      (generations, bytes that were written again).
    """
    rewriter = _Rewriter(dataset, manifest.labels, tracks, failures, folder)
    return [rewriter.generation(generation) for generation in manifest.generations], rewriter.bytes


class _Rewriter:
    def __init__(self, dataset: str, labels: list[str], tracks: set[int], failures: set[int], folder: str):
        self._dataset, self._labels, self._folder = dataset, labels, folder
        self._drop = {"tracks": tracks, "failures": failures}
        self.bytes = 0

    def generation(self, generation: Generation) -> Generation:
        touched = {
            (ledger.kind, shard_name(ledger))
            for ledger in generation.ledgers
            if any(line["track_id"] in self._drop[ledger.kind] for line in read_ledger_file(self._dataset, ledger))
        }
        if not touched:
            return generation
        ledgers = [self._ledger(ledger, generation.name, touched) for ledger in generation.ledgers]
        shards = [self._shard(shard, generation.name, touched) for shard in generation.shards]
        kept = replace(
            generation,
            ledgers=[ledger for ledger in ledgers if ledger],
            shards=[shard for shard in shards if shard],
        )
        return recount(self._dataset, kept)

    def _ledger(self, ledger: ShardFile, generation: str, touched: set[tuple[str, str]]) -> ShardFile | None:
        if (ledger.kind, shard_name(ledger)) not in touched:
            return ledger
        writer = self._writer(ledger, generation)
        for line in read_ledger_file(self._dataset, ledger):
            if line["track_id"] not in self._drop[ledger.kind]:
                write_line(writer, line)
        return self._publish(writer)

    def _shard(self, shard: ShardFile, generation: str, touched: set[tuple[str, str]]) -> ShardFile | None:
        if ("tracks", shard_name(shard)) not in touched:
            return shard
        writer = self._writer(shard, generation)
        last = None
        for track_id, framed, content in read_framed(self._dataset, shard, self._labels):
            if track_id in self._drop["tracks"]:
                continue
            if last not in (None, track_id):
                writer.commit_track()
            writer.write(framed, content)
            last = track_id
        writer.commit_track()
        return self._publish(writer)

    def _writer(self, file: ShardFile, generation: str) -> ShardFileWriter:
        name = file.path.rpartition("/")[2]
        path = storage.join(file.kind, self._folder, f"{generation}-{name}")
        return ShardFileWriter(self._dataset, path, file.kind, file.split)

    def _publish(self, writer: ShardFileWriter) -> ShardFile | None:
        facts = writer.publish()
        self.bytes += facts.bytes if facts else 0
        return facts


def shard_name(file: ShardFile) -> str:
    """`training-00000-of-00008`: what a shard's files of all kinds have in common within a generation."""
    return file.path.rpartition("/")[2].rpartition(".")[0]


def read_framed(dataset: str, shard: ShardFile, labels: list[str]) -> Iterator[tuple[int, bytes, int]]:
    """(track_id, record as it stands in the file, content digest) of every record of a shard.

    Raises:
      FmaError: the shard is not what was written; at the latest at its end.
    """
    total = 0
    for serialized in read_shard(dataset, shard):
        record = deserialize(serialized)
        content = digest(shard.kind, record, shard.split, labels[record.label])
        total = add_digests(total, content)
        yield record.track_id, frame(serialized), content
    if f"{total:064x}" != shard.digest:
        path = storage.join(dataset, shard.path)
        raise FmaError(f"{path}: its records are not those that were written: run fma verify {dataset}")


def recount(dataset: str, generation: Generation) -> Generation:
    """The generation with its counts taken from its ledgers."""
    lines: dict[str, Iterable[dict[str, Any]]] = {
        kind: [
            line for ledger in generation.ledgers if ledger.kind == kind for line in read_ledger_file(dataset, ledger)
        ]
        for kind in ("tracks", "failures")
    }
    return replace(
        generation,
        genres=dict(sorted(Counter(line["genre"] for line in lines["tracks"]).items())),
        failures=dict(sorted(Counter(line["reason"] for line in lines["failures"]).items())),
        silent=sum(line["silent"] for line in lines["tracks"]),
        zeroed=sum(line.get("zeroed_share", 0) > 0 for line in lines["tracks"]),
    )
