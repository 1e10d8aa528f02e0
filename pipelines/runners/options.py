"""Beam's options: defaults for runners of this machine; everything else goes to Beam unchanged."""

import logging

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions, _BeamArgumentParser

from transforms.errors import UsageError
from transforms.runtime import cores, temporary
from transforms.runtime.text import did_you_mean

LOCAL_RUNNER = "FnApiRunner"

LOCAL_RUNNERS = ("fnapi", "direct", "switchingdirect", "prism")
"""Runners whose workers are this process, its threads or its children. DirectRunner is Prism where Beam finds or can
download it, and else FnApiRunner."""

RETRYING_RUNNERS = ("dataflow", "flink")  # runners that repeat work that failed on a worker; the others end the job
IN_MEMORY_UP_TO = 64  # tracks up to which starting worker processes (2 to 3 s) costs more than they save


def parse_beam_options(arguments: list[str], tracks: int, workers: int | None) -> PipelineOptions:
    """Parse the user's Beam options and complete them with local defaults.

    Args:
      tracks: how many there are to ingest; a few are done in this process.
      workers: local worker processes, or None for one for each core.

    Raises:
      UsageError: Beam does not know one of the options.
    """
    reject_unknown_options(arguments)
    if not is_local(arguments):
        return PipelineOptions(arguments)
    given = PipelineOptions(arguments).get_all_options()
    names = {argument.partition("=")[0] for argument in arguments}
    count = workers or (given["direct_num_workers"] if "--direct_num_workers" in names else cores())
    small = tracks <= IN_MEMORY_UP_TO and workers is None
    mode = "in_memory" if small or count == 1 else "multi_processing"
    if "--direct_running_mode" in names:
        mode = given["direct_running_mode"]
    defaults = [f"--direct_running_mode={mode}", f"--direct_num_workers={1 if mode == 'in_memory' else count}"]
    return PipelineOptions([f"--runner={LOCAL_RUNNER}", *defaults, *arguments])


def make_pipeline(options: PipelineOptions) -> beam.Pipeline:
    """Return an empty pipeline.

    Raises:
      UsageError: Beam, or the runner, refuses an option's value.
    """
    try:
        with temporary.for_libraries():
            return beam.Pipeline(options=options)
    except ValueError as error:
        raise UsageError(" ".join(str(error).split())) from error


def is_local(arguments: list[str]) -> bool:
    """Whether the user's Beam options leave the work to this process and its children."""
    return runner_name(PipelineOptions(arguments)) in LOCAL_RUNNERS


def runner_name(options: PipelineOptions) -> str:
    """Return such as `flink`, for any of the names of FlinkRunner that Beam takes."""
    name = options.get_all_options().get("runner") or LOCAL_RUNNER
    return name.rpartition(".")[2].lower().removesuffix("runner")


def reject_unknown_options(arguments: list[str]) -> None:
    """Raise UsageError for an option that is neither ours nor Beam's, with the nearest that Beam has."""
    parser = _BeamArgumentParser(add_help=False, allow_abbrev=False)
    for options in PipelineOptions.__subclasses__():
        options._add_argparse_args(parser)
    _, unknown = parser.parse_known_args(arguments)
    if not unknown:
        return
    known = [option for action in parser._actions for option in action.option_strings]
    option = unknown[0].partition("=")[0].replace("-", "_").replace("__", "--", 1)
    raise UsageError(f"unknown option {unknown[0]}{did_you_mean(option, known)}")


def quiet_beam() -> None:
    """Keep Beam's notes about its own start-up out of the user's terminal; its errors still show.

    What goes wrong in a worker is raised in the launcher: the local runners need not log its traceback, often twice.
    """
    logging.getLogger("apache_beam").setLevel(logging.ERROR)
    logging.getLogger().setLevel(logging.ERROR)  # RunInference warns there of what it would do with torch
    for name in ("common", "portability", "worker"):
        logging.getLogger(f"apache_beam.runners.{name}").setLevel(logging.CRITICAL)
