"""Features of a frozen front: computed once over the dataset, stored in the run, and what the head is trained on."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from trainers.data import count_records, reading
from trainers.inputs import Inputs
from trainers.runs import FEATURES
from transforms import console, storage

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

Forward = Callable[["tf.Tensor"], "tf.Tensor"]


@dataclass(frozen=True)
class Embedded:
    """Features of windows (or of tracks), in the order of track_id and window.

    Attributes:
      features: float32 [n, dimensions].
      label, track_id: int64 [n].
      classes: number of genres.
    """

    features: np.ndarray
    label: np.ndarray
    track_id: np.ndarray
    classes: int

    def track_bounds(self) -> tuple[np.ndarray, np.ndarray]:
        """First row of each track and the row after its last, int64 [tracks] each."""
        starts = np.flatnonzero(np.diff(self.track_id, prepend=self.track_id[:1] - 1))
        return starts, np.append(starts[1:], len(self.track_id))

    def by_track(self) -> "Embedded":
        """The mean over each track's windows."""
        starts, ends = self.track_bounds()
        sums = np.add.reduceat(self.features, starts, axis=0, dtype=np.float64)
        means = (sums / (ends - starts)[:, None]).astype(np.float32)
        return Embedded(means, self.label[starts], self.track_id[starts], self.classes)


def embed_split(run: str, name: str, front: Forward, inputs: Inputs, split: str, *, batch_size: int) -> Embedded | None:
    """Features of a split's records, from the run where it has them already; None for a split without records.

    Args:
      run: the run directory.
      name: of the phase; features of another phase may come from another front.
      front: record batch -> features; see `inference`.
      inputs: the dataset's.
      split: one of the splits.
      batch_size: records at a time.
    """
    records = count_records(inputs.manifest, inputs.kind, split)
    if not records:
        return None
    path = storage.join(run, FEATURES, f"{name}-{split}.npz")
    classes = len(inputs.manifest.labels)
    if storage.exists(path):
        with storage.open_read(path) as file, np.load(file) as arrays:
            return Embedded(arrays["features"], arrays["label"], arrays["track_id"], classes)
    found: dict[str, list[np.ndarray]] = {key: [] for key in ("output", "label", "track_id", "window")}
    with console.progress(f"features of {split}", records, "records") as progress:
        for batch in run_over(front, inputs, split, batch_size):
            for key, values in found.items():
                values.append(batch[key])
            progress.advance(len(batch["label"]))
    whole = {key: np.concatenate(values) for key, values in found.items()}
    order = np.lexsort((whole["window"], whole["track_id"]))
    embedded = Embedded(whole["output"][order], whole["label"][order], whole["track_id"][order], classes)
    _store(path, embedded)
    return embedded


def _store(path: str, embedded: Embedded) -> None:
    staged = storage.staging_path(path)
    with open(staged, "wb") as file:
        np.savez(file, features=embedded.features, label=embedded.label, track_id=embedded.track_id)
    storage.publish(staged, path)


def run_over(forward: Forward, inputs: Inputs, split: str, batch_size: int) -> Iterator[dict[str, np.ndarray]]:
    """What a model makes of every record of a split, batch by batch, always in the same order.

    Args:
      forward: see `inference`.
      inputs: the dataset's.
      split: one of the splits.
      batch_size: records at a time.

    Yields:
      {output: float32 [b, n]; label, track_id, window: int64 [b]}; without what fills up the last batch.

    Raises:
      FmaError: a shard is damaged.
    """
    with reading(inputs.dataset):
        for batch in inputs.read(split, batch_size):
            kept = batch["weight"].numpy() > 0
            arrays = {key: batch[key].numpy()[kept] for key in ("label", "track_id", "window")}
            yield {"output": forward(batch["input"]).numpy()[kept]} | arrays


def inference(model: "keras.Model") -> Forward:
    """A model as a graph: [batch, ...] -> float32 [batch, n], without dropout, batch norm with its moving averages."""
    import tensorflow as tf

    return tf.function(lambda values: tf.cast(model(values, training=False), tf.float32))
