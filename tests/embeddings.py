"""Embeddings for tests' datasets, written in milliseconds: of an encoder that there is not, without any network."""

from collections.abc import Iterator, Mapping
from itertools import groupby

import numpy as np

from transforms.dataset.embeddings import write_embeddings
from transforms.dataset.generation import ShardFile
from transforms.dataset.manifest import Manifest, commit, load
from transforms.dataset.shard_io import read_shard
from transforms.encoders.facts import EncoderFacts
from transforms.records import Record

OUTPUTS = {"embedding": 6, "logits": 4}


def facts_of(name: str = "yamnet", outputs: Mapping[str, int] | None = None, **others) -> EncoderFacts:
    """Facts of an encoder of 16 kHz that reads raw windows."""
    values = {"reads": "raw", "sample_rate": 16_000, "sha256": "5" * 64, "license": "Apache-2.0"} | others
    return EncoderFacts(name, outputs=dict(outputs or OUTPUTS), **values)


def add_embeddings(
    dataset, name: str = "yamnet", outputs: Mapping[str, int] | None = None, *, seed: int = 0, **others
) -> Manifest:
    """Gives each track of a dataset embeddings, of generations that have none by that encoder yet; commits them.

    Genres differ: every classes-th column from a track's label on has a mean 2 higher. The other fields of
    `EncoderFacts` may be given; the dataset need not have the kind that the encoder reads.
    """
    manifest, facts = load(str(dataset)), facts_of(name, outputs, **others)
    manifest.encoders[facts.name] = facts
    kind = facts.reads if facts.fits(manifest.config) else manifest.config.features[0]
    for generation in manifest.generations:
        if generation.lacks(facts.kind):
            sources = [shard for shard in generation.shards if shard.kind == kind]
            generation.shards += [_write(str(dataset), manifest, facts, source, seed) for source in sources]
            generation.shards.sort(key=lambda shard: shard.path)
    commit(str(dataset), manifest)
    return manifest


def _write(dataset: str, manifest: Manifest, facts: EncoderFacts, source: ShardFile, seed: int) -> ShardFile:
    def tracks() -> Iterator[tuple[Record, np.ndarray]]:
        records = (record for record, _ in read_shard(dataset, source, manifest.schema))
        for track_id, of_track in groupby(records, key=lambda record: record.track_id):
            first = next(of_track)
            rng = np.random.default_rng((seed, track_id))
            values = rng.standard_normal(facts.shape).astype(np.float32)
            if first.label >= 0:
                values[0, first.label :: len(manifest.labels)] += 2
            values[1] = np.abs(values[1])
            yield first, values

    return write_embeddings(dataset, source, facts, manifest.schema, tracks())
