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
from transforms.errors import FmaError, UsageError, check_format_version
from transforms.records import add_digests
from transforms.runtime.invocation import command_line
from transforms.taxonomy import Taxonomy, Vocabulary
from transforms.tracks import FLAGS, LABELLED, LABELS, SPLITS

FORMAT_VERSION = 3
"""Version 1 had no checksum, and no `ShardFile.crc32c`; before version 3, a track's only genre was its genre_top."""
FILE_NAME = "dataset.json"
CHECKSUM = "checksum"
TRANSFORM_FN = "transform_fn"
"""Key of the statistics in dataset.json, and name of the folders that hold their graphs (TFT's name for them)."""
TRACKS, FAILURES = LEDGERS = ("tracks", "failures")
"""Kinds of ledger files: those of ingested tracks, and of tracks that failed."""

_PATH = re.compile(r"([a-z]+)/[\w-]+/(?:[\w-]+-)?([a-z]+)-\d{5,}-of-\d{5,}\.(?:tfrecord|jsonl)", re.ASCII)
"""The form of all paths that are listed, with kind and split: relative, and inside the dataset."""
_DIGESTS = re.compile(r"[0-9a-f]{64} [0-9a-f]{64} ([0-9a-f]{8})?")


@dataclass(slots=True)
class ShardFile:
    """A finished file as the manifest lists it."""

    path: str  # relative to the dataset
    kind: str  # a feature kind, or `tracks` or `failures` for the ledgers
    split: str  # of all its records
    records: int = 0  # of them, or lines of a ledger
    tracks: int = 0  # that have records in it
    bytes: int = 0  # of the file
    sha256: str = ""  # of the file, hexadecimal
    digest: str = ""  # of its records' content, independent of their order, 64 hexadecimal digits
    crc32c: str = ""  # of the file, 8 hexadecimal digits; buckets have it, too. "" for files of format version 1
    labelled: str = "top"  # what is known of the genres of all its tracks, one of `transforms.tracks.LABELLED`

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "ShardFile":
        """Build it from dataset.json's values; TypeError or ValueError where they cannot be what was written."""
        file = cls(**values)
        named = _PATH.fullmatch(file.path)
        if named is None or named.groups() != (file.kind, file.split) or file.split not in SPLITS:
            raise ValueError(f"{file.path!r} is no path for kind {file.kind!r} and split {file.split!r}")
        if not _DIGESTS.fullmatch(f"{file.sha256} {file.digest} {file.crc32c}"):
            raise ValueError(f"a digest of {file.path} is not of hexadecimal digits, or has another length")
        if file.labelled not in LABELLED:
            raise ValueError(f"{file.path} is labelled {file.labelled!r}")
        if not _are_counts(file.records, file.tracks, file.bytes) or file.tracks > file.records:
            raise ValueError(f"the counts of {file.path} cannot be right")
        return file

    @property
    def name(self) -> str:
        """`training-00000-of-00008`: what a shard's files of all kinds have in common within a generation."""
        return self.path.rpartition("/")[2].rpartition(".")[0]


@dataclass(slots=True)
class ShardResult:
    """The outcome of building a shard; small, so that it can travel through a runner."""

    name: str  # the shard's
    # one for each kind, then the ledgers (kinds `tracks` and `failures`); empty files are not kept
    files: list[ShardFile] = field(default_factory=list)
    genres: dict[str, int] = field(default_factory=dict)  # tracks by genre_top, those that have one
    failures: dict[str, int] = field(default_factory=dict)  # tracks by reason
    silent: int = 0  # tracks by flag, as in `Generation`
    zeroed: int = 0
    truncated: int = 0
    antiphase: int = 0
    ffmpeg: int = 0
    error: str = ""  # why the shard could not be built, where that is user-fixable (a full disk, say)

    def to_line(self) -> str:
        """Return one line of JSON."""
        return json.dumps(asdict(self))

    @classmethod
    def from_line(cls, line: str) -> "ShardResult":
        """Parse what `to_line` returned."""
        fields = json.loads(line)
        return cls(**fields | {"files": [ShardFile(**file) for file in fields["files"]]})


