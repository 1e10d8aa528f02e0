"""`fma export`: a run's model on its own, from the waveform on: SavedModel and TFLite, or a bundle; or an encoder."""

import argparse
from typing import TYPE_CHECKING

from trainers.commands.arguments import add_model
from trainers.runs.directory import BASELINES, RunConfig, load_config
from trainers.runs.predictions import choose_run
from trainers.serving.classical import is_bundle, open_baselines, write_bundle
from trainers.serving.lite import is_export
from trainers.serving.scorers import Scorer, check_network, open_network
from trainers.serving.track_features import Opening
from trainers.training.devices import import_tensorflow
from transforms import storage
from transforms.commands.arguments import number
from transforms.config import DatasetConfig
from transforms.dataset.manifest import load
from transforms.errors import UsageError
from transforms.runtime import console
from transforms.runtime.invocation import called_as, command_line

if TYPE_CHECKING:
    from trainers.serving.tflite import Graph


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.description = (
        "Writes a model that needs none of this program: a SavedModel whose input is a waveform at the dataset's rate, "
        "with mel, normalisation, network and calibration in its graph, and the same as TFLite. Of fma baselines, that "
        "is a linear model on embeddings, such as the fusion; of its others, a bundle that fma predict takes. With "
        "--encoder, a SavedModel of a frozen encoder instead."
    )
    parser.epilog = f"example: {called_as()} export runs/mel_cnn --out exported/mel_cnn"
    add_model(parser, optional=True)
    parser.add_argument("--out", required=True, metavar="DIR", help="a new folder")
    parser.add_argument("--no-tflite", dest="tflite", action="store_false", help="the SavedModel only")
    encoder = parser.add_argument_group("encoders, in the place of a RUN")
    encoder.add_argument(
        "--encoder",
        action="append",
        default=[],
        metavar="NAME|FILE",
        help="one of this program, or a .keras file of your own; with a RUN on embeddings: its encoder's folder",
    )
    encoder.add_argument("--data", metavar="DATASET", help="whose windows it is to read")
    encoder.add_argument(
        "--sample-rate",
        type=number(int, 1),
        metavar="HZ",
        help="in the place of --data: of windows of the default length, or of what a .keras file hears",
    )
    encoder.add_argument("--weights", default="", metavar="FILE", help="in the place of the published ones")
    encoder.add_argument(
        "--encoder-version",
        type=number(int, 1),
        metavar="N",
        help="as an earlier version computes it; default the newest",
    )


def run(args: argparse.Namespace) -> int:
    """Run the command; see `fma export --help`."""
    if any(storage.list_files(args.out)):
        raise UsageError(f"--out {args.out} is not empty; give another folder")
    if args.run is None:
        return _export_encoder(args)
    if is_bundle(args.run) or is_export(args.run):
        raise UsageError(f"{args.run} is an export already: copy it")
    run = choose_run(args.run)
    config = load_config(run)
    if config.model == BASELINES:
        return _export_classical(args, run, config)
    if args.encoder:
        raise UsageError(f"--encoder: {run} takes no embeddings")
    check_network(run, args.model)
    scorer = open_network(run, config, "cpu")
    _export_network(args, scorer, scorer.network, config)
    return 0


def _export_classical(args: argparse.Namespace, run: str, config: RunConfig) -> int:
    """Export a model of fma baselines: as a network where it is linear on embeddings, else as a bundle."""
    scorer = open_baselines(run, args.model, Opening("cpu", args.encoder))
    if scorer.of_tracks.encoders:
        from trainers.serving.linear_network import LinearNetwork, is_linear

        if is_linear(scorer):
            _export_network(args, scorer, LinearNetwork(run, scorer), config)
            return 0
    write_bundle(args.out, scorer, config.made_with)
    try_it = command_line("predict", args.out, "FILE")
    console.say(f"{scorer.name}, {len(scorer.task.labels)} genres: try it with  {try_it}")
    return 0


def _export_network(args: argparse.Namespace, scorer: Scorer, network: "Graph", config: RunConfig) -> None:
    from trainers.serving.saved_model import export_network

    facts = export_network(scorer, network, args.out, config, tflite=args.tflite)
    console.table(
        f"{scorer.name}, {len(scorer.task.labels)} genres, waveforms at {scorer.config.sample_rate:,} Hz",
        ("model", "size", "largest difference from the pipeline, in probability"),
        [
            (name, console.human_bytes(facts["bytes"][name]), f"{difference:.1e}")
            for name, difference in facts["agreement"].items()
        ],
    )
    if facts["tflite"]:
        console.log(f"note: {facts['tflite']}")
    console.say(f"written to {args.out}")


def _export_encoder(args: argparse.Namespace) -> int:
    if len(args.encoder) != 1:
        raise UsageError("give a RUN or an --encoder, one of the two")
    (args.encoder,) = args.encoder
    own, config = args.encoder.endswith(".keras"), None
    if own and (args.sample_rate is None or args.weights or args.encoder_version):
        raise UsageError(
            f"--encoder {args.encoder}: give --sample-rate, of what it hears, and no --weights or --encoder-version"
        )
    if not own:
        if (args.data is None) == (args.sample_rate is None):
            raise UsageError(f"--encoder {args.encoder}: give --data, whose windows it is to read, or --sample-rate")
        config = load(args.data).config if args.data else DatasetConfig(sample_rate=args.sample_rate)
    import_tensorflow()
    from trainers.encoders.export import export_encoder
    from trainers.encoders.own import load_own
    from trainers.encoders.table import build_encoder

    if config:
        network, facts = build_encoder(args.encoder, config, args.weights, args.encoder_version)
    else:
        network, facts = load_own(args.encoder, args.sample_rate)
    size = export_encoder(network, facts, args.out)
    console.table(
        f"{facts.name}, {facts.reads} windows at {facts.sample_rate:,} Hz, {console.human_bytes(size)}",
        ("output", "dimensions"),
        list(facts.outputs.items()),
    )
    console.say(f"written to {args.out}")
    return 0
