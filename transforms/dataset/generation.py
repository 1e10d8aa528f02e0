"""A generation: what one run added to a dataset, file by file, and the counts of its tracks."""

import json
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

from transforms.audio.features import KINDS
from transforms.encoders.facts import KIND as EMBEDDING
from transforms.encoders.facts import NAME
from transforms.tracks import FLAGS, LABELLED, SPLITS

TRACKS, FAILURES = LEDGERS = ("tracks", "failures")
"""Kinds of ledger files: those of ingested tracks, and of tracks that failed."""

_PATH = re.compile(
    rf"([a-z]+|{EMBEDDING}/{NAME})/[\w-]+/(?:[\w-]+-)?([a-z]+)-\d{{5,}}-of-\d{{5,}}\.(?:tfrecord|jsonl)", re.ASCII
)
"""The form of all paths that are listed, with kind and split: relative, and inside the dataset."""
_DIGESTS = re.compile(r"[0-9a-f]{64} [0-9a-f]{64} ([0-9a-f]{8})?")


@dataclass(slots=True)
class ShardFile:
    """A finished file as the manifest lists it."""

    path: str  # relative to the dataset
    kind: str  # a feature kind, such as embedding/yamnet, or `tracks` or `failures` for the ledgers
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
        if not are_counts(file.records, file.tracks, file.bytes) or file.tracks > file.records:
            raise ValueError(f"the counts of {file.path} cannot be right")
        return file

    def to_line(self) -> str:
        """Return one line of JSON."""
        return json.dumps(asdict(self))

    @classmethod
    def from_line(cls, line: str) -> "ShardFile":
        """Parse what `to_line` returned; errors as `from_json`."""
        return cls.from_json(json.loads(line))

    @property
    def name(self) -> str:
        """`training-00000-of-00008`: what a shard's files of all kinds have in common within a generation."""
        return self.path.rpartition("/")[2].rpartition(".")[0]


@dataclass(slots=True)
class ShardResult:
    """The outcome of work on a shard; small, so that it can travel through a runner."""

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
    found: str = ""  # what was found out, in the words of the function that did the work
    error: str = ""  # why the work could not be done, where that is user-fixable (a full disk, say)

    @property
    def tracks(self) -> int:
        """How many there were to build the shard of, those that failed included."""
        built = max((file.tracks for file in self.files if file.kind != FAILURES), default=0)
        return built + sum(self.failures.values())

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
        if not re.fullmatch(r"[\w-]+", found.name) or not texts or not are_counts(*counts):
            raise ValueError(f"the facts of generation {found.name!r} cannot be right")
        return found

    def files(self) -> list[ShardFile]:
        """Return the files of its records, then its ledgers."""
        return [*self.shards, *self.ledgers]

    @property
    def flags(self) -> tuple[int, ...]:
        """Counts of ingested tracks by `transforms.tracks.FLAGS`."""
        return tuple(getattr(self, flag) for flag in FLAGS)

    def lacks(self, kind: str) -> list[ShardFile]:
        """Return the ledgers of the tracks that have no records of a kind: all or, where it is there, none."""
        has = any(shard.kind == kind for shard in self.shards)
        return [] if has else [ledger for ledger in self.ledgers if ledger.kind == TRACKS]

    def check_sums(self, features: Iterable[str], embeddings: Iterable[str] = ()) -> None:
        """Raise ValueError where counts contradict each other, or files are of other kinds than the dataset's.

        `features` are the kinds that every track has, `embeddings` those that a generation has or lacks as a whole.
        """
        tracks, records = Counter[tuple[str, str]](), Counter[tuple[str, str]]()
        for file in self.files():
            tracks[file.kind, file.split] += file.tracks
            records[file.kind, file.split] += file.records
        kinds = {file.kind for file in self.shards}, {file.kind for file in self.ledgers}
        ingested, failed = (sum(tracks[kind, split] for split in SPLITS) for kind in LEDGERS)
        with_top = sum(ledger.tracks for ledger in self.ledgers if (ledger.kind, ledger.labelled) == (TRACKS, "top"))
        windows = [kind for kind in features if KINDS[kind].per == "window"]
        embedded = [kind for kind in embeddings if not self.lacks(kind)]
        holds = (
            kinds[0] <= {*features, *embeddings}
            and kinds[1] <= set(LEDGERS)
            and with_top == sum(self.genres.values())
            and failed == sum(self.failures.values())
            and max(self.flags) <= ingested
            and all(tracks[kind, split] == tracks[TRACKS, split] for kind in [*features, *embedded] for split in SPLITS)
            and all(records[kind, split] == tracks[kind, split] for kind in embedded for split in SPLITS)
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
            genres=add_counts(result.genres for result in results),
            failures=add_counts(result.failures for result in results),
            skipped=dict(sorted(skipped.items())),
            **{flag: sum(getattr(result, flag) for result in results) for flag in FLAGS},
        )


def are_counts(*values: Any) -> bool:
    return all(type(value) is int and value >= 0 for value in values)


def add_counts(parts: Iterable[dict[str, int]]) -> dict[str, int]:
    """Add up counts by key, in the order of the keys."""
    total: Counter[str] = Counter()
    for counts in parts:
        total.update(counts)
    return dict(sorted(total.items()))
