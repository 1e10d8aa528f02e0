"""Growing a dataset: batches of tracks, each built on Beam and committed as a generation when it is done."""

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from transforms import storage
from transforms.audio.decoder_process import Limits
from transforms.dataset.growth import Growth
from transforms.dataset.ledger import FailedTrack, read_ledger_file
from transforms.dataset.manifest import Generation, Manifest, commit
from transforms.dataset.plan import generation_name, make_plan
from transforms.errors import FmaError
from transforms.runtime.stderr import capture_native_stderr
from transforms.tracks import Track

if TYPE_CHECKING:
    from transforms.catalog.metadata import Catalog
    from transforms.dataset.manifest import ShardResult


COMMIT_EVERY = 8000
"""Tracks of 30 s that two cores ingest in about ten minutes, all kinds. The same everywhere, since what is committed,
and what counts as too many failures, must not depend on the machine."""


@dataclass(frozen=True, slots=True)
class Job:
    """How to run.

    Attributes:
      dataset: its path.
      beam_options: the user's.
      workers: local worker processes, or None for one for each core.
      shards: for each split, or None for a number chosen from the amount of data.
      limits: what one track may cost.
      max_failures: per cent of a run's new tracks that may fail, at the end of each batch.
      commit_every: tracks in a batch, or None for a size chosen by the runner.
    """

    dataset: str
    beam_options: list[str]
    workers: int | None
    shards: int | None
    limits: Limits
    max_failures: float
    commit_every: int | None


@dataclass(slots=True)
class Outcome:
    """What a run came to: tracks ingested and failed, bytes of old records written again, where failures are listed."""

    ingested: int = 0
    failed: int = 0
    rewritten: int = 0
    failures: list[str] = field(default_factory=list)

    def add(self, generation: Generation, failures: str) -> None:
        """Counts a committed generation in; `failures` is the folder that lists its failed tracks."""
        self.ingested += sum(generation.genres.values())
        self.failed += sum(generation.failures.values())
        if generation.failures:
            self.failures.append(failures)


def grow(job: Job, manifest: Manifest, catalog: "Catalog", growth: Growth) -> Outcome:
    """Does what `growth` says, batch by batch, and commits each; the manifest is updated in place.

    Raises:
      FmaError: too many tracks failed so far, or a shard could not be built; batches before it stay committed.
    """
    outcome, tally = Outcome(), Tally(growth.drop_failures)
    manifest.labels = growth.labels
    gone = (growth.drop | growth.drop_failures) - {track.track_id for track in growth.new}
    for batch in list(_batches(growth.new, _batch_size(job))) or [[]]:
        drop = {track.track_id for track in batch} | gone
        generation = _ingest(job, manifest, catalog, batch, drop)
        _refuse_too_many(job, generation, tally.add(job.dataset, generation, batch))
        outcome.rewritten += _take_out(job, manifest, growth.drop & drop, growth.drop_failures & drop, generation.name)
        manifest.generations.append(generation)
        commit(job.dataset, manifest)
        outcome.add(generation, storage.join(job.dataset, "failures", generation.name))
        gone = set()
    return outcome


def _batch_size(job: Job) -> int | None:
    """A remote job is one generation: its runner restarts what fails."""
    from pipelines.runners.options import is_local

    if job.commit_every or not is_local(job.beam_options):
        return job.commit_every
    return COMMIT_EVERY


def _batches(tracks: list[Track], size: int | None) -> Iterator[list[Track]]:
    size = size or max(1, len(tracks))
    for start in range(0, len(tracks), size):
        yield tracks[start : start + size]


def _ingest(job: Job, manifest: Manifest, catalog: "Catalog", batch: list[Track], drop: set[int]) -> Generation:
    """Builds a batch's shards; the generation is on disk, but not in the manifest yet."""
    plan = make_plan(batch, manifest.config, job.shards)
    name = generation_name(len(manifest.generations) + 1, plan, sorted(drop), manifest.labels, manifest.config)
    if not batch:
        return Generation(name, catalog.subset, skipped=catalog.skipped)
    results, facts = _build(job, manifest, name, batch, plan)
    return Generation.from_results(name, catalog.subset, facts, catalog.skipped, results)


def _take_out(job: Job, manifest: Manifest, tracks: set[int], failures: set[int], name: str) -> int:
    """Takes tracks out of the manifest's generations; returns the bytes that were written again for it."""
    if not tracks | failures:
        return 0
    from transforms.dataset.rewrite import without_tracks

    manifest.generations, rewritten = without_tracks(job.dataset, manifest, tracks, failures, name)
    return rewritten


def _build(
    job: Job, manifest: Manifest, name: str, batch: list[Track], plan: list
) -> tuple[list["ShardResult"], dict[str, str]]:
    from pipelines.ingest.beam import BuildJob, describe_job, run_build
    from pipelines.runners import progress, with_runner_defaults
    from pipelines.runners.options import RETRYING_RUNNERS, beam_options, quiet_beam, runner_name

    quiet_beam()
    options = beam_options(with_runner_defaults(job.beam_options, job.dataset, "ingest", name), len(batch), job.workers)
    with capture_native_stderr(), progress(options, "ingest", len(batch), "tracks") as ticks:
        retried = runner_name(options) in RETRYING_RUNNERS
        build = BuildJob(job.dataset, name, tuple(manifest.labels), manifest.config, job.limits, ticks, retried)
        results = run_build(build, plan, options)
    storage.remove_tree(build.folder)
    return results, describe_job(options)


@dataclass(slots=True)
class Tally:
    """Of a run's tracks so far, those that were not known to fail.

    Attributes:
      known: ids of tracks that failed before; that one of them fails again is no news.
      tried: tracks that were not known to fail.
      reasons: why tracks of these failed, with how many.
      batch: tracks of the last batch, known or not.
    """

    known: set[int]
    tried: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    batch: int = 0

    @property
    def failed(self) -> int:
        """Tracks that failed and were not known to."""
        return self.reasons.total()

    def add(self, dataset: str, generation: Generation, batch: list[Track]) -> "Tally":
        """Counts a batch in, by what its generation's ledger of failures says; returns itself."""
        self.batch = len(batch)
        self.tried += sum(track.track_id not in self.known for track in batch)
        for ledger in generation.ledgers:
            failed = (track for track in read_ledger_file(dataset, ledger) if isinstance(track, FailedTrack))
            self.reasons.update(track.reason for track in failed if track.track_id not in self.known)
        return self


def _refuse_too_many(job: Job, generation: Generation, tally: Tally) -> None:
    share = 100 * tally.failed / max(1, tally.tried)
    if share <= job.max_failures:
        return
    for kind in (*{shard.kind for shard in generation.shards}, "tracks"):
        storage.remove_tree(storage.join(job.dataset, kind, generation.name))
    raise FmaError(
        f"{tally.failed:,} of {tally.tried:,} tracks failed ({share:.1f}%: {counts(tally.reasons)}), more than "
        f"--max-failures {job.max_failures:g}, so none of the last {tally.batch:,} was committed. Look at "
        f"{storage.join(job.dataset, 'failures', generation.name)}, and to accept that many give "
        f"--max-failures {math.ceil(share)}"
    )


def counts(by_name: dict[str, int]) -> str:
    """`3 corrupt_audio, 1 missing_audio`."""
    return ", ".join(f"{count:,} {name}" for name, count in by_name.items()) or "none"
