"""`fma ingest`: audio and metadata in, a dataset of sharded TFRecords out. Also `python -m pipelines.ingest`."""

import argparse
import json
import sys
from typing import TYPE_CHECKING

from transforms import console, storage
from transforms.config import DatasetConfig, validate
from transforms.errors import FmaError, UsageError
from transforms.growth import Growth, locked, open_or_create, plan_growth, remove_orphans
from transforms.manifest import Generation, Manifest, commit, is_dataset, load
from transforms.plan import make_plan, plan_digest

if TYPE_CHECKING:
    from transforms.metadata import Catalog

TAKES_BEAM_OPTIONS = True
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
    for name in SETTINGS:
        default = getattr(defaults, name)
        option = f"--{name.replace('_', '-')}"
        parser.add_argument(option, type=type(default), metavar="N", help=f"default {default}")
    parser.add_argument("--shards", type=_positive, metavar="N", help="for each split; default: by amount of data")
    parser.add_argument("--workers", type=_positive, metavar="N", help="local worker processes; default: all cores")
    parser.add_argument(
        "--max-failures", type=_percent, default=5.0, metavar="PERCENT", help="give up above this share; default 5"
    )
    parser.add_argument("--json", action="store_true", help="print the result as one JSON value")


def run(args: argparse.Namespace) -> int:
    """Runs the command; see `fma ingest --help`."""
    if args.beam_options:
        from pipelines.options import refuse_unknown

        refuse_unknown(args.beam_options)
    manifest = open_or_create(args.out, choose_config(args))
    catalog = _read_catalog(args)
    with locked(args.out), console.naming(args.out):
        if is_dataset(args.out):
            manifest = load(args.out)
        for name in remove_orphans(args.out, manifest):
            console.log(f"removed what an interrupted run had left of generation {name}")
        growth = plan_growth(args.out, manifest, catalog.tracks)
        before = manifest.totals
        failures = ""
        if growth.new:
            failures = _ingest(args, catalog, growth, manifest)
    _report(args, manifest, growth, before, failures)
    return 0


def choose_config(args: argparse.Namespace) -> DatasetConfig:
    """The settings: those that were given, then those of the existing dataset, then the defaults."""
    from transforms.features import KINDS

    base = load(args.out).config if is_dataset(args.out) else DatasetConfig()
    given = {name: getattr(args, name) for name in SETTINGS if getattr(args, name) is not None}
    if args.window_frames is not None and args.window_hop_frames is None:
        given["window_hop_frames"] = args.window_frames
    if args.features is not None:
        given["features"] = [name.strip() for name in args.features.split(",") if name.strip()]
    return validate(DatasetConfig.from_json(base.to_json() | given), tuple(KINDS))


def _read_catalog(args: argparse.Namespace) -> "Catalog":
    from dataclasses import replace

    from transforms.locate import locate
    from transforms.metadata import read_catalog

    catalog = read_catalog(args.metadata, args.subset, args.split)
    if not catalog.tracks:
        raise UsageError(f"{args.metadata} names no track to ingest: {_counts(catalog.skipped)}")
    return replace(catalog, tracks=locate(catalog.tracks, args.audio, catalog.form))


def _ingest(args: argparse.Namespace, catalog: "Catalog", growth: Growth, manifest: Manifest) -> str:
    """Builds and commits a generation; returns the folder of its failures file, or "" where nothing failed."""
    from pipelines.build import BuildJob, describe_job, run_build
    from pipelines.options import beam_options, quiet_beam
    from pipelines.progress import watched

    quiet_beam()
    plan = make_plan(growth.new, manifest.config, args.shards)
    name = f"{len(manifest.generations) + 1:04d}-{plan_digest(plan, manifest.config)}"
    options = beam_options(args.beam_options, len(growth.new), args.workers)
    with watched(len(growth.new)) as ticks:
        job = BuildJob(args.out, name, tuple(growth.labels), manifest.config, ticks)
        results = run_build(job, plan, options)
    generation = Generation.from_results(name, catalog.subset, describe_job(options), catalog.skipped, results)
    storage.remove_tree(job.folder)
    failures = storage.join(args.out, "failures", name) if generation.failures else ""
    _refuse_too_many(args, generation, len(growth.new), failures)
    manifest.labels = growth.labels
    manifest.generations.append(generation)
    commit(args.out, manifest)
    return failures


def _refuse_too_many(args: argparse.Namespace, generation: Generation, tracks: int, failures: str) -> None:
    failed = sum(generation.failures.values())
    share = 100 * failed / tracks
    if share <= args.max_failures:
        return
    for kind in (*{shard.kind for shard in generation.shards}, "tracks"):
        storage.remove_tree(storage.join(args.out, kind, generation.name))
    raise FmaError(
        f"{failed:,} of {tracks:,} tracks failed ({share:.1f}%: {_counts(generation.failures)}), more than "
        f"--max-failures {args.max_failures:g}; the dataset is unchanged. Look at {failures}, and to accept that many "
        f"give --max-failures {int(share) + 1}"
    )


def _report(args: argparse.Namespace, manifest: Manifest, growth: Growth, before: dict, failures: str) -> None:
    from transforms.show import summarize

    totals = manifest.totals
    failed = sum(totals["failures"].values()) - sum(before["failures"].values())
    new = totals["tracks"] - before["tracks"]
    if args.json:
        counts = {"new": new, "kept": growth.kept, "failed": failed, "failed_before": growth.failed}
        console.say(json.dumps(counts | {"digest": manifest.digest, "dataset": args.out} | {"totals": totals}))
        return
    summarize(manifest)
    if failures:
        console.say(f"{failed:,} of {len(growth.new):,} tracks failed: {_counts(manifest.generations[-1].failures)}")
        console.say(f"each with its reason in {failures}")
    if growth.failed:
        console.say(f"{growth.failed:,} tracks that failed before were not tried again")
    rest = "nothing new, " if not growth.new else ""
    console.say(f"{rest}{new:,} new, {growth.kept:,} kept, 0 bytes rewritten")


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{count:,} {name}" for name, count in counts.items()) or "none"


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return value


def _percent(text: str) -> float:
    value = float(text.removesuffix("%"))
    if not 0 <= value <= 100:
        raise argparse.ArgumentTypeError("must be 0 to 100")
    return value


if __name__ == "__main__":
    # Through the front door and by its name, so that nothing Beam pickles belongs to __main__.
    from fma import main

    sys.exit(main(["ingest", *sys.argv[1:]]))
