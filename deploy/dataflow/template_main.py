"""The program of the Flex Template's launcher: `fma ingest` with the template's parameters as its options.

A template's parameter is --name=value, with underscores and always a value; the command's options have hyphens, and
some of them are switches. Options that `fma ingest` does not know are Beam's and are passed on unchanged.

    python deploy/dataflow/template_main.py --metadata > deploy/dataflow/metadata.json
"""

import argparse
import json
import sys
from typing import Any

from pipelines.commands.ingest import add_arguments

NOT_IN_A_TEMPLATE = {
    "help": "of no use in the launcher's log",
    "estimate": "measures on the launcher and starts no job",
    "price": "goes with --estimate",
    "json": "the launcher's standard output is not read",
    "workers": "for local runs; Dataflow's are num_workers and max_workers",
    "commit_every": "a template is one job, so one commit",
}
BEAM_PARAMETERS = {
    "sdk_container_image": "Image of the workers: the one that this template was built with",
    "number_of_worker_harness_threads": "Shards that a worker process builds at a time",
}
NEEDED = ("sdk_container_image",)
"""Without these the launcher would refuse the job after minutes."""

YES, NO = ("true", "1", "yes"), ("false", "0", "no", "")


def options() -> dict[str, argparse.Action]:
    """Return the options of `fma ingest` that a template takes, by parameter name."""
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return {action.dest: action for action in parser._actions if action.dest not in NOT_IN_A_TEMPLATE}


def to_command_line(arguments: list[str]) -> list[str]:
    """Return a template's arguments as those of `fma ingest`.

    Raises:
      SystemExit: a switch has a value that is neither yes nor no.
    """
    known, words = options(), []
    for argument in arguments:
        name, _, value = argument.removeprefix("--").partition("=")
        action = known.get(name.replace("-", "_"))
        words += [argument] if action is None else _words(action, value)
    return words


def _words(action: argparse.Action, value: str) -> list[str]:
    option, switch = action.option_strings[-1], action.nargs == 0
    if (switch or action.nargs == "?") and value.lower() in YES:
        return [option]
    if (switch or action.nargs == "?") and value.lower() in NO:
        return []
    if switch:
        raise SystemExit(f"{action.dest}={value}: give true or false")
    return [f"{option}={value}"]


def metadata() -> dict[str, Any]:
    """Return what the Cloud console and the API show of the template."""
    ours = [_parameter(name, action) for name, action in options().items()]
    beams = [_described(name, text, name not in NEEDED) for name, text in BEAM_PARAMETERS.items()]
    return {
        "name": "fma ingest",
        "description": "Reads audio and metadata and writes sharded TFRecords. Run fma ingest with the same options "
        "when the job has ended: it commits what the job has built.",
        "parameters": [*ours, *beams],
    }


def _parameter(name: str, action: argparse.Action) -> dict[str, Any]:
    text = (action.help or name).replace("%%", "%")
    if action.choices:
        text += f" ({', '.join(filter(None, action.choices))})"
    found = _described(name, text, optional=not action.required)
    if name == "out":
        found["regexes"] = ["^gs://[^ ]+$"]
    return found


def _described(name: str, text: str, optional: bool) -> dict[str, Any]:
    return {"name": name, "label": name.replace("_", " "), "helpText": text, "isOptional": optional}


def main(arguments: list[str]) -> int:
    """Describe the job for Dataflow, or print the metadata."""
    if arguments == ["--metadata"]:
        print(json.dumps(metadata(), indent=2))
        return 0
    import fma

    return fma.main(["ingest", *to_command_line(arguments)])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
