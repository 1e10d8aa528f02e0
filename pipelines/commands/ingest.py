"""`fma ingest`: audio and metadata in, a dataset of sharded TFRecords out."""

import argparse
import json
import sys
from typing import TYPE_CHECKING, Any

from pipelines.ingest.grow import Job, Outcome, counts, grow
from transforms.audio.decoder_process import Limits
from transforms.commands.arguments import number
from transforms.config import DatasetConfig, validate
from transforms.dataset.growth import Growth, jobs_elsewhere, locked, open_or_create, plan_growth, remove_orphans
from transforms.dataset.manifest import Manifest, is_dataset, load
from transforms.errors import REASONS, TemplateWrittenError, UsageError
from transforms.runtime import console

if TYPE_CHECKING:
    from transforms.catalog.metadata import Catalog

TAKES_BEAM_OPTIONS = True
SAMPLE = 200
"""Tracks that --estimate measures."""

SETTINGS = ("sample_rate", "n_fft", "hop_length", "n_mels", "window_frames", "window_hop_frames", "db_min", "db_step")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's arguments; what it does not know goes on to Beam."""
    defaults = DatasetConfig()
    parser.description = (
        "Reads audio and metadata and writes sharded TFRecords. Run it again when the subset grows: only tracks that "
        "the dataset does not hold yet are read. Options that are not listed go to Apache Beam."
    )
    parser.epilog = (
        "example: fma ingest --audio fma_small.zip --metadata fma_metadata.zip --subset small --out data/small"
    )
    parser.add_argument("--audio", required=True, help="folder or zip of audio files, FMA's own or yours")
    parser.add_argument(
        "--metadata", required=True, help="fma_metadata (zip or folder), or a csv: track_id,path,genre[,artist,split]"
    )
    parser.add_argument("--subset", help="small, medium, large or full; FMA metadata only")
    parser.add_argument("--out", required=True, help="the dataset's folder; an existing dataset grows")
    parser.add_argument("--split", default="official", choices=("official", "artist"), help="where splits come from")
    parser.add_argument("--features", help=f"kinds to write (default {','.join(defaults.features)})")
    count = number(int, 1)
    for name in SETTINGS:
        default = getattr(defaults, name)
        option = f"--{name.replace('_', '-')}"
        parser.add_argument(option, type=type(default), metavar="N", help=f"default {default}")
    parser.add_argument("--shards", type=count, metavar="N", help="for each split; default: by amount of data")
    parser.add_argument("--workers", type=count, metavar="N", help="local worker processes; default: all cores")
    parser.add_argument(
        "--max-failures", type=_percent, default=5.0, metavar="PERCENT", help="give up above this share; default 5"
    )
    parser.add_argument("--update", action="store_true", help="read changed tracks again, take out vanished ones")
    parser.add_argument(
        "--retry-failed", nargs="?", const="", choices=("", *REASONS), metavar="REASON", help="try failed tracks again"
    )
    parser.add_argument("--commit-every", type=count, metavar="N", help="tracks; default 8000, on a cluster all")
    limits = Limits()
    seconds, megabytes = number(float, 0, above=True, below=1e6), number(int, 1, below=1e8)
    parser.add_argument("--track-timeout", type=seconds, default=limits.seconds, metavar="S", help="for each track")
    parser.add_argument("--track-memory", type=megabytes, default=limits.megabytes, metavar="MB", help="likewise")
    parser.add_argument(
        "--estimate",
        nargs="?",
        const=SAMPLE,
        type=number(int, 1),
        metavar="N",
        help=f"only measure N ({SAMPLE}) tracks",
    )
    parser.add_argument("--price", type=number(float, 0), metavar="X", help="of a core-hour, for --estimate")
    parser.add_argument("--json", action="store_true", help="print the result as one JSON value")


def run(args: argparse.Namespace) -> int:
    """Runs the command; see `fma ingest --help`."""
    if args.beam_options:
        from pipelines.runners.options import reject_unknown_options

        reject_unknown_options(args.beam_options)
    if args.estimate:
        return _estimate(args)
    _refuse_unfit(args, ("--audio", args.audio), ("--out", args.out))
    try:
        manifest, growth, outcome = _grow(args)
    except TemplateWrittenError as written:
        console.log(str(written))
        return 0
    _report(args, manifest, growth, outcome)
    return 0


def _refuse_unfit(args: argparse.Namespace, *places: tuple[str, str]) -> None:
    if args.beam_options:
        from pipelines.runners import validate_runner_options

        validate_runner_options(args.beam_options, places)


def _grow(args: argparse.Namespace) -> tuple[Manifest, Growth, Outcome]:
    """The dataset as it is afterwards, what there was to do, and what it came to."""
    manifest, catalog = _open(args)
    _refuse_unfit(args, *((f"track {track.track_id}:", track.archive or track.path) for track in catalog.tracks))
    with locked(args.out), console.annotate_os_errors(args.out):
        manifest = open_or_create(args.out, manifest.config)  # again: another command may have been first
        elsewhere = jobs_elsewhere(args.out)
        removed = remove_orphans(args.out, manifest, elsewhere)
        if removed:
            console.log(f"removed {removed:,} files that an interrupted or earlier run had left behind")
        growth = _plan(args, manifest, catalog)
        outcome = grow(_job(args), manifest, catalog, growth) if growth.has_work else Outcome()
        if elsewhere:  # what has not been taken up by now is not part of what is wanted any more
            remove_orphans(args.out, manifest)
    return manifest, growth, outcome


