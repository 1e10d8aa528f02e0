"""`fma statistics`: full-pass statistics of the training split, as the graph that normalises a kind's values."""

import argparse
import sys

from pipelines.commands.arguments import add_workers, refuse_unknown
from pipelines.statistics.update import update_statistics
from transforms.runtime import console
from transforms.runtime.invocation import called_as

TAKES_BEAM_OPTIONS = True


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments; options that it does not know go to Beam."""
    parser.description = (
        "Reads all training records and writes the graph that normalises them: mean and deviation of each mel band; "
        "mean, deviation and principal components of the statistics. Training and evaluation use it. When the "
        "dataset has grown, only new records are read; where nothing is new, nothing is done. Options that are not "
        "listed go to Apache Beam."
    )
    parser.epilog = f"example: {called_as()} statistics data/small"
    parser.add_argument("dataset", metavar="DATASET")
    add_workers(parser)
    parser.add_argument(
        "--wait", action="store_true", help="where another command writes to the dataset, wait until it is done"
    )


def run(args: argparse.Namespace) -> int:
    """Run the command; see `fma statistics --help`."""
    refuse_unknown(args.beam_options)
    console.say(update_statistics(args.dataset, args.workers, args.beam_options, wait=args.wait))
    return 0


if __name__ == "__main__":
    # Through `fma`, which imports this module by its name: nothing that Beam pickles may belong to __main__.
    from fma import main

    sys.exit(main(["statistics", *sys.argv[1:]]))
