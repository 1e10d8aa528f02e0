"""The training tracks that are most similar to a song, as a run's model sees them; stored in the run."""

import hashlib
from collections import Counter
from itertools import islice

import numpy as np

from trainers.classical.features import read_features
from trainers.data.pipeline import count_records, find_shards
from trainers.data.targets import Targets
from trainers.evaluation.evaluate import record_differences
from trainers.runs.files import open_zip, write_zip
from trainers.serving.classical import ClassicalScorer
from trainers.serving.scorers import Scorer
from trainers.serving.tasks import ManyGenres
from transforms import storage
from transforms.dataset.ledger import read_tracks
from transforms.dataset.manifest import Manifest, load
from transforms.dataset.neighbours import SHOWN, Neighbours, describe_tracks, place
from transforms.dataset.shard_io import read_shard
from transforms.errors import FmaError, UsageError
from transforms.library_errors import DAMAGED_ZIP
from transforms.records import decode_payload
from transforms.runtime import console

FOLDER = "neighbours"
BATCH = 32
MOST_DIMENSIONS = 512
"""Wider features are projected: a run keeps the vectors of all training tracks."""


def open_neighbours(run: str, scorer: Scorer, dataset: str) -> Neighbours:
    """Open the neighbours among a dataset's training tracks; computed once for the model's weights, stored in the run.

    Raises:
      UsageError: the dataset's records are not those that the model was trained on.
      FmaError: a file is damaged.
    """
    manifest = load(dataset)
    name = f"{FOLDER}/{manifest.digest[:12]}-{scorer.name.replace('/', '-')}.npz"
    weights = hashlib.sha256(storage.read_bytes(scorer.weights)).hexdigest()
    arrays = _read(run, name) if storage.exists(storage.join(run, name)) else {}
    if str(arrays.pop("weights", "")) != weights:  # the run was trained on since, or again
        arrays = _compute(scorer, dataset, manifest)
        _write(run, name, arrays | {"weights": np.array(weights)})
    shown = (*SHOWN, "genres") if isinstance(scorer.task, ManyGenres) else SHOWN
    tracks = describe_tracks(read_tracks(dataset, manifest), arrays["track_id"].tolist(), shown)
    return Neighbours(tracks, **arrays)


def read_recordings(dataset: str) -> dict[str, set[int | str]]:
    """Return the ids of the training tracks, as the metadata has them, by the checksum of their decoded audio."""
    found: dict[str, set[int | str]] = {}
    for track in read_tracks(dataset, load(dataset)):
        if track.split == "training" and track.audio_sha256:
            found.setdefault(track.audio_sha256, set()).add(track.shown_id)
    return found


def _compute(scorer: Scorer, dataset: str, manifest: Manifest) -> dict[str, np.ndarray]:
    """Return vectors, track_id int64 [tracks], shift and scale of the training split."""
    if isinstance(scorer, ClassicalScorer):
        features, track_id = _classical_features(scorer, dataset, manifest)
    else:
        features, track_id = _network_features(scorer, dataset, manifest)
    return place(features, MOST_DIMENSIONS) | {"track_id": track_id}


def _classical_features(scorer: ClassicalScorer, dataset: str, manifest: Manifest) -> tuple[np.ndarray, np.ndarray]:
    if manifest.config.sample_rate != scorer.config.sample_rate:
        raise UsageError(
            f"--data {dataset}: its statistics are of {manifest.config.sample_rate} Hz, the model's of others"
        )
    targets = None
    if isinstance(scorer.task, ManyGenres):
        targets = Targets.of(read_tracks(dataset, manifest), scorer.task.labels)
    table = read_features(dataset, manifest, scorer.of_tracks.features, ("training",), targets)
    if table.encoders != scorer.of_tracks.encoders:
        raise UsageError(f"--data {dataset}: its embeddings are of other encoders than the model's")
    return scorer.features(table.values), table.track_ids


def _network_features(scorer: Scorer, dataset: str, manifest: Manifest) -> tuple[np.ndarray, np.ndarray]:
    means = {kind: _mean_features(scorer, kind, dataset, manifest) for kind in scorer.kinds}
    nothing, tracks = np.zeros((1, len(scorer.task.labels)), np.float32), sorted(means[scorer.kinds[0]])
    of_tracks = ({kind: means[kind][track_id] for kind in scorer.kinds} for track_id in tracks)
    return np.stack([scorer.song(nothing, of_track)[1] for of_track in of_tracks]), np.array(tracks, np.int64)


def _mean_features(scorer: Scorer, kind: str, dataset: str, manifest: Manifest) -> dict[int, np.ndarray]:
    """Return the mean features of each training track's records of a kind, by its id."""
    labels = "all" if isinstance(scorer.task, ManyGenres) else "top"
    shards = find_shards(dataset, manifest, kind, "training", labels)
    different = record_differences(scorer.config, manifest.config, kind)
    if different:
        raise UsageError(f"--data {dataset}: its {kind} records are not the model's: {'; '.join(different)}")
    sums: dict[int, np.ndarray] = {}
    counts: Counter[int] = Counter()
    records = (record for shard in shards for record, _ in read_shard(dataset, shard, manifest.schema))
    with console.progress("neighbours", count_records(manifest, kind, "training", labels), "records") as progress:
        while batch := list(islice(records, BATCH)):
            payloads = [decode_payload(kind, record.payload, manifest.config) for record in batch]
            _, features = scorer.rows(kind, np.stack(payloads))
            for record, row in zip(batch, features.astype(np.float64), strict=True):
                sums[record.track_id] = sums.get(record.track_id, 0.0) + row
                counts[record.track_id] += 1
            progress.advance(len(batch))
    return {track_id: (sums[track_id] / counts[track_id]).astype(np.float32) for track_id in sums}


def _write(run: str, name: str, arrays: dict[str, np.ndarray]) -> None:
    try:
        write_zip(run, name, lambda file: np.savez(file, **arrays))  # type: ignore[arg-type]
    except OSError as error:  # a disk that is full or read-only is no reason not to serve
        why, path = (error.strerror or str(error)).lower(), storage.join(run, name)
        console.log(f"note: {path} cannot be written ({why}); the neighbours are computed again the next time")


def _read(run: str, name: str) -> dict[str, np.ndarray]:
    with open_zip(run, name, "remove it") as file:
        try:
            with np.load(file, allow_pickle=False) as arrays:
                found = {key: arrays[key] for key in ("vectors", "track_id", "shift", "scale")}
                return found | {key: arrays[key] for key in ("weights",) if key in arrays}
        except DAMAGED_ZIP as error:
            raise FmaError(f"{storage.join(run, name)} is damaged ({error}): remove it") from error
