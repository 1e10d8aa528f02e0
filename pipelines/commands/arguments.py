"""Arguments that the commands of this package share."""

import argparse
from collections.abc import Sequence

from transforms.commands.arguments import number
from transforms.dataset.manifest import Manifest
from transforms.dataset.shard_map import LocalMap, ShardMap


def add_workers(parser: argparse.ArgumentParser) -> None:
    """Add `--workers`, None where it is not given."""
    parser.add_argument(
        "--workers", type=number(int, 1), metavar="N", help="local worker processes; default: all cores"
    )


def refuse_unknown(beam_options: Sequence[str]) -> None:
    """Refuse options that neither the command nor Beam knows; Beam is only imported where there are some.

    Raises:
      UsageError: there is such an option.
    """
    if beam_options:
        from pipelines.runners.options import reject_unknown_options

        reject_unknown_options(list(beam_options))


def choose_map(args: argparse.Namespace, command: str, manifest: Manifest) -> ShardMap:
    """Return who works on the shards of a dataset: Beam where it has options, else processes, which start faster.

    Raises:
      UsageError: Beam does not know an option, or the options cannot work.
    """
    refuse_unknown(args.beam_options)
    if not args.beam_options:
        return LocalMap(args.workers)
    from pipelines.runners import validate_runner_options
    from pipelines.shard_map import BeamMap

    validate_runner_options(args.beam_options, [("DATASET", args.dataset)], template=False)
    return BeamMap(args.dataset, command, tuple(args.beam_options), manifest, args.workers)
