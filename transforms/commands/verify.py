"""`fma verify`: read a whole dataset again and compare it with what its dataset.json says."""

import argparse
from dataclasses import asdict

from transforms.dataset.leaks import undetectable_leaks
from transforms.dataset.manifest import load
from transforms.dataset.verify import verify
from transforms.runtime import console
from transforms.runtime.invocation import called_as


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `fma verify`."""
    parser.description = "Re-reads every file of a dataset: sizes, checksums, records, counts, digest, split leaks."
    parser.epilog = f"example: {called_as()} verify data/small"
    parser.add_argument("dataset", metavar="DATASET")
    parser.add_argument("--json", action="store_true", help="print the verdict as one JSON value")


def run(args: argparse.Namespace) -> int:
    """Verify the dataset and print what was found; exit code 1 where something does not hold."""
    manifest = load(args.dataset)
    verdict = verify(args.dataset, manifest)
    totals = manifest.totals
    if args.json:
        console.say_json({"ok": not verdict.problems} | asdict(verdict) | {"totals": totals})
    else:
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
    return 1 if verdict.problems else 0
