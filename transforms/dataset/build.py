"""Building a shard: the tracks of a plan line in, one TFRecord file for each kind and two ledgers out.

Files are written under a temporary name and then renamed, records are in track order, and nothing but the plan line
and the audio goes in: a shard that is built twice has the same bytes.
"""

from collections.abc import Callable

from transforms import storage
from transforms.audio.decoder_process import Limits, ProcessDiedError, TrackProcess
from transforms.config import DatasetConfig
from transforms.dataset.generation import FAILURES, LEDGERS, TRACKS, ShardResult
from transforms.dataset.ledger import failed_line, ingested_line
from transforms.dataset.plan import ShardPlan
from transforms.dataset.shard_io import ShardFileWriter
from transforms.errors import FmaError, TrackError, UnreachableError
from transforms.records import add_digests
from transforms.runtime.os_errors import os_message
from transforms.taxonomy import Vocabulary
from transforms.tracks import Track, TrackFacts

OnTrack = Callable[[str], None]  # called after each track with its failure reason, or "" for one that was ingested


class ShardBuilder:
    """Builds the shards of the generation of that name; limits are a track's."""

    def __init__(
        self,
        dataset: str,
        generation: str,
        vocabulary: Vocabulary,
        config: DatasetConfig,
        *,
        limits: Limits = Limits(),  # noqa: B008 - frozen
        on_track: OnTrack = lambda _: None,
    ):
        self._dataset, self._generation, self._config = dataset, generation, config
        self._vocabulary = vocabulary
        self._process = TrackProcess(config, limits)
        self._on_track = on_track

    def close(self) -> None:
        """End the decoder's process."""
        self._process.close()

    def build(self, plan: ShardPlan) -> ShardResult:
        """Ingest the plan's tracks in order; a user-fixable error is returned in the result, any other is raised.

        Raises:
          UnreachableError: cloud storage did not answer; the shard can be built again.
          RuntimeError: a programming error.
        """
        writers: dict[str, ShardFileWriter] = {}
        try:
            endings = dict.fromkeys(self._config.features, "tfrecord") | dict.fromkeys(LEDGERS, "jsonl")
            for kind, ending in endings.items():
                path = storage.join(kind, self._generation, f"{plan.name}.{ending}")
                writers[kind] = ShardFileWriter(self._dataset, path, kind, plan.split, plan.labelled)
            result = ShardResult(plan.name)
            for track in plan.tracks:
                self._ingest(track, writers, result)
            result.files = [facts for writer in writers.values() if (facts := writer.publish())]
            return result
        except UnreachableError:
            raise
        except FmaError as error:
            return ShardResult(plan.name, error=f"{plan.name}: {error}")
        except OSError as error:
            return ShardResult(plan.name, error=f"{plan.name}: {os_message(error)}")
        finally:
            for writer in writers.values():
                writer.discard()

    def _ingest(self, track: Track, writers: dict[str, ShardFileWriter], result: ShardResult) -> None:
        try:
            facts, crc32 = self._write_records(track, writers)
        except TrackError as error:
            writers[FAILURES].write(failed_line(track, error))
            writers[FAILURES].commit_track()
            result.failures[error.reason] = result.failures.get(error.reason, 0) + 1
            self._on_track(error.reason)
            return
        except (FmaError, OSError):
            raise
        except Exception as error:
            # A new exception, since runners pass on an exception's message and not its notes.
            raise RuntimeError(f"track {track.track_id} ({track.locator}): {error!r}") from error
        track_digest = add_digests(*(writers[kind].commit_track() for kind in self._config.features))
        writers[TRACKS].write(ingested_line(track, facts, crc32, track_digest))
        writers[TRACKS].commit_track()
        if track.genre:
            result.genres[track.genre] = result.genres.get(track.genre, 0) + 1
        for flag, present in facts.flags.items():
            setattr(result, flag, getattr(result, flag) + present)
        self._on_track("")

    def _write_records(self, track: Track, writers: dict[str, ShardFileWriter]) -> tuple[TrackFacts, int]:
        def write(kind: str, framed: bytes, content_digest: int) -> None:
            writers[kind].write(framed, content_digest)

        def rollback() -> None:
            for writer in writers.values():
                writer.rollback_track()

        def attempt() -> tuple[TrackFacts, int]:
            try:
                return self._process.extract(track, self._vocabulary.ids(track), write, restart=rollback)
            except TrackError:
                rollback()
                raise

        try:
            return attempt()
        except ProcessDiedError:
            # Another program's signal may have killed it: only a track that kills two processes is to blame.
            return attempt()
