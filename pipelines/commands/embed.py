"""`fma embed`: a pretrained encoder's embeddings of every track, as records of the dataset."""

import argparse
import sys

from pipelines.commands.arguments import add_workers, refuse_unknown
from transforms.commands.arguments import number
from transforms.errors import UsageError
from transforms.runtime import console
from transforms.runtime.invocation import called_as

TAKES_BEAM_OPTIONS = True


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments; options that it does not know go to Beam."""
    parser.description = (
        "Runs a pretrained encoder over the stored windows and writes means and deviations of its outputs by track. "
        "Run it again when the dataset has grown: only tracks without embeddings are read. Options that are not listed "
        "go to Apache Beam."
    )
    parser.epilog = f"example: {called_as()} embed data/small --encoder yamnet"
    parser.add_argument("dataset", metavar="DATASET")
    parser.add_argument(
        "--encoder",
        metavar="NAME|PATH",
        help="a name (weights lists them), or a file of your own: a SavedModel's folder, .tflite, .onnx or .keras",
    )
    parser.add_argument("--name", help="to give the encoder in this dataset; default: its own, or the file's")
    parser.add_argument(
        "--encoder-rate", type=number(int, 1), metavar="HZ", help="of the waveform that your own file takes"
    )
    parser.add_argument("--remove", metavar="NAME", help="take the embeddings by that encoder out of the dataset")
    add_workers(parser)
    parser.add_argument("--json", action="store_true", help="print the result as one JSON value")


def run(args: argparse.Namespace) -> int:
    """Run the command; see `fma embed --help`."""
    if bool(args.encoder) == bool(args.remove):
        raise UsageError("give either --encoder or --remove")
    if args.remove:
        from pipelines.embed.embed import remove_embeddings

        count = remove_embeddings(args.dataset, args.remove)
        console.say(f"took the embeddings of {console.counted(count, 'track')} by {args.remove} out of {args.dataset}")
        return 0
    from pipelines.embed.embed import EmbedOptions, embed

    refuse_unknown(args.beam_options)
    options = EmbedOptions(
        args.dataset, args.encoder, args.name, args.encoder_rate, args.workers, tuple(args.beam_options)
    )
    outcome = embed(options)
    facts, digest = outcome.facts, outcome.manifest.records_digest([outcome.facts.kind])
    if args.json:
        values = {"dataset": args.dataset, "encoder": facts.to_json(), "digest": digest}
        console.say_json(values | {"new": outcome.new, "kept": outcome.kept})
        return 0
    outputs = ", ".join(f"{name} {size:,}" for name, size in facts.outputs.items())
    licence = f"; weights: {facts.license}" if facts.license else ""
    console.say(f"{facts.kind}: mean and deviation of {outputs}{licence}")
    console.say(f"digest {digest}")
    console.say(f"{outcome.new:,} new, {outcome.kept:,} kept")
    return 0


if __name__ == "__main__":
    # Through `fma`, which imports this module by its name: nothing that Beam pickles may belong to __main__.
    from fma import main

    sys.exit(main(["embed", *sys.argv[1:]]))
