"""The entry point: `fma COMMAND`. Parse, then import the command's module, so that --help answers at once."""

import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))


def leave_current_folder() -> None:
    """Import nothing from the current folder, where anybody's music may lie, unless the program lies there."""
    try:
        current = os.getcwd()
    except FileNotFoundError:
        return
    given = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    kept = [entry for entry in sys.path if os.path.abspath(entry) != current or (entry in given and entry)]
    sys.path[:] = sys.path if current == HERE else kept


if __name__ == "__main__":  # python -m fma
    leave_current_folder()

import argparse
import importlib
import importlib.metadata
import types
from collections.abc import Iterable, Sequence
from typing import NoReturn

from transforms.errors import UsageError
from transforms.runtime.invocation import CALLED_AS, called_as
from transforms.runtime.text import did_you_mean, printable

COMMANDS = {
    "sample": ("transforms", "write an FMA-shaped synthetic corpus: real mp3 files, csv metadata, some broken"),
    "download": ("transforms", "fetch FMA's official archives, resumable and SHA-1 checked"),
    "weights": ("transforms", "list and fetch the pretrained networks that models start from"),
    "ingest": ("pipelines", "read audio and metadata, write sharded TFRecords"),
    "verify": ("pipelines", "re-read a whole dataset: counts, checksums, digest, split leaks"),
    "compact": ("pipelines", "rewrite the generations of a dataset into one"),
    "show": ("transforms", "what a dataset holds, and a contact sheet of its mel spectrograms"),
    "statistics": ("pipelines", "analyse the training split: the normalisation that training uses"),
    "embed": ("pipelines", "give each track the embeddings of a pretrained encoder, computed once"),
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
    "search": ("trainers", "the tracks of a dataset that are the most similar to one of them or to a song"),
    "bench-input": ("trainers", "records a second of the input pipeline, and what holds it up"),
}
ALIKE = 0.84  # likeness from which an option is taken for a misspelt one; Beam's options are less like ours
THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def main(arguments: list[str] | None = None) -> int:
    """Run a command and return its exit code: 0, 2 for bad arguments, 1 for a failure."""
    if arguments is None:
        leave_current_folder()
        os.environ[CALLED_AS] = called_as()
    from transforms.runtime.guard import main_guard

    return main_guard(_run, sys.argv[1:] if arguments is None else arguments)


def _run(arguments: list[str]) -> int:
    parser = Parser(
        prog="fma",
        description="Music-genre classification at scale: ingest audio into TFRecord shards, train, evaluate, serve.",
        epilog=f"Start with: {called_as()} sample --out corpus",
    )
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, (_, text) in COMMANDS.items():
        commands.add_parser(name, help=text, add_help=False)
    version = f"fma-genres {importlib.metadata.version('fma-genres')}"
    parser.add_argument("--version", action="version", version=version)
    if arguments and not arguments[0].startswith("-") and arguments[0] not in COMMANDS:
        hint = did_you_mean(arguments[0], COMMANDS)
        parser.error(f"unknown command {arguments[0]}{hint}; {called_as()} --help lists them")
    command = parser.parse_args(arguments[:1]).command
    # Before numpy is imported anywhere: work is spread over processes, and BLAS threads would fight with them.
    for variable in THREAD_VARIABLES:
        os.environ.setdefault(variable, "1")
    module, args = parse(command, arguments[1:])
    return module.run(args)


class Parser(argparse.ArgumentParser):
    """A parser that can expand `~` in every argument, and names the option that a misspelt one stands for."""

    def check(self, arguments: Sequence[str]) -> list[str]:
        """Return the arguments to parse; SystemExit with code 2 for an option that is nearly one of this parser's."""
        words = [_expand_home(word) for word in arguments]
        for word in words[: words.index("--")] if "--" in words else words:
            option = word.partition("=")[0]
            if option.startswith("--") and (hint := self.did_you_mean(option)):
                self.error(f"unknown option {option}{hint}")
        return words

    def did_you_mean(self, option: str) -> str:
        """Return ` (did you mean --X?)` for an option that is nearly one of this parser's, "" for any other."""
        known = self._option_string_actions
        return "" if option in known else did_you_mean(option.replace("_", "-"), known, ALIKE)

    def error(self, message: str) -> NoReturn:
        """Exit with code 2; no character of an argument controls the terminal."""
        super().error(printable(message))


def _expand_home(word: str) -> str:
    """Expand `~/music` and `--audio=~/music`, where a shell or a script has not."""
    option, equals, value = word.partition("=") if word.startswith("--") else ("", "", word)
    return option + equals + os.path.expanduser(value)


def refuse_other_encodings(arguments: Iterable[str]) -> None:
    """Refuse the path that is not UTF-8, which Beam, TensorFlow and JSON cannot write.

    Raises:
      UsageError: an argument has such bytes, as `os.fsdecode` puts them into text.
    """
    for word in arguments:
        try:
            word.encode()
        except UnicodeEncodeError:
            raise UsageError(f"{word} is not UTF-8: rename the file or folder") from None


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
    parser = Parser(prog=f"fma {command}", allow_abbrev=False)
    module.add_arguments(parser)
    if arguments and not arguments[0].startswith("-"):
        arguments = [*getattr(module, "FIRST_WORD_IS", []), *arguments]
    arguments = parser.check(arguments)
    if not getattr(module, "TAKES_ANY_NAME", False):
        refuse_other_encodings(arguments)
    if getattr(module, "TAKES_BEAM_OPTIONS", False) and sys.flags.optimize > 1:
        raise UsageError("Apache Beam needs the docstrings that python -OO removes: leave it out (or PYTHONOPTIMIZE=2)")
    if not getattr(module, "TAKES_BEAM_OPTIONS", False):
        return module, parser.parse_intermixed_args(arguments)
    args, rest = parser.parse_known_args(arguments)
    args.beam_options = rest
    return module, args


if __name__ == "__main__":
    sys.exit(main())
