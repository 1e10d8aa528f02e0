"""Embeddings: features of a frozen front, computed once over a dataset and stored in the run, to train the head on."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from trainers.data.inputs import Inputs
from trainers.data.shard_check import check_shards
from trainers.models.records import network_of, normalization_of
from trainers.models.spec import front_of
from trainers.runs.directory import FEATURES
from trainers.runs.files import open_zip, write_zip
from trainers.training.devices import Forward
from transforms import storage
from transforms.errors import FmaError
from transforms.library_errors import DAMAGED_ZIP
from transforms.runtime import console

if TYPE_CHECKING:
    import keras

COLUMNS = 64  # that are sorted at once: few, so that they need little memory, and enough for quick copies


@dataclass(frozen=True)
class Embeddings:
    """Features of windows (or of tracks), in the order of track_id and window."""

    features: np.ndarray  # float32 [n, dimensions]
    label: np.ndarray  # int64 [n]
    track_id: np.ndarray  # int64 [n]
    classes: int  # number of genres

    def track_bounds(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the first row of each track and the row after its last, int64 [tracks] each."""
        starts = np.flatnonzero(np.diff(self.track_id, prepend=self.track_id[:1] - 1))
        return starts, np.append(starts[1:], len(self.track_id))

    def by_track(self) -> "Embeddings":
        """Return the mean over each track's windows."""
        starts, ends = self.track_bounds()
        sums = np.add.reduceat(self.features, starts, axis=0, dtype=np.float64)
        means = (sums / (ends - starts)[:, None]).astype(np.float32)
        return Embeddings(means, self.label[starts], self.track_id[starts], self.classes)


def embed_split(
    run: str, phase: str, front: Forward, inputs: Inputs, split: str, *, batch_size: int
) -> Embeddings | None:
    """Return features of a split's records, from the run where it has them; None for a split without records.

    Args:
      phase: its name; features of another phase may come from another front.
      front: record batch -> features; of `front_on_records`, see `Device.inference`.
    """
    if not inputs.count(split):
        return None
    name, cluster = f"{FEATURES}/{phase}-{split}.npz", inputs.cluster
    if cluster.broadcast_json(lambda: storage.exists(storage.join(run, name))):
        features, label, track_id = cluster.broadcast_arrays(lambda: _read(run, name))
        return Embeddings(features, label, track_id, inputs.classes)
    found = infer_split(front, inputs, split, batch_size, f"features of {split}")
    named = {"features": found.features, "label": found.label, "track_id": found.track_id}
    if cluster.leads:
        write_zip(run, name, lambda file: np.savez(file, **named))  # type: ignore[arg-type]
    return found


def _read(run: str, name: str) -> list[np.ndarray]:
    advice = "remove it, and they are computed again"
    with open_zip(run, name, advice, large=True) as file:
        try:
            with np.load(file, allow_pickle=False) as arrays:
                return [arrays[key] for key in ("features", "label", "track_id")]
        except DAMAGED_ZIP as error:
            raise FmaError(f"{storage.join(run, name)} is damaged ({error}): {advice}") from error


def infer_split(forward: Forward, inputs: Inputs, split: str, batch_size: int, title: str) -> Embeddings:
    """Return a model's output for every record of a split, which has records; `title` is the progress bar's.

    In a cluster, each process computes those of its share, and has those of all in the end.

    Raises:
      FmaError: a shard is not what was written.
    """
    processes, portions = inputs.cluster.processes, inputs.portions(split)
    records = sum(portion.records for portion in portions)
    batch_size = -(-min(batch_size, inputs.count(split)) // processes)
    ids = np.zeros((3, records), np.int64)  # label, track_id, window
    outputs, done = np.zeros((records, 0), np.float32), 0
    with (
        console.progress(title, records, "records") as progress,
        check_shards(inputs.dataset, [portion.shard for portion in portions], inputs.checked),
    ):
        for batch in inputs.read(split, batch_size):
            kept = batch["weight"].numpy() > 0  # without the padding of the last batch
            output = forward(batch["input"])[kept]
            if not outputs.shape[1]:
                outputs = np.empty((records, output.shape[1]), np.float32)
            rows = slice(done, done + len(output))
            outputs[rows] = output
            ids[:, rows] = [batch[key].numpy()[kept] for key in ("label", "track_id", "window")]
            done += len(output)
            progress.advance(len(output))
    outputs = inputs.cluster.gather_rows(outputs)
    label, track_id, window = inputs.cluster.gather_rows(ids.T).T
    order = np.lexsort((window, track_id))
    sort_rows(outputs, order)
    return Embeddings(outputs, label[order], track_id[order], inputs.classes)


def sort_rows(values: np.ndarray, order: np.ndarray) -> None:
    """Set `values = values[order]` for a large array in place: some columns at a time."""
    for start in range(0, values.shape[1], COLUMNS):
        part = values[:, start : start + COLUMNS]
        part[:] = part[order]


def front_on_records(model: "keras.Model") -> "keras.Model":
    """Return the front of a whole transfer model, records -> features; call it in the device's scope."""
    import keras

    records = model.inputs[0]
    return keras.Model(records, front_of(network_of(model))(normalization_of(model)(records)), name="front_on_records")
