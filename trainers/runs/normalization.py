"""What records are normalised by: arrays of `fma statistics`, found in a dataset, or carried by an older run.

A model of today has them in its first layer (`trainers.models.records`).
"""

import signal
from collections.abc import Callable
from importlib.util import find_spec

from trainers.runs.files import RESTORE, open_zip, read_id
from transforms import storage
from transforms.config import DatasetConfig
from transforms.dataset.manifest import TRANSFORM_FN, Manifest
from transforms.dataset.normalization import FILE, Normalization, read_arrays
from transforms.errors import FmaError, UsageError
from transforms.runtime import children, console
from transforms.runtime.invocation import command_line

STDERR = 2
GRAPH = f"{TRANSFORM_FN}/mel/{TRANSFORM_FN}/saved_model.pb"
"""What runs of version 0.1.0 carry instead of `FILE`."""


def find_normalization(dataset: str, manifest: Manifest, kind: str) -> Normalization:
    """Return what `fma statistics` found in a dataset for a kind.

    Raises:
      UsageError: the dataset has no such statistics, or they were made by an older version or before it grew.
      FmaError: their file is missing or damaged.
    """
    if not any(shard.split == "training" for shard in manifest.shards(kind)):
        raise UsageError(f"{dataset} has no training records of kind {kind}, so nothing to normalise them by")
    if reason := _why_not(dataset, manifest, kind):
        raise UsageError(f"{reason}: run {command_line('statistics', dataset)} first")
    assert manifest.transform_fn  # or there was a reason
    return read_arrays(dataset, manifest.config, manifest.transform_fn, kind)


def _why_not(dataset: str, manifest: Manifest, kind: str) -> str:
    """Return why a dataset's statistics cannot be used, by what dataset.json says of them; "" where they can."""
    have = manifest.transform_fn
    if have is None or kind not in have.kinds:
        return f"{dataset} has no statistics of kind {kind}"
    if have.records != manifest.records_digest(have.kinds, "training"):
        return f"{dataset} has grown since its statistics were made"
    return "" if kind in have.arrays else f"the statistics of {dataset} were made by an older version"


def make_statistics(dataset: str, manifest: Manifest, kind: str) -> int:
    """Make the statistics that a dataset lacks, by `fma statistics`: a process of its own, since it needs Beam.

    Where another command makes them already, that one is waited for.

    Returns:
      the exit code of the command, which has said why it failed; 0 where nothing is lacking.

    Raises:
      UsageError: Beam is not installed.
      FmaError: the process was killed.
    """
    reason, words = _why_not(dataset, manifest, kind), ("statistics", dataset)
    if not reason:
        return 0
    command = command_line(*words)
    if not all(map(find_spec, ("apache_beam", "tensorflow_transform"))):
        raise UsageError(f"{reason}: run {command} first, on a machine with Apache Beam, which is not installed here")
    console.log(f"{reason}: they are made now, once, by {command}")
    code = children.run_command(*words, "--wait", stdout=STDERR)
    number = -code if code < 0 else code - 128
    if number > 0:
        raise FmaError(f"{command} was ended by {signal.Signals(number).name}: run it again")
    return code


def has_normalization(run: str) -> bool:
    """Return whether a run has its normalisation in a file: runs of earlier versions, whose model has none."""
    return any(storage.exists(storage.join(run, name)) for name in (FILE, GRAPH))


def load_normalization(run: str, config: DatasetConfig) -> Normalization:
    """Read how a run of an earlier version normalises its mel records.

    Args:
      config: of the dataset that it was trained on.

    Raises:
      FmaError: the file is missing or damaged.
    """
    graph = storage.join(run, GRAPH)
    if read_id(run) or not storage.exists(graph):
        with open_zip(run, FILE) as file:
            return _checked(storage.join(run, FILE), lambda: Normalization.from_bytes("mel", file.read()), config)
    from transforms.dataset.tft_graph import read_graph

    return _checked(graph, lambda: read_graph("mel", storage.read_bytes(graph)), config)


def _checked(path: str, read: Callable[[], Normalization], config: DatasetConfig) -> Normalization:
    try:
        found = read()
        found.check(config)
    except ValueError as error:
        raise FmaError(f"{path} is damaged ({error}): {RESTORE}") from error
    return found
