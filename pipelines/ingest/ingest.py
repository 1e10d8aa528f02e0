"""`fma ingest`: plan what a dataset lacks, build it on Beam batch by batch, and commit each batch as a generation."""

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import TYPE_CHECKING

from transforms import storage
from transforms.audio.decoder_process import Limits
from transforms.audio.features import KINDS
from transforms.config import DatasetConfig, validate
from transforms.dataset.generation import FAILURES, TRACKS, Generation
from transforms.dataset.growth import Growth, locked, open_or_create, plan_growth
from transforms.dataset.ledger import FailedTrack, parse_line, read_failures, read_ledgers, read_tracks
from transforms.dataset.leftovers import (
    announce,
    jobs_elsewhere,
    planned_files,
    remove_leftovers,
    remove_list,
    settle,
)
from transforms.dataset.manifest import Manifest, commit, is_dataset, load
from transforms.dataset.plan import ShardPlan, generation_name, make_plan
from transforms.dataset.rewrite import without_tracks
from transforms.dataset.shard_results import forget_failures
from transforms.errors import FmaError, UsageError
from transforms.runtime import console
from transforms.runtime.os_errors import annotate_os_errors
from transforms.runtime.stderr import capture_native_stderr
from transforms.taxonomy import Taxonomy
from transforms.tracks import Track

if TYPE_CHECKING:
    from transforms.catalog.genres import Spellings
    from transforms.catalog.metadata import Catalog

COMMIT_EVERY = 8000
"""Tracks of 30 s that two cores ingest in about ten minutes, all kinds. The same everywhere, since what is committed,
and what counts as too many failures, must not depend on the machine."""


@dataclass(frozen=True, slots=True)
class IngestOptions:
    """The options of `fma ingest`."""

    audio: str  # folder or zip of audio files
    # fma_metadata, a folder or a zip, or a csv; None for a folder or a zip of audio with a folder for each genre
    metadata: str | None
    out: str  # the dataset's path
    subset: str | None  # FMA's, or None
    split: str | None  # where splits come from, `official` or `artist`; None for what fits the metadata
    genres: str | None  # a csv with the parents of the metadata's genres; None: FMA's own, or no tree
    unlabelled: bool  # whether tracks without any genre are ingested, too
    join_genres: bool  # whether spellings of a genre that differ in case, spaces or punctuation only are one
    settings: Mapping[str, int | float | list[str]]  # the fields of `DatasetConfig` that were given
    update: bool  # whether changed tracks are read again and vanished ones taken out
    retry_failed: str | None  # the reason whose failed tracks are tried again, "" for any reason, None for none
    shards: int | None  # for each split, or None for a number chosen from the amount of data
    limits: Limits  # what one track may cost
    max_failures: float  # per cent of the metadata's tracks that may fail, of all runs together
    commit_every: int | None  # tracks in a batch, or None for a size chosen by the runner
    workers: int | None  # local worker processes, or None for one for each core
    beam_options: list[str]  # options that go to Beam


@dataclass(frozen=True, slots=True)
class IngestPlan:
    """A dataset, the metadata's tracks, and what to do to bring the dataset up to date."""

    manifest: Manifest  # of the dataset; of an empty one where there is none yet
    catalog: "Catalog"  # of the metadata, its tracks located
    growth: Growth  # what to do


@dataclass(slots=True)
class Outcome:
    """Counts of what an ingestion did."""

    ingested: int = 0  # tracks
    failed: int = 0  # tracks
    rewritten: int = 0  # bytes of earlier records that were written again
    failures: list[str] = field(default_factory=list)  # folders that list the failed tracks
    reasons: list[str] = field(default_factory=list)  # for each reason a line with its count and an example


@dataclass(slots=True)
class Failures:
    """The tracks of the metadata that failed, in this run and before, so that a run that is resumed counts the same."""

    tracks: int  # of the metadata that belong to the run
    earlier: int  # of them, failed before and not tried again
    known: frozenset[int]  # ids of tracks that failed before and are tried again: if they fail, that is no news
    reasons: Counter[str] = field(default_factory=Counter)  # of those that failed in this run
    news: int = 0  # of them, those that were not known to fail
    examples: dict[str, FailedTrack] = field(default_factory=dict)  # the first of each reason

    def count(self, dataset: str, generation: Generation) -> None:
        """Add the failures of a generation."""
        ledgers = [ledger for ledger in generation.ledgers if ledger.kind == FAILURES]
        found = read_ledgers(dataset, ledgers)
        for track in (parse_line(FAILURES, line) for _, lines in found for line in lines):
            assert isinstance(track, FailedTrack)
            self.reasons[track.reason] += 1
            self.examples.setdefault(track.reason, track)
            self.news += track.track_id not in self.known

    @property
    def total(self) -> int:
        """Tracks that failed."""
        return self.earlier + self.reasons.total()

    def lines(self) -> list[str]:
        """Return a line for each reason: how many tracks, and one of them with what was found and what to do."""
        return [
            f"{reason}: {self.reasons[reason]:,}, such as {track.shown_id}: {track.message}"
            for reason, track in self.examples.items()
        ]

    @property
    def share(self) -> float:
        """Per cent of the metadata's tracks."""
        return 100 * self.total / max(1, self.tracks)

    def more(self, limit: float) -> int:
        """Return how many tracks may fail beside those that have, at a limit in per cent of the metadata's tracks."""
        return math.floor(limit * self.tracks / 100) - self.total

    def __str__(self) -> str:
        earlier = {"in earlier runs": self.earlier} if self.earlier else {}
        return (
            f"{self.total:,} of {self.tracks:,} tracks failed ({self.share:.1f}%: "
            f"{format_counts(self.reasons | earlier)})"
        )


