"""The entry point: `fma COMMAND`. Parse, then import the command's module, so that --help answers at once."""

import argparse
import importlib
import os
import sys
import types

COMMANDS = {
    "sample": ("transforms", "write an FMA-shaped synthetic corpus: real mp3 files, csv metadata, some broken"),
    "download": ("transforms", "fetch FMA's official archives, resumable and SHA-1 checked"),
    "ingest": ("pipelines", "read audio and metadata, write sharded TFRecords"),
    "verify": ("transforms", "re-read a whole dataset: counts, checksums, digest, split leaks"),
    "compact": ("transforms", "rewrite the generations of a dataset into one"),
    "show": ("transforms", "what a dataset holds, and a contact sheet of its mel spectrograms"),
    "statistics": ("pipelines", "analyse the training split: the normalisation that training uses"),
    "train": ("trainers", "train a model on a dataset; resumes an interrupted run"),
    "baselines": ("trainers", "classical models on the tracks' statistics, tuned and scored"),
    "evaluate": (
        "trainers",
        "how good a run's model is on a split of a dataset, by window and by track",
    ),
    "predict": ("trainers", "the genre of songs, from their files"),
    "export": (
        "trainers",
        "a model that takes waveforms: SavedModel and TFLite, or a classical bundle",
    ),
    "serve": ("trainers", "a web page and an HTTP API that say which genre a song has"),
    "run": ("pipelines", "all of it: ingest, statistics, models, report; only what has changed"),
    "report": ("trainers", "one page that compares runs on the same test tracks, for any browser"),
    "explain": ("trainers", "all about one track: metadata, records or failure, predictions"),
    "bench-input": ("trainers", "records a second of the input pipeline, and what holds it up"),
}
THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def main(arguments: list[str] | None = None) -> int:
    """Run a command and return its exit code: 0, 2 for bad arguments, 1 for a failure."""
    arguments = sys.argv[1:] if arguments is None else arguments
    parser = argparse.ArgumentParser(
        prog="fma",
        description="Music-genre classification at scale: ingest audio into TFRecord shards, train, evaluate, serve.",
        epilog="Start with: fma sample --out corpus",
    )
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, (_, text) in COMMANDS.items():
        commands.add_parser(name, help=text, add_help=False)
    command = parser.parse_args(arguments[:1]).command
    # Before numpy is imported anywhere: work is spread over processes, and BLAS threads would fight with them.
    for variable in THREAD_VARIABLES:
        os.environ.setdefault(variable, "1")
    from transforms.runtime.console import main_guard

    return main_guard(_run, command, arguments[1:])


def _run(command: str, arguments: list[str]) -> int:
    module, args = parse(command, arguments)
    return module.run(args)


def module_name(command: str) -> str:
    """Return where a command lives: `fma X` is `<package>/commands/X.py`."""
    return f"{COMMANDS[command][0]}.commands.{command.replace('-', '_')}"


def parse(command: str, arguments: list[str]) -> tuple[types.ModuleType, argparse.Namespace]:
    """Parse a command's arguments and return its module, too; unknown options go to Beam, where it takes such.

    Raises:
      UsageError: an argument names something that does not exist.
      SystemExit: with code 2, and the reason on standard error, for invalid arguments; with 0 after --help.
    """
    module = importlib.import_module(module_name(command))
    parser = argparse.ArgumentParser(prog=f"fma {command}", allow_abbrev=False)
    module.add_arguments(parser)
    if not getattr(module, "TAKES_BEAM_OPTIONS", False):
        return module, parser.parse_args(arguments)
    args, rest = parser.parse_known_args(arguments)
    args.beam_options = rest
    return module, args


if __name__ == "__main__":
    sys.exit(main())
