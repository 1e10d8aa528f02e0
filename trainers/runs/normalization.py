"""How records are normalised: arrays of `fma statistics`, found in a dataset, carried by a run, applied in TF."""

import signal
from collections.abc import Callable
from importlib.util import find_spec
from typing import TYPE_CHECKING

from trainers.runs.files import RESTORE, open_zip, read_id, write_zip
from transforms import storage
from transforms.config import DatasetConfig
from transforms.dataset.manifest import TRANSFORM_FN, Manifest, is_dataset, load
from transforms.dataset.normalization import FILE, Normalization, read_arrays
from transforms.errors import FmaError, UsageError
from transforms.runtime import children, console
from transforms.runtime.invocation import command_line

if TYPE_CHECKING:
    import tensorflow as tf

STDERR = 2
GRAPH = f"{TRANSFORM_FN}/{{kind}}/{TRANSFORM_FN}/saved_model.pb"
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


def copy_normalization(dataset: str, manifest: Manifest, kind: str, run: str) -> None:
    """Copy the normalisation of a run's dataset into it, unless it has one; see `find_normalization`."""
    if not has_normalization(run, kind):
        data = find_normalization(dataset, manifest, kind).to_bytes()
        write_zip(run, FILE, lambda file: file.write(data))


def has_normalization(run: str, kind: str) -> bool:
    """Return whether a run carries a normalisation."""
    return any(storage.exists(storage.join(run, name)) for name in (FILE, GRAPH.format(kind=kind)))


def load_normalization(folder: str, config: DatasetConfig, kind: str) -> Normalization:
    """Read how a run normalises its records, or a dataset its own.

    Args:
      folder: of the run or the dataset.
      config: of the dataset whose records are to be normalised.
      kind: mel or stats.

    Raises:
      UsageError: a dataset has none, or one that is out of date.
      FmaError: the file is missing or damaged.
    """
    if is_dataset(folder):
        return find_normalization(folder, load(folder), kind)
    graph = storage.join(folder, GRAPH.format(kind=kind))
    if read_id(folder) or not storage.exists(graph):
        with open_zip(folder, FILE) as file:
            return _checked(storage.join(folder, FILE), lambda: Normalization.from_bytes(kind, file.read()), config)
    from transforms.dataset.tft_graph import read_graph

    return _checked(graph, lambda: read_graph(kind, storage.read_bytes(graph)), config)


def _checked(path: str, read: Callable[[], Normalization], config: DatasetConfig) -> Normalization:
    try:
        found = read()
        found.check(config)
    except ValueError as error:
        raise FmaError(f"{path} is damaged ({error}): {RESTORE}") from error
    return found


def normalizer(found: Normalization, config: DatasetConfig) -> Callable[["tf.Tensor"], dict[str, "tf.Tensor"]]:
    """Return the function that normalises a kind's values, for eager code, tf.data and graphs.

    It computes what the graph of `fma statistics` does, in the same steps:

    | kind | from | to |
    |---|---|---|
    | mel | uint8 [b, n_mels, frames] | {"mel": float32, same shape} |
    | stats | float32 [b, 518] | {"stats": float32 [b, 518], "stats_pca": float32 [b, k]} |
    """
    import tensorflow as tf

    # As tensors that a graph takes as inputs: a division by a constant would become a product, with another last bit.
    with tf.device("CPU:0"):
        mean, deviation = tf.constant(found.mean), tf.constant(found.deviation)
        axes = None if found.axes is None else tf.constant(found.axes)

    def normalize_mel(steps: tf.Tensor) -> dict[str, tf.Tensor]:
        decibels = tf.cast(steps, tf.float32) * config.db_step + config.db_min
        return {"mel": (decibels - mean[:, None]) / deviation[:, None]}

    def normalize_stats(values: tf.Tensor) -> dict[str, tf.Tensor]:
        scores = (tf.cast(values, tf.float64) - mean) / deviation
        return {"stats": tf.cast(scores, tf.float32), "stats_pca": tf.cast(scores @ axes, tf.float32)}

    return normalize_mel if found.kind == "mel" else normalize_stats
