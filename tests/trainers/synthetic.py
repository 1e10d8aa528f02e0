"""Datasets for the trainers' tests: real shards and a real dataset.json, without any audio, in milliseconds.

Genres can be told apart by a simple pattern: a brighter group of mel bands, a louder tone of one pitch, a shifted group
of statistics. Everything follows from the arguments.
"""

import dataclasses
import hashlib
import itertools
import json
from collections.abc import Iterator, Mapping, Sequence

import google_crc32c
import numpy as np

from transforms import storage
from transforms.audio.features import KINDS
from transforms.config import DatasetConfig
from transforms.dataset.generation import Generation, ShardFile
from transforms.dataset.manifest import Manifest, commit
from transforms.dataset.plan import ShardPlan, make_plan
from transforms.records import Record, add_digests, digest, frame, serialize
from transforms.taxonomy import Taxonomy, Vocabulary
from transforms.tracks import SPLITS, Track, TrackFacts

CONFIG = DatasetConfig(n_mels=32, window_frames=32, window_hop_frames=32)
"""Small images, and windows of 16,384 samples: long enough for a crop of 10,000."""

GENERATION = "0001-synthetic"
TRACKS = {"training": 12, "validation": 4, "test": 4}


def mel_payload(config: DatasetConfig, labels: Sequence[int], classes: int, rng: np.random.Generator) -> np.ndarray:
    """Noise around -20 dB (default range), a genre's share of the bands 20 dB up: uint8 [n_mels, window_frames]."""
    image = rng.integers(100, 140, (config.n_mels, config.window_frames))
    for label in labels:
        image[np.array_split(np.arange(config.n_mels), classes)[label]] += round(20 / config.db_step)
    return np.clip(image, 0, 255).astype("u1")


def raw_payload(config: DatasetConfig, labels: Sequence[int], classes: int, rng: np.random.Generator) -> np.ndarray:
    """A tone of each genre's pitch, any phase, in some noise: int16 [window_samples]."""
    t = np.arange(config.window_samples) / config.sample_rate
    pitches = [220.0 * 2 ** (label * 4 / classes) for label in labels]
    tones = [0.4 / len(labels) * np.sin(2 * np.pi * (hz * t + rng.random())) for hz in pitches]
    noise = 0.05 * rng.standard_normal(len(t), np.float32)
    return np.clip(np.rint((sum(tones) + noise) * 32767), -32768, 32767).astype("<i2")


def stats_payload(config: DatasetConfig, labels: Sequence[int], classes: int, rng: np.random.Generator) -> np.ndarray:
    """As `shifted` has them: float32 [518]."""
    return shifted(KINDS["stats"].shape(config), labels, classes, rng)


def theory_payload(config: DatasetConfig, labels: Sequence[int], classes: int, rng: np.random.Generator) -> np.ndarray:
    """As `shifted` has them: float32 [84]."""
    return shifted(KINDS["theory"].shape(config), labels, classes, rng)


def shifted(shape: tuple[int, ...], labels: Sequence[int], classes: int, rng: np.random.Generator) -> np.ndarray:
    """Standard normal, every classes-th column from a genre's on shifted by 2."""
    values = rng.standard_normal(shape)
    for label in labels:
        values[label::classes] += 2
    return values.astype("<f4")


PAYLOADS = {"mel": mel_payload, "raw": raw_payload, "stats": stats_payload, "theory": theory_payload}


def write_dataset(
    folder,
    features: Sequence[str] = ("mel", "raw"),
    genres: Sequence[str] = ("Folk", "Rock"),
    tracks: Mapping[str, int] | None = None,
    windows: int = 2,
    *,
    config: DatasetConfig | None = None,
    seed: int = 0,
    shards: int | None = None,
    artist: str = "artist",
    per_artist: int = 1,
    tree: Mapping[str, str] | None = None,
) -> Manifest:
    """Writes a whole dataset that `fma verify` finds sound, and returns its manifest.

    Args:
      folder: the dataset's path (str or Path).
      features: kinds to write, of those of `PAYLOADS`; replaces config.features.
      genres: the labels; tracks take turns over them within a split.
      tracks: how many in each split; a split that is not named has none. Default `TRACKS`.
      windows: in each track.
      config: default `CONFIG`.
      seed: of the payloads.
      shards: in each split, instead of as many as ingestion would make.
      artist: of each track, with the artist's number behind it.
      per_artist: tracks in a row that are of one artist, whatever their splits.
      tree: {genre: its parent}, instead of `genres`: tracks take turns over the lowest ones, every third track has the
        next one, too, and all have the ancestors of theirs.
    """
    config = dataclasses.replace(config or CONFIG, features=tuple(name for name in KINDS if name in features))
    taxonomy = Taxonomy(tree or dict.fromkeys(genres, ""))
    recipe = Recipe(str(folder), config, taxonomy, tree is not None, windows, seed, artist, per_artist)
    generation = Generation(GENERATION, "", {"runner": "synthetic"})
    for plan in make_plan(_make_tracks(recipe, TRACKS if tracks is None else tracks), config, shards):
        sums = dict.fromkeys((track.track_id for track in plan.tracks), 0)
        generation.shards += [_write_shard(recipe, kind, plan, sums) for kind in config.features]
        generation.ledgers.append(_write_ledger(recipe, plan, sums))
        for track in plan.tracks:
            if track.genre:
                generation.genres[track.genre] = generation.genres.get(track.genre, 0) + 1
    manifest = Manifest(config, recipe.labels, [generation], genres=dict(taxonomy.parents))
    commit(recipe.dataset, manifest)
    return manifest


