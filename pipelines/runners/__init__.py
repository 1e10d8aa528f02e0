"""The runner that the options name: its defaults, what it refuses, its errors as one line, its progress."""

import errno
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

from apache_beam.options.pipeline_options import PipelineOptions

from pipelines.job_files import watch_progress
from pipelines.runners import dataflow, portable
from pipelines.runners.local import watch_workers
from pipelines.runners.options import LOCAL_RUNNERS, parse_beam_options, quiet_beam, runner_name
from pipelines.runners.threads import quiet_threads
from transforms.library_errors import OS_ERROR
from transforms.runtime import temporary

DISK_ERRORS = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM}
"""Errors that are the disk's. Others, such as a file that is not there, may be a mistake in the program."""


def validate_runner_options(arguments: list[str], places: Iterable[tuple[str, str]], template: bool = True) -> None:
    """Refuse options that cannot work, before anything is read; see `dataflow.validate_runner_options`."""
    dataflow.validate_runner_options(arguments, places, template)
    portable.validate_runner_options(arguments)


def prepare_options(
    arguments: list[str], dataset: str, command: str, name: str, *, tracks: int, workers: int | None
) -> PipelineOptions:
    """Return a job's options: the user's, and those that their runner needs and that were not given.

    `dataset`, `command` and `name` make the job's name, as in `dataflow.job_name`; `tracks` and `workers` are those of
    `parse_beam_options`.

    Raises:
      UsageError: Beam does not know an option.
      FmaError: the runner, or what it needs, is not there.
    """
    quiet_beam()
    completed = dataflow.with_runner_defaults(arguments, dataset, command, name)
    completed = portable.with_runner_defaults(completed, dataflow.job_name(dataset, command, name))
    return parse_beam_options(completed, tracks, workers)


@contextmanager
def translate_runner_errors(options: PipelineOptions, dataset: str) -> Iterator[None]:
    """Turn what a runner says of its own end, a dead worker or a full disk into one line; leave no file or process.

    Raises:
      FmaError: the runner refused, lost or failed the job.
      OSError: one of `DISK_ERRORS`, of a worker that writes to the dataset.
    """
    translate = dataflow.translate_runner_errors(options), portable.translate_runner_errors(options)
    with translate[0], translate[1], quiet_threads(), watch_workers(), temporary.for_libraries():
        try:
            yield
        except RuntimeError as error:  # runners pass on a worker's OSError as text, with its traceback
            numbers = [int(number) for number in re.findall(OS_ERROR.pattern, str(error)) if int(number) in DISK_ERRORS]
            if not numbers:
                raise
            raise OSError(numbers[-1], os.strerror(numbers[-1]), dataset) from error


def progress(
    options: PipelineOptions, label: str, total: int, unit: str, initial: int = 0
) -> AbstractContextManager[str]:
    """As `job_files.watch_progress`; shows nothing where workers do not see this machine's files."""
    return watch_progress(label, total, unit, initial) if sees_this_machine(options) else nullcontext("")


def sees_this_machine(options: PipelineOptions) -> bool:
    """Whether workers see this machine's files."""
    name = runner_name(options)
    return name in LOCAL_RUNNERS or (name in portable.CLUSTERS and portable.workers_are_here(options))
