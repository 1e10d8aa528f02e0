"""`fma run`: the whole way from audio to the report, doing only what has changed since the last time."""

import argparse
import shlex

import fma
from pipelines.workflow import DATASET, Memory, Result, Step, Work, execute, make_nodes, plan
from transforms import storage
from transforms.errors import UsageError
from transforms.runtime import console

TAKES_BEAM_OPTIONS = True
DEFAULT_MODELS = "mel_cnn,baselines"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's arguments; what it does not know goes on to fma ingest, and from there to Beam."""
    parser.description = (
        "Ingests, analyses, trains, evaluates and writes one report: ingest -> statistics -> each model -> report. "
        "Run it again after adding music: steps whose inputs have not changed are skipped. All options of fma ingest "
        "are taken too."
    )
    parser.epilog = (
        "example: fma run --audio fma_small.zip --metadata fma_metadata.zip --subset small --out work "
        "--models mel_cnn,baselines"
    )
    parser.add_argument("--out", required=True, metavar="WORK", help="folder for the dataset, the runs and the report")
    parser.add_argument("--audio", required=True, help="as for fma ingest")
    parser.add_argument("--metadata", required=True, help="as for fma ingest")
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
    """Runs the command; exit code 1 where a step failed."""
    work = _read_work(args)
    nodes = make_nodes(work)
    if args.plan:
        rows = []
        for node, decision in zip(nodes, plan(nodes).values(), strict=True):
            after = ", ".join((*node.needs, *node.takes))
            rows.append((node.name, after, "runs" if decision.needed else "skipped", decision.why))
        console.table(f"fma run in {args.out}", ("step", "after", "it", "why"), rows)
        return 0
    steps = execute(nodes)
    return _conclude(work, steps)


def _read_work(args: argparse.Namespace) -> Work:
    """Parses every step's command line before the first one runs."""
    models = [name.strip() for name in args.models.split(",") if name.strip()]
    if not models or len(set(models)) < len(models):
        raise UsageError(f"--models {args.models}: name each model once")
    dataset = storage.join(args.out, DATASET)
    words = ["--audio", args.audio, "--metadata", args.metadata, "--out", dataset, *args.beam_options]
    words += ["--subset", args.subset] if args.subset else []
    _, ingest = fma.parse("ingest", words)
    if ingest.beam_options:
        from pipelines.runners.options import reject_unknown_options

        reject_unknown_options(ingest.beam_options)
    options = _read_options(args.options, models)
    for model in models:
        command, *rest = [model] if model == "baselines" else ["train", model]
        fma.parse(command, [*rest, "--data", dataset, "--run", "RUN", *options[model]])
    return Work(args.out, ingest, words, ingest.beam_options, options, Memory(args.out))


def _read_options(given: list[str], models: list[str]) -> dict[str, list[str]]:
    options: dict[str, list[str]] = {model: [] for model in models}
    for text in given:
        model, equals, words = text.partition("=")
        if not equals or model not in options:
            raise UsageError(f"--options {text!r}: write MODEL=OPTIONS with a model of --models ({', '.join(models)})")
        options[model] += shlex.split(words)
    return options


def _conclude(work: Work, steps: dict[str, Step]) -> int:
    console.say()
    console.table(
        f"fma run in {work.folder}",
        ("step", "result", "note"),
        [(name, step.result.value, step.note) for name, step in steps.items()],
    )
    failed = {name: step for name, step in steps.items() if step.result is Result.FAILED}
    console.say()
    for name, step in failed.items():
        console.say(f"{name} failed; to run it alone: {step.command}" if step.command else f"{name} failed")
    if all(step.result is Result.SKIPPED for step in steps.values()):
        console.say("nothing to do: no input of any step has changed")
    if steps["report"].result in (Result.DONE, Result.SKIPPED):
        console.say(f"report: {work.report}")
    return 1 if failed else 0
