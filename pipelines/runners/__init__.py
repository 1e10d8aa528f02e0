"""Whichever runner the options name: what it needs, what it lacks, and its errors as one line."""

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

from apache_beam.options.pipeline_options import PipelineOptions

from pipelines.progress import watched
from pipelines.runners import dataflow, portable
from pipelines.runners.errors import disk_errors_named
from pipelines.runners.local import watched_workers
from pipelines.runners.options import LOCAL_RUNNERS, runner_name


def validate_runner_options(arguments: list[str], places: Iterable[tuple[str, str]], template: bool = True) -> None:
    """Refuse options that cannot work, before anything is read; see `dataflow.validate_runner_options`."""
    dataflow.validate_runner_options(arguments, places, template)
    portable.validate_runner_options(arguments)


def with_runner_defaults(arguments: list[str], dataset: str, command: str, name: str) -> list[str]:
    """The user's Beam options, with those that their runner needs and that were not given.

    Args:
      arguments: the user's.
      dataset: its path.
      command: what is done, for the job's name.
      name: of what the job makes.

    Raises:
      FmaError: the runner, or what it needs, is not there.
    """
    job = dataflow.job_name(dataset, command, name)
    return portable.with_runner_defaults(dataflow.with_runner_defaults(arguments, dataset, command, name), job)


@contextmanager
def translate_runner_errors(options: PipelineOptions, dataset: str) -> Iterator[None]:
    """Turns what a runner says of its own end, a dead worker or a full disk into one line.

    Raises:
      FmaError, OSError: as said.
    """
    with (
        dataflow.translate_runner_errors(options),
        portable.translate_runner_errors(options),
        watched_workers(),
        disk_errors_named(dataset),
    ):
        yield


def progress(options: PipelineOptions, label: str, total: int, unit: str) -> AbstractContextManager[str]:
    """As `pipelines.progress.watched`; shows nothing where workers could not tell this machine how far they are."""
    name = runner_name(options)
    here = name in LOCAL_RUNNERS or (name in portable.CLUSTERS and portable.workers_are_here(options))
    return watched(label, total, unit) if here else nullcontext("")