def _estimate(args: argparse.Namespace) -> int:
    from pipelines.ingest.estimate import as_json, estimate, show

    manifest, growth = examine(args)
    if not growth.new:
        console.say(f"nothing to estimate: {args.out} has all {growth.kept:,} tracks")
        return 0
    found = estimate(growth.new, manifest.config, args.estimate, Limits(args.track_timeout, args.track_memory))
    if args.json:
        console.say(json.dumps(as_json(found, args.price)))
    else:
        show(found, args.price)
    return 0


def examine(args: argparse.Namespace) -> tuple[Manifest, Growth]:
    """What the command would find to do now; nothing is written.

    Raises:
      UsageError, FmaError: as the command itself.
    """
    manifest, catalog = _open(args)
    return manifest, _plan(args, manifest, catalog)


def _open(args: argparse.Namespace) -> tuple[Manifest, "Catalog"]:
    manifest = open_or_create(args.out, choose_config(args))
    catalog = _read_catalog(args)
    _refuse_mixed_lengths(args.out, manifest, catalog.subset)
    return manifest, catalog


def _plan(args: argparse.Namespace, manifest: Manifest, catalog: "Catalog") -> Growth:
    return plan_growth(args.out, manifest, catalog.tracks, catalog.known, update=args.update, retry=args.retry_failed)


def _job(args: argparse.Namespace) -> Job:
    limits = Limits(args.track_timeout, args.track_memory)
    return Job(args.out, args.beam_options, args.workers, args.shards, limits, args.max_failures, args.commit_every)


def _refuse_mixed_lengths(dataset: str, manifest: Manifest, subset: str) -> None:
    """FMA's full holds the same tracks as large, but whole: a dataset of both would hold one song twice over."""
    subsets = {generation.subset for generation in manifest.generations} - {""}
    if subset and subsets and (subset == "full") != ("full" in subsets):
        have = "whole songs" if "full" in subsets else "clips of 30 s"
        raise UsageError(f"{dataset} holds {have}; give another --out for --subset {subset}")


def choose_config(args: argparse.Namespace) -> DatasetConfig:
    """The settings: those that were given, then those of the existing dataset, then the defaults."""
    from transforms.audio.features import KINDS

    base = load(args.out).config if is_dataset(args.out) else DatasetConfig()
    given = {name: getattr(args, name) for name in SETTINGS if getattr(args, name) is not None}
    if args.window_frames is not None and args.window_hop_frames is None:
        given["window_hop_frames"] = args.window_frames
    if args.features is not None:
        given["features"] = [name.strip() for name in args.features.split(",") if name.strip()]
    return validate(DatasetConfig.from_json(base.to_json() | given), tuple(KINDS))


def _read_catalog(args: argparse.Namespace) -> "Catalog":
    from dataclasses import replace

    from transforms.catalog.locate import locate
    from transforms.catalog.metadata import read_catalog

    catalog = read_catalog(args.metadata, args.subset, args.split)
    if not catalog.tracks:
        raise UsageError(f"{args.metadata} names no track to ingest: {counts(catalog.skipped)}")
    return replace(catalog, tracks=locate(catalog.tracks, args.audio, catalog.form))


def _report(args: argparse.Namespace, manifest: Manifest, growth: Growth, outcome: Outcome) -> None:
    if args.json:
        console.say(json.dumps(_as_json(args, manifest, growth, outcome)))
        return
    from transforms.commands.show import summarize

    summarize(manifest)
    if outcome.failed:
        console.say(f"{outcome.failed:,} of {len(growth.new):,} tracks failed; each with its reason in")
        for folder in outcome.failures:
            console.say(f"  {folder}")
    if growth.failed:
        console.say(f"{growth.failed:,} tracks that failed before were not tried again (--retry-failed does)")
    if growth.changed:
        done = "were read again" if args.update else "are kept as they were (--update reads them again)"
        console.say(f"{len(growth.changed):,} tracks changed and {done}: {_some(growth.changed)}")
    if growth.vanished:
        done = "were taken out" if args.update else "are kept (--update takes them out)"
        console.say(f"{len(growth.vanished):,} tracks are not in the metadata and {done}: {_some(growth.vanished)}")
    rest = "" if growth.new else "nothing new, "
    rewritten = console.human_bytes(outcome.rewritten).replace(" B", " bytes")
    console.say(f"{rest}{outcome.ingested:,} new, {growth.kept:,} kept, {rewritten} rewritten")


def _as_json(args: argparse.Namespace, manifest: Manifest, growth: Growth, outcome: Outcome) -> dict[str, Any]:
    return {
        "dataset": args.out,
        "digest": manifest.digest,
        "new": outcome.ingested,
        "failed": outcome.failed,
        "kept": growth.kept,
        "failed_before": growth.failed,
        "changed": growth.changed,
        "vanished": growth.vanished,
        "bytes_rewritten": outcome.rewritten,
        "failures": outcome.failures,
        "totals": manifest.totals,
    }


def _some(ids: list[int]) -> str:
    return ", ".join(map(str, ids[:5])) + (f" and {len(ids) - 5:,} more" if len(ids) > 5 else "")


def _percent(text: str) -> float:
    value = float(text.removesuffix("%"))
    if not 0 <= value <= 100:
        raise argparse.ArgumentTypeError("must be 0 to 100")
    return value


if __name__ == "__main__":
    # Through the front door and by its name, so that nothing Beam pickles belongs to __main__.
    from fma import main

    sys.exit(main(["ingest", *sys.argv[1:]]))