def plan_ingest(options: IngestOptions) -> IngestPlan:
    """Plan what `ingest` would do now; nothing is written.

    Raises:
      UsageError: an input is wrong, or the dataset has other settings.
      FmaError: the dataset is damaged.
    """
    manifest, catalog, _ = _read_inputs(options)
    return _make_plan(options, manifest, catalog)


def ingest(options: IngestOptions) -> tuple[IngestPlan, Outcome]:
    """Bring a dataset up to date with its metadata; each batch is committed when it is built.

    Return what was planned, with the manifest as it is afterwards, and what was done.

    Raises:
      UsageError: as `plan_ingest`, or Beam's options cannot work.
      FmaError: too many tracks failed, or a shard could not be built; batches before it stay committed.
      TemplateWrittenError: the options ask for a template.
    """
    from transforms.catalog.genres import report_spellings

    _validate_runner(options, ("--audio", options.audio), ("--out", options.out))
    manifest, catalog, spellings = _read_inputs(options)
    _validate_runner(options, *((f"track {track.shown_id}:", track.archive or track.path) for track in catalog.tracks))
    with locked(options.out), annotate_os_errors(options.out):
        manifest = open_or_create(options.out, manifest.config)  # again: another command may have been first
        plan = _make_plan(options, manifest, catalog)
        if not plan.growth.has_work:
            _clean_up(options.out, manifest)
            return plan, Outcome()
        if spellings:
            report_spellings(spellings, manifest.genres, options.join_genres)
        return plan, _grow(options, plan)


def _clean_up(dataset: str, manifest: Manifest, keep: frozenset[str] = frozenset()) -> None:
    removed = remove_leftovers(dataset, manifest, keep)
    if removed:
        console.log(f"removed {console.counted(removed, 'file')} that an interrupted or earlier run had left behind")


def _validate_runner(options: IngestOptions, *places: tuple[str, str]) -> None:
    if options.beam_options:
        from pipelines.runners import validate_runner_options

        validate_runner_options(options.beam_options, places)


def _read_inputs(options: IngestOptions) -> tuple[Manifest, "Catalog", "Spellings"]:
    """Return the manifest, the located tracks, and the genres that are spelt in several ways."""
    from transforms.catalog.folders import read_folders
    from transforms.catalog.genres import find_spellings, join_genres
    from transforms.catalog.locate import locate
    from transforms.catalog.metadata import GenreOptions, read_catalog

    manifest = open_or_create(options.out, choose_config(options))
    held = Taxonomy(manifest.genres)
    genres = GenreOptions(options.genres, held, update=options.update, unlabelled=options.unlabelled)
    if options.metadata is not None:
        catalog = read_catalog(options.metadata, options.subset, options.split or "official", genres)
    elif options.subset or options.split == "official":
        raise UsageError("--subset and --split official need --metadata")
    else:
        catalog = read_folders(options.audio, genres)
    if not catalog.tracks:
        raise UsageError(f"{options.metadata} names no track to ingest: {format_counts(catalog.skipped)}")
    # FMA's genres are a list of its own.
    names = (name for track in catalog.tracks for name in track.genres)
    spellings = find_spellings(names) if catalog.form == "csv" else []
    if options.join_genres:
        joined = join_genres(catalog.tracks, spellings, manifest.genres, catalog.taxonomy)
        catalog = replace(catalog, tracks=joined)
    catalog = replace(catalog, tracks=locate(catalog.tracks, options.audio, catalog.form))
    # FMA's full holds the same tracks as large, but whole: a dataset of both would hold one song twice over.
    subset, subsets = catalog.subset, {generation.subset for generation in manifest.generations} - {""}
    if subset and subsets and (subset == "full") != ("full" in subsets):
        have = "whole songs" if "full" in subsets else "clips of 30 s"
        raise UsageError(f"{options.out} holds {have}; give another --out for --subset {subset}")
    return manifest, catalog, spellings


def choose_config(options: IngestOptions) -> DatasetConfig:
    """Return the settings: those that were given, then those of the existing dataset, then the defaults."""
    base = load(options.out).config if is_dataset(options.out) else DatasetConfig()
    given = dict(options.settings)
    if "window_frames" in given:
        given.setdefault("window_hop_frames", given["window_frames"])
    return validate(DatasetConfig.from_json(base.to_json() | given), tuple(KINDS))


