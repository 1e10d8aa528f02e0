"""`fma weights`: the pretrained networks that models start from; lists, fetches and keeps them."""

import argparse

from transforms import storage
from transforms.errors import UsageError
from transforms.runtime import console
from transforms.runtime.invocation import called_as
from transforms.weights.cache import FOLDER, MIRROR, cached, get_weights, is_here, take_weights
from transforms.weights.table import WEIGHTS, Weights, find_weights


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.description = (
        "Lists the published weights that models start from, or fetches some: resumable, and compared with their "
        f"SHA-256. They are kept in ~/.cache/fma-genres/weights, or in ${FOLDER}; ${MIRROR} is an address below which "
        "the files lie, in place of the published ones."
    )
    parser.epilog = f"example: {called_as()} weights yamnet"
    parser.add_argument("name", nargs="?", metavar="NAME", help=f"fetch this one: {', '.join(WEIGHTS)}")
    parser.add_argument(
        "--from", dest="source", metavar="FILE", help="take the file from here instead, where there is no network"
    )
    parser.add_argument("--json", action="store_true", help="the list for programs")


def run(args: argparse.Namespace) -> int:
    """Run the command; see `fma weights --help`."""
    if args.name is None:
        if args.source:
            raise UsageError("--from needs the NAME of the weights in that file")
        _list(args.json)
        return 0
    weights = find_weights(args.name)
    path = take_weights(weights, args.source) if args.source else get_weights(weights)
    console.say(f"{path}: {weights.network}, {console.human_bytes(storage.size(path))}, licence {weights.license}")
    return 0


def _list(as_json: bool) -> None:
    if as_json:
        console.say_json([_entry(weights) for weights in WEIGHTS.values()])
        return
    columns = ("name", "network", "trained on", "hears", "gives", "licence", "size", "here")
    console.table("", columns, [_row(weights) for weights in WEIGHTS.values()])


def _entry(weights: Weights) -> dict[str, object]:
    facts = {name: getattr(weights, name) for name in Weights.__dataclass_fields__}
    return facts | {"path": cached(weights) if is_here(weights) else None}


def _row(weights: Weights) -> tuple[str, ...]:
    hears = f"{weights.sample_rate:,} Hz" if weights.sample_rate else "mel images"
    size, here = console.human_bytes(weights.size), "yes" if is_here(weights) else "no"
    return (weights.name, weights.network, weights.trained_on, hears, weights.outputs, weights.license, size, here)
