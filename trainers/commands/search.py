"""`fma search`: the tracks of a dataset that are the most similar to one of them."""

import argparse
from typing import Any

from transforms.commands.arguments import number
from transforms.dataset.manifest import load
from transforms.dataset.neighbours import choose_encoder, read_neighbours
from transforms.errors import UsageError
from transforms.runtime import console
from transforms.runtime.invocation import called_as, command_line
from transforms.tracks import number_of

TAKES_ANY_NAME = True  # a track's id may be a path that is not UTF-8


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.description = (
        "Lists the tracks of a dataset that are the most similar to one of them, by the cosine of their "
        "embeddings: 1 for the same sound, around 0 for two that have nothing in common, less for opposites."
    )
    parser.epilog = f"example: {called_as()} search data/small 43"
    parser.add_argument("dataset", metavar="DATASET")
    parser.add_argument("query", metavar="TRACK_ID", help="as the metadata or a report has it")
    parser.add_argument("--encoder", metavar="NAME", help="whose embeddings are compared; default: the only one")
    parser.add_argument("--k", type=number(int, 1), default=10, metavar="N", help="tracks to list; default 10")
    parser.add_argument(
        "--index",
        metavar="FOLDER",
        help="keep an index there, for datasets of some 100,000 tracks and more; approximate, needs usearch",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON value")


def run(args: argparse.Namespace) -> int:
    """Run the command; see `fma search --help`."""
    manifest = load(args.dataset)
    encoder = choose_encoder(args.dataset, manifest, args.encoder)
    neighbours = read_neighbours(args.dataset, manifest, encoder, args.index)
    track_id = number_of(args.query)
    if track_id in neighbours.track_id:
        found = neighbours.nearest_to(track_id, args.k)
    else:
        explain = command_line("explain", args.dataset, args.query)
        raise UsageError(f"{args.dataset} has no track {args.query} with an embedding: run {explain}")
    if args.json:
        console.say_json({"query": args.query, "encoder": encoder, "nearest": found})
    else:
        _print(found, args.query, encoder)
    return 0


def _print(found: list[dict[str, Any]], query: str, encoder: str) -> None:
    rows = [
        (f"{one['similarity']:.3f}", str(one["track_id"]), *(one.get(key, "") for key in ("genre", "title", "artist")))
        for one in found
    ]
    console.table(f"nearest to {query} by {encoder}", ("similarity", "track", "genre", "title", "artist"), rows)