def _make_plan(options: IngestOptions, manifest: Manifest, catalog: "Catalog") -> IngestPlan:
    """Give the tracks their splits where these are by artist, and compare them with those that the dataset knows."""
    if catalog.by_artist:
        from transforms.catalog.splits import split_by_artist

        held = chain(read_tracks(options.out, manifest), read_failures(options.out, manifest))
        catalog = replace(catalog, tracks=split_by_artist(catalog.tracks, held))
    wanted, known, taxonomy = catalog.tracks, catalog.known, catalog.taxonomy
    growth = plan_growth(
        options.out, manifest, wanted, known, taxonomy, update=options.update, retry=options.retry_failed
    )
    return IngestPlan(manifest, catalog, growth)


def _grow(options: IngestOptions, plan: IngestPlan) -> Outcome:
    """Build and commit batch by batch; the manifest is updated in place."""
    dataset, manifest, growth = options.out, plan.manifest, plan.growth
    outcome, failed = Outcome(), Failures(len(plan.catalog.tracks), growth.failed, frozenset(growth.drop_failures))
    manifest.labels, manifest.genres = growth.labels, growth.genres
    gone = (growth.drop | growth.drop_failures) - {track.track_id for track in growth.new}
    elsewhere = jobs_elsewhere(dataset)
    for number, batch in enumerate(_batches(options, growth.new)):
        drop = {track.track_id for track in batch} | gone
        shards = make_plan(batch, manifest.config, options.shards)
        count = len(manifest.generations) + 1
        name = generation_name(count, shards, sorted(drop), manifest.vocabulary, manifest.config)
        if not number:  # what was built for this very batch is used
            _clean_up(dataset, manifest, elsewhere | {name})
            forget_failures(dataset, name, failed.more(options.max_failures))
        generation = _ingest_batch(options, plan, name, shards)
        failed.count(dataset, generation)
        _refuse_too_many_failures(options, generation, len(batch), failed)
        if drop & (growth.drop | growth.drop_failures):
            tracks, failures = growth.drop & drop, growth.drop_failures & drop
            manifest.generations, rewritten = without_tracks(dataset, manifest, tracks, failures, generation.name)
            outcome.rewritten += rewritten
        manifest.generations.append(generation)
        commit(dataset, manifest)
        settle(dataset, name, manifest)
        outcome.ingested += sum(ledger.tracks for ledger in generation.ledgers if ledger.kind == TRACKS)
        outcome.failed += sum(generation.failures.values())
        outcome.failures += [storage.join(dataset, FAILURES, generation.name)] if generation.failures else []
        gone = set()
    for name in elsewhere.difference(generation.name for generation in manifest.generations):
        remove_list(dataset, name, manifest)  # what a job has built that was not used by now is not needed any more
    outcome.reasons = failed.lines()
    return outcome


def _batches(options: IngestOptions, tracks: list[Track]) -> list[list[Track]]:
    """At least one batch; of a remote job only one, since its runner restarts what fails."""
    from pipelines.runners.options import is_local

    size = options.commit_every or (COMMIT_EVERY if is_local(options.beam_options) else len(tracks))
    return [tracks[start : start + size] for start in range(0, len(tracks), size or 1)] or [[]]


def _ingest_batch(options: IngestOptions, plan: IngestPlan, name: str, shards: list[ShardPlan]) -> Generation:
    """Build a batch's shards; the generation is on disk, but not in the manifest yet."""
    manifest, catalog = plan.manifest, plan.catalog
    if not shards:
        return Generation(name, catalog.subset, skipped=catalog.skipped)
    from pipelines.ingest.beam import BuildJob, describe_job, run_build
    from pipelines.runners import prepare_options
    from pipelines.runners.dataflow import own_folders

    tracks = sum(len(shard.tracks) for shard in shards)
    beam = prepare_options(options.beam_options, options.out, "ingest", name, tracks=tracks, workers=options.workers)
    new = planned_files(name, shards, manifest.config.features)
    announce(options.out, name, [*new, *own_folders(beam, options.out)])
    with capture_native_stderr():
        job = BuildJob(
            dataset=options.out,
            name=name,
            vocabulary=manifest.vocabulary,
            config=manifest.config,
            limits=options.limits,
        )
        results = run_build(job, shards, beam)
    return Generation.from_results(name, catalog.subset, describe_job(beam), catalog.skipped, results)


def _refuse_too_many_failures(options: IngestOptions, generation: Generation, batch: int, failures: Failures) -> None:
    if not failures.news or failures.share <= options.max_failures:
        return
    for line in failures.lines():
        console.log(line)
    raise FmaError(
        f"{failures}, more than --max-failures {options.max_failures:g}, so none of the last {batch:,} was committed. "
        f"Look at {storage.join(options.out, 'failures', generation.name)}, and to accept that many, without building "
        f"them again, give --max-failures {math.ceil(failures.share)}"
    )


def format_counts(by_name: Mapping[str, int]) -> str:
    """Return such as `3 corrupt_audio, 1 missing_audio`."""
    return ", ".join(f"{count:,} {name}" for name, count in by_name.items()) or "none"
