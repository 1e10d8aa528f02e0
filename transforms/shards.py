"""Building one shard: the tracks of a plan line in, one TFRecord file for each kind out.

Files are written under a temporary name and then renamed, records are in track order, and nothing but the plan line
and the audio goes in: a shard that is built twice has the same bytes.
"""

import contextlib
import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

from transforms import storage
from transforms.config import DatasetConfig
from transforms.errors import FmaError, TrackError
from transforms.extract import TrackFacts, extract
from transforms.locate import open_track
from transforms.plan import ShardPlan
from transforms.records import frame
from transforms.schema import Record, add_digests, digest, serialize
from transforms.tracks import Track

OnTrack = Callable[[str], None]
"""Called after each track with its failure reason, or "" for one that was ingested."""


@dataclass(slots=True)
class ShardFile:
    """A finished file as the manifest lists it; `path` is relative to the dataset."""

    path: str
    kind: str
    split: str
    records: int = 0
    tracks: int = 0
    bytes: int = 0
    sha256: str = ""
    digest: str = ""


@dataclass(slots=True)
class ShardResult:
    """What building a shard came to; small, so that it can travel through a runner.

    Attributes:
      name: the shard's.
      files: one for each kind, then the ledgers (kinds `tracks` and `failures`); empty files are not kept.
      genres: tracks by genre.
      failures: tracks by reason.
      silent: tracks that are digital silence.
      error: why the shard could not be built, where that is something a user can mend (a full disk, say).
    """

    name: str
    files: list[ShardFile] = field(default_factory=list)
    genres: dict[str, int] = field(default_factory=dict)
    failures: dict[str, int] = field(default_factory=dict)
    silent: int = 0
    error: str = ""

    def to_line(self) -> str:
        """One line of JSON."""
        return json.dumps(asdict(self))

    @classmethod
    def from_line(cls, line: str) -> "ShardResult":
        """The inverse of `to_line`."""
        fields = json.loads(line)
        return cls(**fields | {"files": [ShardFile(**file) for file in fields["files"]]})


class _FileWriter:
    """Writes one file; a track's part can be taken back as long as the next one has not begun."""

    def __init__(self, dataset: str, path: str, kind: str, split: str):
        self.facts = ShardFile(path, kind, split)
        self._target = storage.join(dataset, path)
        self._staged = storage.staging_path(self._target)
        self._file = open(self._staged, "wb")  # noqa: SIM115 - closed by publish or discard
        self._hash = hashlib.sha256()
        self._sum = 0
        self.mark()

    def mark(self) -> None:
        """Remembers this place: what comes after it belongs to one track."""
        self._marked = (self._file.tell(), self._hash.copy(), self.facts.records, self._sum)

    def take_back(self) -> None:
        """Removes what was written since the mark."""
        offset, self._hash, self.facts.records, self._sum = self._marked
        self._file.seek(offset)
        self._file.truncate()
        self.mark()

    def keep(self) -> int:
        """Counts the track in; returns the digest of its records."""
        _, _, records, total = self._marked
        self.facts.tracks += self.facts.records > records
        self.mark()
        return self._sum - total

    def write(self, data: bytes, content_digest: int = 0) -> None:
        self._file.write(data)
        self._hash.update(data)
        self._sum += content_digest
        self.facts.records += 1

    def publish(self) -> ShardFile | None:
        """Gives the file its name and returns its facts; None, and no file, where nothing was written."""
        if not self.facts.records:
            self.discard()
            return None
        self.facts.bytes = self._file.tell()
        self.facts.sha256 = self._hash.hexdigest()
        self.facts.digest = f"{add_digests(self._sum):064x}"
        self._file.close()
        storage.publish(self._staged, self._target)
        return self.facts

    def discard(self) -> None:
        """Removes the temporary file, if it is still there."""
        with contextlib.suppress(OSError):  # what a full disk did not take is thrown away here
            self._file.close()
        if os.path.exists(self._staged):
            os.unlink(self._staged)


class ShardBuilder:
    """Builds the shards of one generation.

    Args:
      dataset: path of the dataset.
      generation: name of the generation to write.
      labels: genre names; a label id is an index into them.
      config: the dataset's.
      on_track: told of each finished track.
    """

    def __init__(
        self,
        dataset: str,
        generation: str,
        labels: list[str],
        config: DatasetConfig,
        on_track: OnTrack = lambda _: None,
    ):
        self._dataset, self._generation, self._config = dataset, generation, config
        self._labels = {genre: label for label, genre in enumerate(labels)}
        self._on_track = on_track

    def build(self, plan: ShardPlan) -> ShardResult:
        """Ingests the plan's tracks in order; what a user can mend comes back as `error`, anything else is raised."""
        writers: dict[str, _FileWriter] = {}
        try:
            for kind, ending in self._kinds():
                path = storage.join(kind, self._generation, f"{plan.name}.{ending}")
                writers[kind] = _FileWriter(self._dataset, path, kind, plan.split)
            result = ShardResult(plan.name)
            for track in plan.tracks:
                self._ingest(track, writers, result)
            result.files = [facts for writer in writers.values() if (facts := writer.publish())]
            return result
        except (FmaError, OSError) as error:
            return ShardResult(plan.name, error=f"{plan.name}: {error}")
        finally:
            for writer in writers.values():
                writer.discard()

    def _kinds(self) -> list[tuple[str, str]]:
        return [*((kind, "tfrecord") for kind in self._config.features), ("tracks", "jsonl"), ("failures", "jsonl")]

    def _ingest(self, track: Track, writers: dict[str, _FileWriter], result: ShardResult) -> None:
        try:
            facts = self._write_records(track, writers)
        except TrackError as error:
            for writer in writers.values():
                writer.take_back()
            _write_line(writers["failures"], track, {"reason": error.reason, "message": error.message})
            writers["failures"].keep()
            result.failures[error.reason] = result.failures.get(error.reason, 0) + 1
            self._on_track(error.reason)
            return
        except OSError:
            raise
        except Exception as error:
            # A new exception, since runners pass on an exception's message and not its notes.
            raise RuntimeError(f"track {track.track_id} ({track.locator}): {error!r}") from error
        track_digest = add_digests(*(writers[kind].keep() for kind in self._config.features))
        _write_line(writers["tracks"], track, asdict(facts) | {"digest": f"{track_digest:064x}"})
        writers["tracks"].keep()
        result.genres[track.genre] = result.genres.get(track.genre, 0) + 1
        result.silent += facts.silent
        self._on_track("")

    def _write_records(self, track: Track, writers: dict[str, _FileWriter]) -> TrackFacts:
        def write(kind: str, record: Record) -> None:
            writers[kind].write(frame(serialize(record)), digest(kind, record, track.split, track.genre))

        with open_track(track) as file:
            return extract(track, file, self._labels[track.genre], self._config, write)


def _write_line(writer: _FileWriter, track: Track, more: dict[str, Any]) -> None:
    writer.write((json.dumps(track.to_json() | more) + "\n").encode())
