"""`fma search`: the tracks of a dataset that are the most similar to one of them, or to any song."""

import argparse
import os
from typing import TYPE_CHECKING, Any

from trainers.commands.arguments import add_limits
from transforms.audio.decoder_process import LimitOptions, Limits
from transforms.commands.arguments import number
from transforms.dataset.manifest import Manifest, load
from transforms.dataset.neighbours import choose_encoder, read_neighbours
from transforms.errors import FmaError, TrackError, UsageError
from transforms.runtime import console
from transforms.runtime.invocation import called_as, command_line
from transforms.tracks import number_of

if TYPE_CHECKING:
    import numpy as np

TAKES_ANY_NAME = True  # a track's id, or a song's name, may be a path that is not UTF-8
OPTIONS = LimitOptions("--timeout", "--memory")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.description = (
        "Lists the tracks of a dataset that are the most similar to one of them or to a song, by the cosine of their "
        "embeddings: 1 for the same sound, around 0 for two that have nothing in common, less for opposites."
    )
    parser.epilog = f"example: {called_as()} search data/small song.mp3"
    parser.add_argument("dataset", metavar="DATASET")
    parser.add_argument("query", metavar="TRACK_ID|FILE", help="a track of the dataset, or any audio file")
    parser.add_argument("--encoder", metavar="NAME", help="whose embeddings are compared; default: the only one")
    parser.add_argument(
        "--encoder-file",
        metavar="PATH",
        help="with a FILE: of an encoder of your own, as the embeddings were made with it",
    )
    parser.add_argument("--k", type=number(int, 1), default=10, metavar="N", help="tracks to list; default 10")
    parser.add_argument(
        "--index",
        metavar="FOLDER",
        help="keep an index there, for datasets of some 100,000 tracks and more; approximate, needs usearch",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON value")
    add_limits(parser, seconds=600.0, megabytes=2048)


def run(args: argparse.Namespace) -> int:
    """Run the command; see `fma search --help`."""
    manifest = load(args.dataset)
    encoder = choose_encoder(args.dataset, manifest, args.encoder)
    neighbours = read_neighbours(args.dataset, manifest, encoder, args.index)
    track_id = number_of(args.query)
    if track_id in neighbours.track_id:
        found = neighbours.nearest_to(track_id, args.k)
    elif os.path.exists(args.query):
        found = neighbours.nearest(_embed(args, manifest, encoder), args.k)
    else:
        explain = command_line("explain", args.dataset, args.query)
        raise UsageError(f"{args.query} is neither a track of {args.dataset} ({explain} may say why) nor a file")
    if args.json:
        console.say_json({"query": args.query, "encoder": encoder, "nearest": found})
    else:
        _print(found, args.query, encoder)
    return 0


def _embed(args: argparse.Namespace, manifest: Manifest, encoder: str) -> "np.ndarray":
    """Return the mean of a song's embedding."""
    from trainers.serving.song_embedding import embed_song

    limits = Limits(args.timeout, args.memory, options=OPTIONS)
    try:
        return embed_song(args.query, manifest.encoders[encoder], manifest.config, limits, args.encoder_file)[0]
    except TrackError as error:
        raise FmaError(f"{args.query}: {error}") from error


def _print(found: list[dict[str, Any]], query: str, encoder: str) -> None:
    rows = [
        (f"{one['similarity']:.3f}", str(one["track_id"]), *(one.get(key, "") for key in ("genre", "title", "artist")))
        for one in found
    ]
    console.table(f"nearest to {query} by {encoder}", ("similarity", "track", "genre", "title", "artist"), rows)
