"""`fma run`: from audio to the report, doing only what has changed since the last time."""

import argparse
import os
import posixpath
import shlex

import fma
from pipelines.commands.ingest import read_options
from pipelines.ingest.ingest import plan_ingest
from pipelines.workflow import BASELINES, EMBED, FUSION, REPORT, Ended, Result, Workflow, model_command
from transforms import storage
from transforms.catalog.fetch import Retry
from transforms.commands.arguments import names
from transforms.errors import FmaError, UsageError
from transforms.runtime import console
from transforms.runtime.invocation import called_as, command_line
from transforms.weights.cache import get_weights
from transforms.weights.table import WEIGHTS

TAKES_BEAM_OPTIONS = True
FIRST_WORD_IS = ["--audio"]  # fma run MUSIC; a second word without an option may be the value of one of Beam's
FOR_MUCH_MUSIC, FOR_LITTLE_MUSIC = ["mel_cnn", BASELINES], [FUSION, BASELINES]
MUCH = 1000  # tracks; with fewer, a network of one's own is no better than the classical models (docs/results.md)
ONE_TRY = Retry(tries=1, timeout=10.0)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments; options that it does not know go to `fma ingest`, and from there to Beam."""
    parser.description = (
        "Ingests, analyses, trains, evaluates and writes one report: ingest -> statistics -> each model -> report. "
        "Run it again after adding music: steps whose inputs have not changed are skipped. All options of fma ingest "
        "work here, too. The music may be given without --audio."
    )
    parser.epilog = f"example: {called_as()} run ~/music   (a folder for each genre: rock/song.mp3)"
    parser.add_argument(
        "--out",
        metavar="WORK",
        help="folder for the dataset, the runs and the report; default: the music's name with -fma, in this folder",
    )
    parser.add_argument("--audio", required=True, help="as for fma ingest")
    parser.add_argument("--metadata", help="as for fma ingest")
    parser.add_argument("--subset", help="as for fma ingest")
    parser.add_argument(
        "--models",
        help=f"of fma train, {FUSION} and {BASELINES}; default: {','.join(FOR_LITTLE_MUSIC)}, with {MUCH:,} tracks or "
        f"more {','.join(FOR_MUCH_MUSIC)}",
    )
    parser.add_argument(
        "--options",
        action="append",
        default=[],
        metavar="MODEL=OPTIONS",
        help="for one model, as in --options 'mobilenet_v2=--weights FILE --epochs 20,5'; may be repeated",
    )
    parser.add_argument("--plan", action="store_true", help="show what would run and why, and run nothing")


def run(args: argparse.Namespace) -> int:
    """Run the command; exit code 1 where a step failed."""
    workflow = _read_workflow(args)
    if args.plan:
        rows = [
            (step, ", ".join(workflow.after(step)), "runs" if needed else "skipped", why)
            for step, (needed, why) in workflow.plan().items()
        ]
        console.table(f"fma run in {workflow.folder}", ("step", "after", "it", "why"), rows)
        return 0
    ended = workflow.run()
    _print_results(workflow, ended)
    return 1 if any(end.result is Result.FAILED for end in ended.values()) else 0


def _read_workflow(args: argparse.Namespace) -> Workflow:
    """Parse every step's command line before the first one runs."""
    place = os.path.abspath(args.audio) if storage.is_local(args.audio) else args.audio  # it may be . or ..
    out = args.out or f"{posixpath.basename(place.rstrip('/')).removesuffix('.zip')}-fma"
    dataset = storage.join(out, "dataset")
    words = ["--audio", args.audio, "--out", dataset, *args.beam_options]
    for option, value in (("--metadata", args.metadata), ("--subset", args.subset)):
        words += [option, value] if value else []
    _, ingest_args = fma.parse("ingest", words)
    ingest = read_options(ingest_args)
    planned = plan_ingest(ingest) if args.models is None else None
    models = _choose_models(len(planned.catalog.tracks), args.plan) if planned else _read_models(args.models)
    options = _read_model_options(args.options, models)
    for model in models:
        command, *rest = model_command(model)
        fma.parse(command, [*rest, "--data", dataset, "--run", "RUN", *options[model]])
    return Workflow(out, ingest, words, options, planned)


def _read_models(given: str) -> list[str]:
    models = names(given)
    if not models or len(set(models)) < len(models):
        raise UsageError(f"--models {given}: name each model once")
    return models


def _choose_models(tracks: int, planning: bool) -> list[str]:
    """Return the models that suit the amount of music, and say which and why; without the fusion if it lacks weights.

    Its weights are fetched, unless it is for a plan only.
    """
    models = FOR_MUCH_MUSIC if tracks >= MUCH else FOR_LITTLE_MUSIC
    if FUSION in models and not planning:
        try:
            for name in EMBED.values():
                get_weights(WEIGHTS[name], ONE_TRY)
        except FmaError as error:
            console.log(f"without {FUSION}: {error}")
            models = [model for model in models if model != FUSION]
    console.log(f"models for {console.counted(tracks, 'track')}: {', '.join(models)} (--models chooses others)")
    return models


def _read_model_options(given: list[str], models: list[str]) -> dict[str, list[str]]:
    options: dict[str, list[str]] = {model: [] for model in models}
    for text in given:
        model, equals, words = text.partition("=")
        if not equals or model not in options:
            raise UsageError(f"--options {text!r}: write MODEL=OPTIONS with a model of --models ({', '.join(models)})")
        options[model] += shlex.split(words)
    return options


def _print_results(workflow: Workflow, ended: dict[str, Ended]) -> None:
    console.say()
    rows = [(step, end.result.value, end.note) for step, end in ended.items()]
    console.table(f"fma run in {workflow.folder}", ("step", "result", "note"), rows)
    console.say()
    for step, end in ended.items():
        if end.result is Result.FAILED:
            console.say(f"{step} failed; to run it alone: {end.command}" if end.command else f"{step} failed")
    if all(end.result is Result.SKIPPED for end in ended.values()):
        console.say("nothing to do: no input of any step has changed")
    if ended[REPORT].result in (Result.DONE, Result.SKIPPED):
        console.say(f"report: {workflow.output(REPORT)}")
        console.say(f"next: {command_line('predict', workflow.folder, 'SONG')}")
        console.say(f"      {command_line('serve', workflow.folder)}")
