"""Features of the tracks of a dataset, as the columns of a `Table`: statistics, and what frozen encoders made of them.

`--features` names the kinds of records with one for each track:

| kind | columns |
|---|---|
| stats | FMA's 518 statistics: mfcc/mean/01 |
| theory | 84 numbers of music theory: theory/tempo_bpm |
| embedding/NAME | the means, then the deviations of each output: embedding/yamnet/logits/mean/0214 |
"""

from collections.abc import Mapping, Sequence

import numpy as np

from trainers.classical.table import ALL, EMBEDDING, LEVEL, LEVEL_FREE, Table, check_finite
from trainers.data.targets import Targets, parents_of
from transforms.dataset.embeddings import require_embeddings
from transforms.dataset.generation import ShardFile
from transforms.dataset.ledger import IngestedTrack, read_tracks
from transforms.dataset.manifest import Manifest
from transforms.dataset.shard_io import read_shard
from transforms.encoders.facts import MOMENTS, EncoderFacts
from transforms.errors import FmaError, UsageError
from transforms.fma_statistics import COLUMNS
from transforms.music_theory import COLUMNS as THEORY_COLUMNS
from transforms.runtime import console
from transforms.runtime.invocation import command_line
from transforms.tracks import LABELS

STATS, THEORY = "stats", "theory"
_COLUMNS = {
    STATS: tuple("/".join(column) for column in COLUMNS),
    THEORY: tuple(f"{THEORY}/{name}" for name in THEORY_COLUMNS),
}
"""Of the kinds that ingestion computes."""


def check_features(features: Sequence[str]) -> None:
    """Raise a UsageError that names a kind without columns."""
    for feature in features:
        if feature not in _COLUMNS and not encoder_name(feature):
            kinds = ", ".join(_COLUMNS)
            raise UsageError(f"--features {feature}: choose some of {kinds} and {EMBEDDING}NAME, joined by commas")


def encoder_name(feature: str) -> str:
    """Return NAME of embedding/NAME; "" for other kinds."""
    return feature.removeprefix(EMBEDDING) if feature.startswith(EMBEDDING) else ""


def columns_of(features: Sequence[str], encoders: Mapping[str, EncoderFacts]) -> tuple[str, ...]:
    """Return the names of the columns of some kinds, one behind another; `encoders` has those of the embeddings."""
    found: list[str] = []
    for feature in features:
        name = encoder_name(feature)
        found += _embedding_columns(encoders[name]) if name else _COLUMNS[feature]
    return tuple(found)


def _embedding_columns(facts: EncoderFacts) -> list[str]:
    return [
        f"{facts.kind}/{output}/{moment}/{index:04d}"
        for moment in MOMENTS
        for output, size in facts.outputs.items()
        for index in range(size)
    ]


def read_features(
    dataset: str,
    manifest: Manifest,
    features: Sequence[str] = (STATS,),
    splits: Sequence[str] = (),
    targets: Targets | None = None,
) -> Table:
    """Read features of the tracks of some splits (default: all) in the order of track ids, without TensorFlow.

    With targets, the table has all tracks with genres, and the targets' genres; else those with a top genre. The
    columns of several kinds stand one behind another.

    Raises:
      UsageError: the dataset has no such records.
      FmaError: a shard is not what was written.
    """
    labels = "all" if targets else "top"
    for feature in features:
        _require(dataset, manifest, feature)
    encoders = {name: manifest.encoders[name] for name in map(encoder_name, features) if name}
    tracks = _find_tracks(dataset, manifest, splits, labels)
    track_ids = np.array([track.track_id for track in tracks], np.int64)
    columns = columns_of(features, encoders)
    values, at = np.empty((len(tracks), len(columns)), np.float32), 0
    for feature in features:
        shards = [shard for shard in manifest.shards(feature, labels=labels) if not splits or shard.split in splits]
        width = len(columns_of([feature], encoders))
        _read_shards(dataset, manifest, shards, track_ids, values[:, at : at + width])
        at += width
    ids = {name: label for label, name in enumerate(manifest.labels)}
    one_label = np.array([ids[track.genre] for track in tracks] if not targets else (), np.int64)
    table = Table(
        name=dataset,
        digest=manifest.digest,
        track_ids=track_ids,
        values=values,
        columns=columns,
        labels=targets.truth[targets.rows(track_ids)] if targets else one_label,
        genres=list(targets.genres if targets else manifest.labels),
        splits=np.array([track.split for track in tracks]),
        artists=np.array([track.artist for track in tracks]),
        default_group=LEVEL_FREE if LEVEL.intersection(columns) else ALL,
        parents=parents_of(targets.genres, manifest.genres) if targets else None,
        encoders=encoders,
    )
    check_finite(table)
    return table


def _find_tracks(dataset: str, manifest: Manifest, splits: Sequence[str], labels: str) -> list[IngestedTrack]:
    """Return the tracks of the splits with such labels, in the order of their ids."""
    found = [track for track in read_tracks(dataset, manifest) if track.labelled in LABELS[labels]]
    found = [track for track in found if not splits or track.split in splits]
    if not found:
        raise UsageError(f"{dataset} has no track in the split {' or '.join(splits) or 'of any name'}")
    return sorted(found, key=lambda track: track.track_id)


def _require(dataset: str, manifest: Manifest, feature: str) -> None:
    """Raise a UsageError unless the dataset has such records of all of its tracks."""
    if name := encoder_name(feature):
        require_embeddings(dataset, manifest, name)
    elif feature not in manifest.config.features:
        raise UsageError(
            f"{dataset} holds no {feature} records, which the classical models are fitted on; ingest into a new "
            f"dataset with --features {feature} (or mel,raw,{feature})"
        )


def _read_shards(
    dataset: str, manifest: Manifest, shards: Sequence[ShardFile], track_ids: np.ndarray, values: np.ndarray
) -> None:
    """Set values float32 [tracks, columns] to those of the shards' records; the tracks' ids ascend."""
    schema, count = manifest.schema, sum(shard.records for shard in shards)
    rows = {track_id: row for row, track_id in enumerate(track_ids.tolist())}
    verify = f"run {command_line('verify', dataset)}"
    with console.progress("read", count, "tracks") as progress:
        for shard in shards:
            for record, _ in read_shard(dataset, shard, schema):
                if record.track_id not in rows:
                    raise FmaError(f"{shard.path} has track {record.track_id}, which no ledger lists: {verify}")
                values[rows[record.track_id]] = schema.decode(shard.kind, record.payload).ravel()
            progress.advance(shard.records)
    if count != len(track_ids):
        raise FmaError(f"{dataset} has {count:,} records of {len(track_ids):,} tracks: {verify}")
