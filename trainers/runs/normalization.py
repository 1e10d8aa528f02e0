"""Normalisation graphs: found in a dataset, copied into a run, loaded for training and serving.

`fma statistics` writes the graphs with tensorflow_transform; here they are SavedModels like any other.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

from transforms import storage
from transforms.dataset.manifest import TRANSFORM_FN, Manifest, is_dataset, load
from transforms.errors import FmaError, UsageError

if TYPE_CHECKING:
    import tensorflow as tf

SAVED_MODEL = "saved_model.pb"

Transform = Callable[[dict[str, "tf.Tensor"]], dict[str, "tf.Tensor"]]


def find_transform(dataset: str, manifest: Manifest, kind: str) -> str:
    """Return the path of the SavedModel that normalises a kind's values, in a dataset.

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
    """Copy the graph of a dataset into a run, unless the run has one already; return the path in the run.

    Raises:
      UsageError: see `find_transform`.
    """
    target = _graph(storage.join(run, TRANSFORM_FN), kind)
    if storage.exists(storage.join(target, SAVED_MODEL)):
        return target
    source = find_transform(dataset, manifest, kind)
    names = [path.removeprefix(source).lstrip("/") for path, _ in storage.list_files(source)]
    # saved_model.pb last: an interrupted copy has none, and is made again.
    for name in sorted(names, key=lambda name: name == SAVED_MODEL):
        storage.write_bytes(storage.join(target, name), storage.read_bytes(storage.join(source, name)))
    return target


def load_transform(folder: str, kind: str) -> Transform:
    """Load the graph that normalises a kind's values, for eager code, tf.data and exported models.

    Args:
      folder: a run that `copy_transform` gave its graph to, or a dataset.
      kind: `mel` ({"mel": uint8 [b, n_mels, frames]} to {"mel": float32, same shape}) or `stats` ({"stats": float32
        [b, 518]} to {"stats": float32 [b, 518], "stats_pca": float32 [b, k]}).

    Returns:
      a tf.Module, which is exported along with what holds it; other features in a batch are left out. Shapes are
      static in a graph where those of the inputs are.

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

    try:
        return _as_module(tf.saved_model.load(path))
    except (OSError, tf.errors.OpError) as error:
        raise FmaError(f"{path} cannot be loaded ({' '.join(str(error).split())}): {advice}") from error


def _as_module(saved_model: "tf.Module") -> Transform:
    import tensorflow as tf

    class TransformGraph(tf.Module):
        def __init__(self) -> None:
            super().__init__(name="transform")
            self._saved_model = saved_model  # kept: the statistics are captured by the function
            self._function = saved_model.transform_fn
            (inputs,), _ = self._function.structured_input_signature
            self._names = list(inputs)

        def __call__(self, features):  # no types: AutoGraph would look them up at the module's level
            return dict(self._function({name: features[name] for name in self._names}))

    return TransformGraph()


def _graph(folder: str, kind: str) -> str:
    return storage.join(folder, kind, TRANSFORM_FN)
