"""`fma export`: a run's model on its own, from the waveform on: a SavedModel and TFLite, or a classical bundle."""

import argparse

from trainers.commands.arguments import add_model
from trainers.runs.directory import BASELINES, load_config
from trainers.runs.predictions import choose_run
from trainers.serving.classical import is_bundle, open_baselines, write_bundle
from trainers.serving.lite import is_export
from trainers.serving.scorers import check_network, open_network
from transforms import storage
from transforms.errors import UsageError
from transforms.runtime import console
from transforms.runtime.invocation import called_as, command_line


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.description = (
        "Writes a model that needs none of this program: a SavedModel whose input is a waveform at the dataset's rate, "
        "with mel, normalisation, network and calibration in its graph, and the same as TFLite. Of a run of fma "
        "baselines, a bundle that fma predict takes."
    )
    parser.epilog = f"example: {called_as()} export runs/mel_cnn --out exported/mel_cnn"
    add_model(parser)
    parser.add_argument("--out", required=True, metavar="DIR", help="a new folder")
    parser.add_argument("--no-tflite", dest="tflite", action="store_false", help="the SavedModel only")


def run(args: argparse.Namespace) -> int:
    """Run the command; see `fma export --help`."""
    if any(storage.list_files(args.out)):
        raise UsageError(f"--out {args.out} is not empty; give another folder")
    if is_bundle(args.run) or is_export(args.run):
        raise UsageError(f"{args.run} is an export already: copy it")
    run = choose_run(args.run)
    config = load_config(run)
    if config.model == BASELINES:
        classical = open_baselines(run, args.model)
        write_bundle(args.out, classical, config.made_with)
        try_it = command_line("predict", args.out, "FILE")
        console.say(f"{classical.name}, {len(classical.task.labels)} genres: try it with  {try_it}")
        return 0
    check_network(run, args.model)
    scorer = open_network(run, config, "cpu")
    from trainers.serving.saved_model import export_network

    facts = export_network(scorer, args.out, config, tflite=args.tflite)
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
    return 0
