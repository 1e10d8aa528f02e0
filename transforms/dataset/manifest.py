"""The manifest, dataset.json: the one commit point of a dataset. Readers trust only what it lists, never a glob."""

import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

from transforms import storage
from transforms.audio.features import KINDS
from transforms.config import DatasetConfig, validate
from transforms.dataset.generation import TRACKS, Generation, ShardFile, add_counts
from transforms.encoders.facts import EncoderFacts
from transforms.errors import FmaError, UsageError, check_format_version
from transforms.records import Schema, add_digests
from transforms.runtime.invocation import command_line
from transforms.taxonomy import Taxonomy, Vocabulary
from transforms.tracks import FLAGS, LABELLED, LABELS, SPLITS

FORMAT_VERSION = 4
"""Version 1 had no checksum, and no `ShardFile.crc32c`; before version 3, a track's only genre was its genre_top;
before version 4 there were no embeddings."""
FILE_NAME = "dataset.json"
CHECKSUM = "checksum"
TRANSFORM_FN = "transform_fn"
"""Key of the statistics in dataset.json, and name of the folders that hold their graphs (TFT's name for them)."""


@dataclass(frozen=True, slots=True)
class TransformFn:
    """The full-pass statistics of the training split; not part of the dataset's digest."""

    path: str  # of their folder, relative to the dataset
    kinds: list[str]  # feature kinds that have a graph there
    records: str = ""  # `Manifest.records_digest` of what was analysed
    graph_version: int = 0  # of the program's graphs when they were made; see `fma statistics`
    arrays: dict[str, str] = field(default_factory=dict)  # by kind, the sha256 of its normalization.npz

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "TransformFn":
        """Build it from dataset.json's values; those that older versions left out do not fit any records."""
        if not re.fullmatch(rf"{TRANSFORM_FN}/[\w-]+", values["path"], re.ASCII):
            raise ValueError(f"{values['path']!r} is no path for statistics")
        later = {name: values[name] for name in ("records", "graph_version", "arrays") if name in values}
        return cls(values["path"], list(values["kinds"]), **later)


@dataclass(slots=True)
class Manifest:
    """A dataset as its dataset.json describes it."""

    config: DatasetConfig  # the settings that all records share
    labels: list[str] = field(default_factory=list)  # names of `genre_top`, by a record's label. Append-only.
    generations: list[Generation] = field(default_factory=list)  # in the order in which they were committed
    transform_fn: TransformFn | None = None  # the statistics of the training split, or None where there are none
    # of the dataset.json that this was read from, or that it was committed as; 0 where there was none
    version: int = field(default=0, compare=False)
    # all genres of tracks with their ancestors, each with its parent ("" at the top), by a record's genre ids.
    # Append-only, but for the parents. Left out: the labels, without a tree.
    genres: dict[str, str] = field(default_factory=dict)
    # by name, those whose embeddings of the tracks it holds, of all generations or of some
    encoders: dict[str, EncoderFacts] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.genres = self.genres or dict.fromkeys(self.labels, "")

    @property
    def vocabulary(self) -> Vocabulary:
        """The names behind the ids of records."""
        return Vocabulary(tuple(self.labels), tuple(self.genres))

    @property
    def schema(self) -> Schema:
        """What the records look like."""
        return Schema(self.config, self.vocabulary, self.encoders)

    @property
    def embeddings(self) -> list[str]:
        """The kinds of embeddings."""
        return [facts.kind for facts in self.encoders.values()]

    def lacks(self, kind: str) -> int:
        """Return how many tracks have no embeddings of a kind yet."""
        return sum(ledger.tracks for generation in self.generations for ledger in generation.lacks(kind))

    def shards(self, kind: str, split: str | None = None, labels: str | None = None) -> list[ShardFile]:
        """Return the record files of a kind: of one split or of all; of tracks as in `LABELS`, or of all."""
        return [
            shard
            for generation in self.generations
            for shard in generation.shards
            if shard.kind == kind
            and split in (None, shard.split)
            and (labels is None or shard.labelled in LABELS[labels])
        ]

    def records_digest(self, kinds: Iterable[str], split: str | None = None) -> str:
        """Return 64 hex digits, equal for equal records of the kinds in a split (or in all), whatever their shards."""
        shards = [shard for kind in kinds for shard in self.shards(kind, split)]
        return f"{add_digests(*(int(shard.digest, 16) for shard in shards)):064x}"

    def ledgers(self, kind: str) -> list[ShardFile]:
        """Return the files with a JSON line for each track: kind `tracks` or `failures`."""
        return [file for generation in self.generations for file in generation.ledgers if file.kind == kind]

    def files(self) -> list[ShardFile]:
        """Return every file that the dataset consists of."""
        return [file for generation in self.generations for file in generation.files()]

    @property
    def totals(self) -> dict[str, Any]:
        """Counts over all generations, as stored in dataset.json."""
        by_split, labelled = dict.fromkeys(SPLITS, 0), dict.fromkeys(LABELLED, 0)
        for ledger in self.ledgers(TRACKS):
            by_split[ledger.split] += ledger.tracks
            labelled[ledger.labelled] += ledger.tracks
        records = {kind: sum(shard.records for shard in self.shards(kind)) for kind in self.config.features}
        return {
            "tracks": sum(by_split.values()),
            "records": records,
            "embeddings": {kind: sum(shard.records for shard in self.shards(kind)) for kind in self.embeddings},
            "bytes": {kind: sum(shard.bytes for shard in self.shards(kind)) for kind in self.config.features},
            "by_split": by_split,
            "labelled": labelled,
            "by_genre": add_counts(generation.genres for generation in self.generations),
            "failures": add_counts(generation.failures for generation in self.generations),
            "skipped": self.generations[-1].skipped if self.generations else {},
        } | {flag: sum(getattr(generation, flag) for generation in self.generations) for flag in FLAGS}

    @property
    def digest(self) -> str:
        """64 hex digits: equal for datasets with equal settings and equal records, however they were made.

        Embeddings do not count: they follow from the records and an encoder, and have a digest of their own
        (`records_digest` of their kind).
        """
        records = self.records_digest(self.config.features)
        return hashlib.sha256(f"{self.config.digest} {records}".encode()).hexdigest()

    def to_json(self) -> dict[str, Any]:
        """Return dataset.json's content."""
        values = {
            "format_version": FORMAT_VERSION,
            "digest": self.digest,
            "config": self.config.to_json(),
            "config_digest": self.config.digest,
            "labels": self.labels,
            "genres": [{"name": name, "parent": parent} for name, parent in self.genres.items()],
            "totals": self.totals,
            "generations": [asdict(generation) for generation in self.generations],
            TRANSFORM_FN: asdict(self.transform_fn) if self.transform_fn else None,
            "encoders": [facts.to_json() for facts in self.encoders.values()],
        }
        return values | {CHECKSUM: checksum(values)}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "Manifest":
        """Build it from dataset.json's values; KeyError, TypeError or ValueError where they are damaged."""
        transform_fn, labels = values.get(TRANSFORM_FN), values["labels"]
        _check_names("labels", labels)
        manifest = cls(
            _read_config(values["config"]),
            labels,
            [Generation.from_json(generation) for generation in values["generations"]],
            TransformFn.from_json(transform_fn) if transform_fn else None,
            genres=_read_genres(values.get("genres", [])),
            encoders=_read_encoders(values.get("encoders", [])),
        )
        paths = Counter(file.path for file in manifest.files())
        if twice := [path for path, count in paths.items() if count > 1]:
            raise ValueError(f"it lists {twice[0]} twice")
        for generation in manifest.generations:
            generation.check_sums(manifest.config.features, manifest.embeddings)
            if not generation.genres.keys() <= set(labels) <= manifest.genres.keys():
                raise ValueError(f"generation {generation.name} has a genre that is not among the labels")
        if manifest.digest != values["digest"] or manifest.config.digest != values["config_digest"]:
            raise ValueError("its digest does not match its shard list")
        totals = manifest.totals
        if {key: totals[key] for key in values["totals"]} != values["totals"]:  # version 1 has fewer
            raise ValueError("its totals are not the sums of its generations")
        return manifest


