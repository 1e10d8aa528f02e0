"""`fma ingest`: audio and metadata in, a dataset of sharded TFRecords out."""

import argparse
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from pipelines.commands.arguments import add_workers, refuse_unknown
from pipelines.ingest.ingest import IngestOptions, IngestPlan, Outcome, ingest, plan_ingest
from transforms.audio.decoder_process import Limits
from transforms.commands.arguments import names, number
from transforms.config import DatasetConfig
from transforms.errors import REASONS, TemplateWrittenError
from transforms.runtime import console
from transforms.runtime.invocation import called_as

if TYPE_CHECKING:
    from transforms.catalog.metadata import Catalog

TAKES_BEAM_OPTIONS = True
ESTIMATE_TRACKS = 200
SETTINGS = ("sample_rate", "n_fft", "hop_length", "n_mels", "window_frames", "window_hop_frames", "db_min", "db_step")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments; options that it does not know go to Beam."""
    defaults = DatasetConfig()
    parser.description = (
        "Reads audio and metadata and writes sharded TFRecords. Run it again when the subset grows: only tracks that "
        "the dataset does not hold yet are read. Options that are not listed go to Apache Beam."
    )
    parser.epilog = (
        f"example: {called_as()} ingest --audio fma_small.zip --metadata fma_metadata.zip --subset small "
        "--out data/small"
    )
    _add_inputs(parser)
    parser.add_argument("--features", help=f"kinds to write (default {','.join(defaults.features)}; theory too)")
    count = number(int, 1)
    for name in SETTINGS:
        default = getattr(defaults, name)
        option = f"--{name.replace('_', '-')}"
        parser.add_argument(option, type=type(default), metavar="N", help=f"default {default}")
    parser.add_argument("--shards", type=count, metavar="N", help="for each split; default: by amount of data")
    add_workers(parser)
    parser.add_argument(
        "--max-failures", type=_percent, default=5.0, metavar="PERCENT", help="of all tracks; fail above; default 5"
    )
    parser.add_argument("--update", action="store_true", help="read changed tracks again, take out vanished ones")
    parser.add_argument(
        "--retry-failed", nargs="?", const="", choices=("", *REASONS), metavar="REASON", help="try failed tracks again"
    )
    parser.add_argument("--commit-every", type=count, metavar="N", help="tracks; default 8000, on a cluster all")
    limits = Limits()
    seconds, megabytes = number(float, 0, above=True, below=1e6), number(int, 1, below=1e8)
    parser.add_argument("--track-timeout", type=seconds, default=limits.seconds, metavar="S", help="for each track")
    parser.add_argument("--track-memory", type=megabytes, default=limits.megabytes, metavar="MB", help="for each track")
    parser.add_argument(
        "--estimate",
        nargs="?",
        const=ESTIMATE_TRACKS,
        type=number(int, 1),
        metavar="N",
        help=f"only measure N ({ESTIMATE_TRACKS}) tracks",
    )
    parser.add_argument("--price", type=number(float, 0), metavar="X", help="of a core-hour, for --estimate")
    parser.add_argument("--json", action="store_true", help="print the result as one JSON value")


def _add_inputs(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--audio", required=True, help="folder or zip of audio files, FMA's own or yours")
    parser.add_argument(
        "--metadata",
        help="fma_metadata (zip or folder), or a csv: path,genre[,track_id,artist,split], with several genres as "
        "Rock|Indie; without it --audio has a folder for each genre",
    )
    parser.add_argument("--subset", help="small, medium, large or full; FMA metadata only")
    parser.add_argument("--out", required=True, help="the dataset's folder; an existing dataset grows")
    parser.add_argument(
        "--split", choices=("official", "artist"), help="where splits come from: default official, artist for folders"
    )
    parser.add_argument(
        "--genres", metavar="CSV", help="genre,parent: the tree of your own genres (FMA's metadata has its own)"
    )
    parser.add_argument(
        "--unlabelled", choices=("skip", "keep"), default="skip", help="tracks without any genre; default skip"
    )
    parser.add_argument("--join-genres", action="store_true", help="ignore case, spaces, punctuation; not for FMA")


def run(args: argparse.Namespace) -> int:
    """Run the command; see `fma ingest --help`."""
    options = read_options(args)
    if args.estimate:
        return _estimate(options, args.estimate, args.price, args.json)
    try:
        plan, outcome = ingest(options)
    except TemplateWrittenError as written:
        console.log(str(written))
        return 0
    if args.json:
        console.say_json(_as_json(options, plan, outcome))
    else:
        _print_outcome(options, plan, outcome)
    return 0


def read_options(args: argparse.Namespace) -> IngestOptions:
    """Return the parsed arguments as typed options; UsageError for one that Beam does not know either."""
    refuse_unknown(args.beam_options)
    settings = {name: getattr(args, name) for name in SETTINGS if getattr(args, name) is not None}
    if args.features is not None:
        settings["features"] = names(args.features)
    return IngestOptions(
        audio=args.audio,
        metadata=args.metadata,
        out=args.out,
        subset=args.subset,
        split=args.split,
        genres=args.genres,
        unlabelled=args.unlabelled == "keep",
        join_genres=args.join_genres,
        settings=settings,
        update=args.update,
        retry_failed=args.retry_failed,
        shards=args.shards,
        limits=Limits(args.track_timeout, args.track_memory),
        max_failures=args.max_failures,
        commit_every=args.commit_every,
        workers=args.workers,
        beam_options=args.beam_options,
    )


def _estimate(options: IngestOptions, tracks: int, price: float | None, as_one_json: bool) -> int:
    from pipelines.ingest.estimate import as_json, estimate, show

    plan = plan_ingest(options)
    if not plan.growth.new:
        console.say(f"nothing to estimate: {options.out} has all {console.counted(plan.growth.kept, 'track')}")
        return 0
    found = estimate(plan.growth.new, plan.manifest.config, tracks, options.limits)
    if as_one_json:
        console.say_json(as_json(found, price))
    else:
        show(found, price)
    return 0


def _print_outcome(options: IngestOptions, plan: IngestPlan, outcome: Outcome) -> None:
    from transforms.catalog.genres import report_small_genres
    from transforms.catalog.splits import report_artists
    from transforms.commands.show import summarize

    growth, update = plan.growth, options.update
    summarize(plan.manifest)
    console.say(_describe_rows(plan.catalog))
    if outcome.failed:
        tried = console.counted(len(growth.new), "track")
        console.say(f"{outcome.failed:,} of {tried} failed (once fixed, --retry-failed reads them again):")
        for line in outcome.reasons:
            console.say(f"  {line}")
        console.say("each with its reason in")
        for folder in outcome.failures:
            console.say(f"  {folder}")
    if growth.failed:
        before = console.counted(growth.failed, "track")
        console.say(f"not tried again, since they failed before (--retry-failed does): {before}")
    if growth.changed:
        done = "read again" if update else "kept as before (--update reads them again)"
        console.say(f"{console.counted(len(growth.changed), 'track')} changed, {done}: {_some(growth.changed)}")
    if growth.vanished:
        done = "taken out" if update else "kept (--update takes them out)"
        vanished = console.counted(len(growth.vanished), "track")
        console.say(f"{vanished} not in the metadata, {done}: {_some(growth.vanished)}")
    for name, parent, other in plan.catalog.moved:
        done = "taken over" if update else "kept as before (--update takes the metadata's)"
        console.say(f"genre {name}: its parent is {parent or 'none'}, in the metadata {other or 'none'}; {done}")
    if plan.catalog.form == "csv" or plan.catalog.by_artist:
        report_small_genres(plan.catalog.tracks)
    if plan.catalog.by_artist:
        report_artists(plan.catalog.tracks)
    rest = "" if growth.new else "nothing new, "
    rewritten = console.human_bytes(outcome.rewritten).replace(" B", " bytes")
    console.say(f"{rest}{outcome.ingested:,} new, {growth.kept:,} kept, {rewritten} rewritten")


def _describe_rows(catalog: "Catalog") -> str:
    """Return what the rows of the metadata are; the numbers add up."""
    labelled = catalog.labelled
    parts = [
        (labelled["top"], "with a top genre"),
        (labelled["genres"], "with genres of several trees"),
        (labelled["none"], "without a genre"),
        *((count, f"skipped ({reason})") for reason, count in catalog.skipped.items()),
    ]
    return f"metadata of {console.counted(len(catalog.known), 'track')}: " + ", ".join(
        f"{count:,} {what}" for count, what in parts if count
    )


def _as_json(options: IngestOptions, plan: IngestPlan, outcome: Outcome) -> dict[str, object]:
    return {
        "dataset": options.out,
        "rows": {"all": len(plan.catalog.known), "skipped": plan.catalog.skipped, **plan.catalog.labelled},
        "digest": plan.manifest.digest,
        "new": outcome.ingested,
        "failed": outcome.failed,
        "kept": plan.growth.kept,
        "failed_before": plan.growth.failed,
        "changed": plan.growth.changed,
        "vanished": plan.growth.vanished,
        "moved_genres": [{"genre": name, "parent": old, "in_metadata": new} for name, old, new in plan.catalog.moved],
        "bytes_rewritten": outcome.rewritten,
        "failures": outcome.failures,
        "totals": plan.manifest.totals,
    }


def _some(ids: Sequence[int | str]) -> str:
    return ", ".join(map(str, ids[:5])) + (f" and {len(ids) - 5:,} more" if len(ids) > 5 else "")


def _percent(text: str) -> float:
    value = float(text.removesuffix("%"))
    if not 0 <= value <= 100:
        raise argparse.ArgumentTypeError("must be 0 to 100")
    return value


if __name__ == "__main__":
    # Through `fma`, which imports this module by its name: nothing that Beam pickles may belong to __main__.
    from fma import main

    sys.exit(main(["ingest", *sys.argv[1:]]))
