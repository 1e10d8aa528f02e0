"""The normalisation graph of a kind: found in a dataset, carried by a run, the same one wherever values are normalised.

`fma statistics` writes the graphs; here they are SavedModels like any other.
"""

from typing import TYPE_CHECKING

from transforms import storage
from transforms.dataset.manifest import TRANSFORM_FN, Manifest, is_dataset, load
from transforms.errors import FmaError, UsageError

if TYPE_CHECKING:
    from trainers.runs.normalization_graph import TransformGraph

SAVED_MODEL = "saved_model.pb"


def find_transform(dataset: str, manifest: Manifest, kind: str) -> str:
    """Path of the SavedModel that normalises a kind's values, in a dataset.

    Raises:
      UsageError: the dataset has none, or it was made before the dataset grew.
    """
    have = manifest.transform_fn
    if not any(shard.split == "training" for shard in manifest.shards(kind)):
        raise UsageError(f"{dataset} has no training records of kind {kind}, so nothing to normalise them by")
    if have is None or kind not in have.kinds:
        raise UsageError(f"{dataset} has no statistics of kind {kind}: run fma statistics {dataset} first")
    if have.records != manifest.records_digest(have.kinds, "training"):
        raise UsageError(f"{dataset} has grown since its statistics were made: run fma statistics {dataset} first")
    path = _graph(storage.join(dataset, have.path), kind)
    if not storage.exists(storage.join(path, SAVED_MODEL)):
        raise UsageError(f"{path} is missing: run fma statistics {dataset} first")
    return path


def copy_transform(dataset: str, manifest: Manifest, kind: str, run: str) -> str:
    """Gives a run the graph that it is trained with; a run that has one keeps it, whatever became of the dataset.

    Returns:
      the path of the run's own SavedModel.

    Raises:
      UsageError: see `find_transform`.
    """
    target = _graph(storage.join(run, TRANSFORM_FN), kind)
    if storage.exists(storage.join(target, SAVED_MODEL)):
        return target
    source = find_transform(dataset, manifest, kind)
    names = [path.removeprefix(source).lstrip("/") for path, _ in storage.list_files(source)]
    # saved_model.pb last: a copy that was broken off has none, and is made again.
    for name in sorted(names, key=lambda name: name == SAVED_MODEL):
        storage.write_bytes(storage.join(target, name), storage.read_bytes(storage.join(source, name)))
    return target


def load_transform(folder: str, kind: str) -> "TransformGraph":
    """The graph that normalises a kind's values, from a run or from a dataset.

    Args:
      folder: a run that `copy_transform` gave its graph to, or a dataset.
      kind: `mel` ({"mel": uint8 [b, n_mels, frames]} to {"mel": float32, same shape}) or `stats` ({"stats": float32
        [b, 518]} to {"stats": float32 [b, 518], "stats_pca": float32 [b, k]}).

    Raises:
      UsageError: there is no such graph, or a dataset's is out of date.
      FmaError: the graph is damaged.
    """
    if is_dataset(folder):
        path = find_transform(folder, load(folder), kind)
        advice = f"remove it and run fma statistics {folder}"
    else:
        path = _graph(storage.join(folder, TRANSFORM_FN), kind)
        advice = "train the run again"
        if not storage.exists(storage.join(path, SAVED_MODEL)):
            raise UsageError(f"{folder} has no normalisation graph of kind {kind} ({path})")
    import tensorflow as tf

    from trainers.runs.normalization_graph import TransformGraph

    try:
        return TransformGraph(path)
    except (OSError, tf.errors.OpError) as error:
        raise FmaError(f"{path} cannot be loaded ({' '.join(str(error).split())}): {advice}") from error


def _graph(folder: str, kind: str) -> str:
    return storage.join(folder, kind, TRANSFORM_FN)
