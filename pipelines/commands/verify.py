"""`fma verify`: read a whole dataset again and compare it with what its dataset.json says."""

import argparse
import sys
from contextlib import nullcontext
from dataclasses import asdict

from pipelines.commands.arguments import add_workers, choose_map
from transforms.dataset.growth import locked
from transforms.dataset.leaks import undetectable_leaks
from transforms.dataset.manifest import Manifest, load
from transforms.dataset.verify import Verdict, verify
from transforms.runtime import console
from transforms.runtime.invocation import called_as

TAKES_BEAM_OPTIONS = True


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `fma verify`; options that it does not know go to Beam."""
    parser.description = (
        "Re-reads every file of a dataset: sizes, checksums, records, counts, digest, split leaks. Options that are "
        "not listed, such as --runner, go to Apache Beam, which then does the reading."
    )
    parser.epilog = f"example: {called_as()} verify data/small"
    parser.add_argument("dataset", metavar="DATASET")
    add_workers(parser)
    parser.add_argument("--json", action="store_true", help="print the verdict as one JSON value")


def run(args: argparse.Namespace) -> int:
    """Verify the dataset and print what was found; exit code 1 where something does not hold."""
    manifest = load(args.dataset)
    shards = choose_map(args, "verify", manifest)
    with locked(args.dataset) if shards.needs_lock else nullcontext():
        verdict = verify(args.dataset, manifest, shards)
    if args.json:
        console.say_json({"ok": not verdict.problems} | asdict(verdict) | {"totals": manifest.totals})
    else:
        _say(verdict, manifest)
    return 1 if verdict.problems else 0


def _say(verdict: Verdict, manifest: Manifest) -> None:
    totals = manifest.totals
    for leak in verdict.leaks:
        console.say(f"leak: {leak}")
    for problem in verdict.problems:
        console.say(f"problem: {problem}")
    if undetectable_leaks(manifest):
        console.say("near-duplicate recordings were not looked for: this takes mel records")
    records = ", ".join(f"{count:,} {kind}" for kind, count in (totals["records"] | totals["embeddings"]).items())
    tracks, files = console.counted(totals["tracks"], "track"), console.counted(len(manifest.files()), "file")
    console.say(f"{tracks}, {records} records in {files}")
    console.say(f"digest {verdict.digest}")
    leaks = f"; {console.counted(len(verdict.leaks), 'leak')} between splits, see above" if verdict.leaks else ""
    problems = console.counted(len(verdict.problems), "problem")
    console.say(problems if verdict.problems else f"the dataset is sound{leaks}")


if __name__ == "__main__":
    # Through `fma`, which imports this module by its name: nothing that Beam pickles may belong to __main__.
    from fma import main

    sys.exit(main(["verify", *sys.argv[1:]]))
