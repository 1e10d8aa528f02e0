"""`fma run`: from audio to the report, doing only what has changed since the last time."""

import argparse
import shlex

import fma
from pipelines.commands.ingest import read_options
from pipelines.workflow import BASELINES, REPORT, Ended, Result, Workflow
from transforms import storage
from transforms.errors import UsageError
from transforms.runtime import console

TAKES_BEAM_OPTIONS = True
DEFAULT_MODELS = "mel_cnn,baselines"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments; options that it does not know go to `fma ingest`, and from there to Beam."""
    parser.description = (
        "Ingests, analyses, trains, evaluates and writes one report: ingest -> statistics -> each model -> report. "
        "Run it again after adding music: steps whose inputs have not changed are skipped. All options of fma ingest "
        "work here, too."
    )
    parser.epilog = (
        "example: fma run --audio fma_small.zip --metadata fma_metadata.zip --subset small --out work "
        "--models mel_cnn,baselines"
    )
    parser.add_argument("--out", required=True, metavar="WORK", help="folder for the dataset, the runs and the report")
    parser.add_argument("--audio", required=True, help="as for fma ingest")
    parser.add_argument("--metadata", help="as for fma ingest")
    parser.add_argument("--subset", help="as for fma ingest")
    parser.add_argument(
        "--models", default=DEFAULT_MODELS, help=f"of fma train, and baselines (default {DEFAULT_MODELS})"
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
        console.table(f"fma run in {args.out}", ("step", "after", "it", "why"), rows)
        return 0
    ended = workflow.run()
    _print_results(workflow, ended)
    return 1 if any(end.result is Result.FAILED for end in ended.values()) else 0


def _read_workflow(args: argparse.Namespace) -> Workflow:
    """Parse every step's command line before the first one runs."""
    models = [name.strip() for name in args.models.split(",") if name.strip()]
    if not models or len(set(models)) < len(models):
        raise UsageError(f"--models {args.models}: name each model once")
    dataset = storage.join(args.out, "dataset")
    words = ["--audio", args.audio, "--out", dataset, *args.beam_options]
    for option, value in (("--metadata", args.metadata), ("--subset", args.subset)):
        words += [option, value] if value else []
    _, ingest_args = fma.parse("ingest", words)
    ingest = read_options(ingest_args)
    options = _read_model_options(args.options, models)
    for model in models:
        command, *rest = [BASELINES] if model == BASELINES else ["train", model]
        fma.parse(command, [*rest, "--data", dataset, "--run", "RUN", *options[model]])
    return Workflow(args.out, ingest, words, options)


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