@dataclass(slots=True)
class Generation:
    """What one run added to the dataset."""

    name: str  # of its folders
    subset: str  # FMA subset that was ingested, or "" for a plain csv
    job: dict[str, str] = field(default_factory=dict)  # facts of the Beam job (runner, versions)
    shards: list[ShardFile] = field(default_factory=list)  # the record files
    # the files with one JSON line for each track: kind `tracks` (ingested) or `failures`
    ledgers: list[ShardFile] = field(default_factory=list)
    genres: dict[str, int] = field(default_factory=dict)  # ingested tracks by genre_top, those that have one
    failures: dict[str, int] = field(default_factory=dict)  # failed tracks by reason
    skipped: dict[str, int] = field(default_factory=dict)  # tracks of the metadata that the run left out, by reason
    silent: int = 0  # ingested tracks that are digital silence
    zeroed: int = 0  # ingested tracks with stretches of exact zeros inside, as lost frames leave them
    truncated: int = 0  # ingested tracks whose file's end is missing
    antiphase: int = 0  # ingested tracks whose channels cancel each other: the louder one was decoded
    ffmpeg: int = 0  # ingested tracks that FFmpeg decoded, since libsndfile does not read all of them

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "Generation":
        """Build it from dataset.json's values; KeyError, TypeError or ValueError where they are damaged."""
        files = {key: [ShardFile.from_json(file) for file in values[key]] for key in ("shards", "ledgers")}
        found = cls(**values | files)
        counts = [*found.genres.values(), *found.failures.values(), *found.skipped.values(), *found.flags]
        texts = all(isinstance(text, str) for text in (found.subset, *found.job.values()))
        if not re.fullmatch(r"[\w-]+", found.name) or not texts or not _are_counts(*counts):
            raise ValueError(f"the facts of generation {found.name!r} cannot be right")
        return found

    def files(self) -> list[ShardFile]:
        """Return the files of its records, then its ledgers."""
        return [*self.shards, *self.ledgers]

    @property
    def flags(self) -> tuple[int, ...]:
        """Counts of ingested tracks by `transforms.tracks.FLAGS`."""
        return tuple(getattr(self, flag) for flag in FLAGS)

    def check_sums(self, features: Iterable[str]) -> None:
        """Raise ValueError where counts contradict each other, or files are of other kinds than the dataset's."""
        tracks, records = Counter[tuple[str, str]](), Counter[tuple[str, str]]()
        for file in self.files():
            tracks[file.kind, file.split] += file.tracks
            records[file.kind, file.split] += file.records
        kinds = {file.kind for file in self.shards}, {file.kind for file in self.ledgers}
        ingested, failed = (sum(tracks[kind, split] for split in SPLITS) for kind in LEDGERS)
        with_top = sum(ledger.tracks for ledger in self.ledgers if (ledger.kind, ledger.labelled) == (TRACKS, "top"))
        windows = [kind for kind in features if KINDS[kind].per == "window"]
        holds = (
            kinds[0] <= set(features)
            and kinds[1] <= set(LEDGERS)
            and with_top == sum(self.genres.values())
            and failed == sum(self.failures.values())
            and max(self.flags) <= ingested
            and all(tracks[kind, split] == tracks[TRACKS, split] for kind in features for split in SPLITS)
            and all(records[kind, split] == records[windows[0], split] for kind in windows for split in SPLITS)
        )
        if not holds:
            raise ValueError(f"the counts of generation {self.name} do not add up")

    @classmethod
    def from_results(
        cls, name: str, subset: str, job: dict[str, str], skipped: dict[str, int], results: list[ShardResult]
    ) -> "Generation":
        """Add up the results of a run's shards, in any order."""
        files = sorted((file for result in results for file in result.files), key=lambda file: file.path)
        return cls(
            name,
            subset,
            job,
            shards=[file for file in files if file.kind not in LEDGERS],
            ledgers=[file for file in files if file.kind in LEDGERS],
            genres=_add_counts(result.genres for result in results),
            failures=_add_counts(result.failures for result in results),
            skipped=dict(sorted(skipped.items())),
            **{flag: sum(getattr(result, flag) for result in results) for flag in FLAGS},
        )


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

    def __post_init__(self) -> None:
        self.genres = self.genres or dict.fromkeys(self.labels, "")

    @property
    def vocabulary(self) -> Vocabulary:
        """The names behind the ids of records."""
        return Vocabulary(tuple(self.labels), tuple(self.genres))

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
            "bytes": {kind: sum(shard.bytes for shard in self.shards(kind)) for kind in self.config.features},
            "by_split": by_split,
            "labelled": labelled,
            "by_genre": _add_counts(generation.genres for generation in self.generations),
            "failures": _add_counts(generation.failures for generation in self.generations),
            "skipped": self.generations[-1].skipped if self.generations else {},
        } | {flag: sum(getattr(generation, flag) for generation in self.generations) for flag in FLAGS}

    @property
    def digest(self) -> str:
        """64 hex digits: equal for datasets with equal settings and equal records, however they were made."""
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
        )
        paths = Counter(file.path for file in manifest.files())
        if twice := [path for path, count in paths.items() if count > 1]:
            raise ValueError(f"it lists {twice[0]} twice")
        for generation in manifest.generations:
            generation.check_sums(manifest.config.features)
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


def _are_counts(*values: Any) -> bool:
    return all(type(value) is int and value >= 0 for value in values)


def _add_counts(parts: Iterable[dict[str, int]]) -> dict[str, int]:
    """Add up counts by key, in the order of the keys."""
    total: Counter[str] = Counter()
    for counts in parts:
        total.update(counts)
    return dict(sorted(total.items()))


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