def checksum(values: dict[str, Any]) -> str:
    """Return the sha256 of JSON values, hexadecimal: of their text with sorted keys, without spaces."""
    return hashlib.sha256(json.dumps(values, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _read_config(values: dict[str, Any]) -> DatasetConfig:
    config = DatasetConfig.from_json(values)
    try:
        valid = validate(config, tuple(KINDS))
    except UsageError as error:
        raise ValueError(f"its settings cannot be right: {error}") from error
    if valid != config:
        raise ValueError(f"its kinds are {', '.join(config.features)}")
    return config


def _check_names(what: str, names: Any) -> None:
    valid = isinstance(names, list) and all(isinstance(name, str) and name for name in names)
    if not valid or len(set(names)) < len(names):
        raise ValueError(f"its {what} are not distinct names")


def _read_genres(values: list[dict[str, str]]) -> dict[str, str]:
    _check_names("genres", [genre["name"] for genre in values])
    genres = {genre["name"]: genre["parent"] for genre in values}
    if not set(genres.values()) <= {"", *genres}:
        raise ValueError("a genre's parent is not among its genres")
    try:
        Taxonomy(genres)
    except ValueError as error:
        raise ValueError(f"genre {error} is its own ancestor") from None
    return genres


def _read_encoders(values: list[dict[str, Any]]) -> dict[str, EncoderFacts]:
    try:
        encoders = {facts.name: facts for facts in map(EncoderFacts.from_json, values)}
    except UsageError as error:
        raise ValueError(str(error)) from None
    if len(encoders) < len(values):
        raise ValueError("it names an encoder twice")
    return encoders


def is_dataset(dataset: str) -> bool:
    """Return whether there is a dataset.json."""
    return storage.exists(storage.join(dataset, FILE_NAME))


def load(dataset: str) -> Manifest:
    """Read a dataset's manifest.

    Raises:
      UsageError: there is no dataset at that path.
      FmaError: its dataset.json is damaged or from a newer version.
    """
    path = storage.join(dataset, FILE_NAME)
    advice = "restore it from a copy, or ingest into a new folder"
    try:
        data, file_version = storage.read_version(path)
        values = json.loads(data)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise UsageError(
            f"{dataset} is not a dataset: it has no {FILE_NAME} (make one with {command_line('ingest')})"
        ) from error
    except (RecursionError, ValueError) as error:
        raise FmaError(f"{path} is damaged: {error}; {advice}") from error
    try:
        check_format_version(path, values, FORMAT_VERSION)
        if values["format_version"] > 1 and values.pop(CHECKSUM) != checksum(values):
            raise ValueError("its checksum is not that of its content")
        manifest = Manifest.from_json(values)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        kind = "" if isinstance(error, ValueError) else f"{type(error).__name__} "
        raise FmaError(f"{path} is damaged: {kind}{error}; {advice}") from error
    manifest.version = file_version
    return manifest


def commit(dataset: str, manifest: Manifest) -> None:
    """Replace dataset.json atomically: readers see the old dataset or the new one.

    Raises:
      FmaError: another command has committed since this manifest was read; only in a bucket (see `storage.replace`).
    """
    data = json.dumps(manifest.to_json(), indent=1) + "\n"
    manifest.version = storage.replace(storage.join(dataset, FILE_NAME), data.encode(), manifest.version)