@dataclasses.dataclass(frozen=True)
class Recipe:
    """What all of a dataset's shards have in common; the fields are `write_dataset`'s."""

    dataset: str
    config: DatasetConfig
    taxonomy: Taxonomy
    several: bool  # whether some tracks have several genres
    windows: int
    seed: int
    artist: str
    per_artist: int

    @property
    def labels(self) -> list[str]:
        """The genres at the top."""
        return [name for name, parent in self.taxonomy.parents.items() if not parent]

    @property
    def vocabulary(self) -> Vocabulary:
        """The names behind the ids of records."""
        return Vocabulary(tuple(self.labels), tuple(self.taxonomy.parents))

    @property
    def seconds(self) -> float:
        """Length of a track."""
        return round(self.windows * self.config.window_seconds, 3)

    def records(self, kind: str, track: Track) -> Iterator[Record]:
        """A track's records, in order."""
        label, genres = self.vocabulary.ids(track)
        patterns = [list(self.taxonomy.parents).index(name) for name in track.genres]
        for window in range(self.windows if KINDS[kind].per == "window" else 1):
            rng = np.random.default_rng((self.seed, list(KINDS).index(kind), track.track_id, window))
            payload = PAYLOADS[kind](self.config, patterns, len(self.taxonomy.parents), rng).tobytes()
            yield Record(track.track_id, window, window * self.config.window_hop_samples, label, payload, genres)


def _make_tracks(recipe: Recipe, tracks: Mapping[str, int]) -> Iterator[Track]:
    numbers = itertools.count(1)
    parents = recipe.taxonomy.parents
    lowest = [name for name in parents if name not in parents.values()]
    for split in SPLITS:
        for i in range(tracks.get(split, 0)):
            n = next(numbers)
            own = [lowest[(i + k) % len(lowest)] for k in range(2 if recipe.several and i % 3 == 2 else 1)]
            genre, genres = recipe.taxonomy.top(own), recipe.taxonomy.close(own)
            artist = f"{recipe.artist} {(n - 1) // recipe.per_artist + 1}"
            yield Track(n, genre, split, f"{n}.mp3", artist=artist, duration=recipe.seconds, genres=genres)


def _write_shard(recipe: Recipe, kind: str, plan: ShardPlan, sums: dict[int, int]) -> ShardFile:
    """Writes one record file, and adds each record's digest to its track's sum."""
    frames: list[bytes] = []
    total = 0
    for track in plan.tracks:
        for record in recipe.records(kind, track):
            value = digest(kind, record, track.split, track.genre, track.genres)
            total += value
            sums[track.track_id] += value
            frames.append(frame(serialize(record)))
    path = storage.join(kind, GENERATION, f"{plan.name}.tfrecord")
    facts = ShardFile(path, kind, plan.split, len(frames), labelled=plan.labelled)
    return _write(recipe, facts, plan, frames, total)


def _write_ledger(recipe: Recipe, plan: ShardPlan, sums: dict[int, int]) -> ShardFile:
    lines = []
    for track in plan.tracks:
        sound = hashlib.sha256(str(track.track_id).encode()).hexdigest()
        found = TrackFacts(recipe.seconds, recipe.windows, False, sound)
        track_digest = {"digest": f"{add_digests(sums[track.track_id]):064x}"}
        lines.append((json.dumps(track.to_json() | dataclasses.asdict(found) | track_digest) + "\n").encode())
    path = storage.join("tracks", GENERATION, f"{plan.name}.jsonl")
    facts = ShardFile(path, "tracks", plan.split, len(lines), labelled=plan.labelled)
    return _write(recipe, facts, plan, lines, 0)


def _write(recipe: Recipe, facts: ShardFile, plan: ShardPlan, parts: list[bytes], total: int) -> ShardFile:
    data = b"".join(parts)
    storage.write_bytes(storage.join(recipe.dataset, facts.path), data)
    return dataclasses.replace(
        facts,
        tracks=len(plan.tracks),
        bytes=len(data),
        sha256=hashlib.sha256(data).hexdigest(),
        digest=f"{add_digests(total):064x}",
        crc32c=f"{google_crc32c.value(data):08x}",
    )
