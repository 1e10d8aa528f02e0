"""`fma compact`: all generations of a dataset as one, with the same records and the same digest."""

import argparse
import sys

from pipelines.commands.arguments import add_workers, choose_map
from transforms.dataset.compact import compact
from transforms.dataset.growth import locked
from transforms.dataset.leftovers import jobs_elsewhere, remove_leftovers
from transforms.dataset.manifest import load
from transforms.runtime import console
from transforms.runtime.invocation import called_as
from transforms.runtime.os_errors import annotate_os_errors

TAKES_BEAM_OPTIONS = True


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `fma compact`; options that it does not know go to Beam."""
    parser.description = (
        "Rewrites the generations of a dataset into one; records, labels and digest stay. The old files stay until the "
        "next run that writes, for readers that have them open. Options that are not listed, such as --runner, go to "
        "Apache Beam, which then reads and writes the shards."
    )
    parser.epilog = f"example: {called_as()} compact data/medium"
    parser.add_argument("dataset", metavar="DATASET")
    add_workers(parser)
    parser.add_argument("--remove-old", action="store_true", help="remove the old files at once")


def run(args: argparse.Namespace) -> int:
    """Compact the dataset and print what it consists of now."""
    shards = choose_map(args, "compact", load(args.dataset))
    with locked(args.dataset), annotate_os_errors(args.dataset):
        manifest = load(args.dataset)
        before = len(manifest.generations)
        elsewhere = jobs_elsewhere(args.dataset)
        remove_leftovers(args.dataset, manifest, elsewhere)
        if before > 1:
            manifest = compact(args.dataset, manifest, shards)
        if args.remove_old:
            remove_leftovers(args.dataset, manifest, elsewhere)
    generations, files = console.counted(before, "generation"), console.counted(len(manifest.files()), "file")
    console.say(f"before: {generations}; now: {len(manifest.generations):,}, in {files}")
    console.say(f"digest {manifest.digest}")
    return 0


if __name__ == "__main__":
    # Through `fma`, which imports this module by its name: nothing that Beam pickles may belong to __main__.
    from fma import main

    sys.exit(main(["compact", *sys.argv[1:]]))
