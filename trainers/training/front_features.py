"""Embeddings: features of a frozen front, computed once over a dataset and stored in the run, to train the head on.

Features of many windows (`IN_MEMORY`) stay on disk, and are mapped: in a temporary file when they are computed, in the
run's own file when they are read back."""

import shutil
import tempfile
import zipfile
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO, cast

import numpy as np

from trainers.data.inputs import Inputs
from trainers.data.shard_check import check_shards
from trainers.models.records import network_of, normalization_of
from trainers.models.spec import front_of, head_of
from trainers.runs.directory import FEATURES
from trainers.runs.files import open_zip, write_zip
from trainers.training.devices import Forward
from transforms import storage
from transforms.errors import FmaError
from transforms.library_errors import DAMAGED_ZIP
from transforms.runtime import console, temporary

if TYPE_CHECKING:
    import keras

IN_MEMORY = 1 << 30  # bytes of features above which they stay on disk
ROWS, TRACKS = 4096, 256  # that are read from disk at once
COLUMNS = 64  # that are sorted at once: few, so that they need little memory, and enough for quick copies


@dataclass(frozen=True)
class Embeddings:
    """Features of windows (or of tracks), in the order of track_id and window."""

    features: np.ndarray  # float32 [n, dimensions]; an np.memmap where they are many
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
        means = np.empty((len(starts), self.features.shape[1]), np.float32)
        for block in (slice(first, first + TRACKS) for first in range(0, len(starts), TRACKS)):
            first, counts = starts[block][0], ends[block] - starts[block]
            rows = self.features[first : ends[block][-1]]
            sums = np.add.reduceat(rows, starts[block] - first, axis=0, dtype=np.float64)
            means[block] = sums / counts[:, None]
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
    path = storage.join(run, name)
    with open_zip(run, name, advice, large=True) as file, ExitStack() as stack:
        large = storage.size(path) > IN_MEMORY
        if large and not storage.is_local(path):
            local = stack.enter_context(_temporary_file())
            shutil.copyfileobj(file, local, 8 << 20)
        else:
            local = file
        try:
            with np.load(local, allow_pickle=False) as arrays:
                features = _map_features(local) if large else arrays["features"]
                return [features, arrays["label"], arrays["track_id"]]
        except DAMAGED_ZIP as error:
            raise FmaError(f"{path} is damaged ({error}): {advice}") from error


def _map_features(file: BinaryIO) -> np.memmap:
    """Map the features in an .npz file that `np.savez` wrote: they lie in it as they are."""
    with zipfile.ZipFile(file) as archive:
        info = archive.getinfo("features.npy")
        with archive.open(info) as member:
            np.lib.format.read_magic(member)
            shape, _, dtype = np.lib.format.read_array_header_1_0(member)
            header = member.tell()
    file.seek(info.header_offset + 26)  # where the member's header has the lengths of its name and its last field
    name, extra = (int.from_bytes(file.read(2), "little") for _ in range(2))
    return np.memmap(file, dtype, "r", info.header_offset + 30 + name + extra + header, shape)


def _temporary_file() -> BinaryIO:
    """Return a new file that is removed when it is no longer open or mapped."""
    return cast(BinaryIO, tempfile.TemporaryFile(dir=temporary.folder()))


def infer_split(forward: Forward, inputs: Inputs, split: str, batch_size: int, title: str) -> Embeddings:
    """Return a model's output for every record of a split, which has records; `title` is the progress bar's.

    In a cluster, each process computes those of its share, and has those of all in the end.

    Raises:
      FmaError: a shard is not what was written.
    """
    processes, records = inputs.cluster.processes, inputs.count_share(split)
    batch_size = -(-min(batch_size, inputs.count(split)) // processes)
    ids = np.zeros((3, records), np.int64)  # label, track_id, window
    outputs, done = _Rows(records), 0
    with (
        console.progress(title, records, "records") as progress,
        check_shards(inputs.dataset, inputs.shards(split), inputs.checked),
    ):
        for batch in inputs.read(split, batch_size):
            kept = batch["weight"].numpy() > 0  # without the padding of the last batch
            output = forward(batch["input"])[kept]
            outputs.append(output)
            ids[:, done : done + len(output)] = [batch[key].numpy()[kept] for key in ("label", "track_id", "window")]
            done += len(output)
            progress.advance(len(output))
    features = outputs.array()
    if inputs.cluster.processes > 1:
        features = inputs.cluster.gather_rows(features)
    label, track_id, window = inputs.cluster.gather_rows(ids.T).T
    order = np.lexsort((window, track_id))
    if isinstance(features, np.memmap):
        in_order = _Rows(records)
        for start in range(0, records, ROWS):
            in_order.append(features[order[start : start + ROWS]])
        features = in_order.array()
    else:
        sort_rows(features, order)
    return Embeddings(features, label[order], track_id[order], inputs.classes)


class _Rows:
    """An array float32 [count, n] to which rows are appended; where it is large, a file that is mapped at the end."""

    def __init__(self, count: int):
        self._count, self._done = count, 0
        self._array = np.zeros((count, 0), np.float32)
        self._file: BinaryIO | None = None

    def append(self, rows: np.ndarray) -> None:
        if not self._done:
            if 4 * self._count * rows.shape[1] > IN_MEMORY:
                self._file = _temporary_file()
            else:
                self._array = np.empty((self._count, rows.shape[1]), np.float32)
        if self._file:  # written, not mapped yet: on a full disk, writing to a mapping ends the process
            try:
                self._file.write(np.ascontiguousarray(rows, np.float32).data)
            except OSError:
                with suppress(OSError):  # from what is still to be written: the first error says it all
                    self._file.close()
                raise
        else:
            self._array[self._done : self._done + len(rows)] = rows
        self._done += len(rows)

    def array(self) -> np.ndarray:
        if not self._file:
            return self._array
        with self._file as file:
            file.flush()
            return np.memmap(file, np.float32, "r", shape=(self._count, file.tell() // (4 * self._count)))


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


def logits_and_features(model: "keras.Model") -> "keras.Model":
    """Return a whole model with its features, records -> float32 [batch, classes + d]; call it in the device's scope.

    Behind the logits stand the values before the last layer; of a transfer model, the features of its front.
    """
    import keras

    from trainers.models.genre_output import GenreOutput
    from trainers.models.layers import MultiCrop

    network, records = network_of(model), model.inputs[0]
    values = normalization_of(model)(records)
    crops = next((layer for layer in network.layers if isinstance(layer, MultiCrop)), None)
    if any(layer.name == "front" for layer in network.layers):
        features = front_of(network)(values)
        logits = head_of(network)(features)
    elif crops:
        crop = crops.network
        of_crops = keras.Model(crop.inputs, [crop.outputs[0], crop.layers[-1].input])(crops.fixed_crops(values))
        logits, features = crops.combine(of_crops[0]), crops.mean(keras.ops.cast(of_crops[1], "float32"))
        logits = next((layer for layer in network.layers if isinstance(layer, GenreOutput)), keras.ops.copy)(logits)
    else:
        split = keras.Model(network.inputs, [network.outputs[0], network.get_layer("logits").input])
        logits, features = split(values)
    return keras.Model(records, keras.layers.Concatenate(dtype="float32")([logits, features]), name="with_features")
