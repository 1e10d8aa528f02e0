"""Embedding a shard: its windows through an encoder, and the moments of what that gives for each track out.

A track's windows go to the encoder in batches of one size, the last one filled up, and no batch has windows of two
tracks: a track's embedding is the same in whichever shard, and after whatever growth, it lies.
"""

import math
from collections.abc import Callable, Iterator
from itertools import chain, groupby, islice

import numpy as np

from transforms.config import DatasetConfig
from transforms.dataset.embeddings import write_embeddings
from transforms.dataset.generation import ShardFile
from transforms.dataset.plan import TYPICAL_SECONDS
from transforms.dataset.shard_io import read_shard
from transforms.encoders.encoder import Encoder
from transforms.records import Record, Schema

BATCH_SAMPLES = 1 << 21
"""Samples of a batch's windows at most, 95 s at 22,050 Hz: with YAMNet or MobileNetV2, some 200 MB of activations."""
LARGEST_BATCH = 16


class Moments:
    """Means and deviations of columns, added up in float64, row block by row block.

    By Chan, Golub and LeVeque's update of a block's mean and sum of squared differences from it, which loses nothing
    where the mean is large, and gives exactly 0 where a column does not vary.
    """

    def __init__(self) -> None:
        self._count = 0
        self._mean: np.ndarray | float = 0.0
        self._squares: np.ndarray | float = 0.0

    def add(self, rows: np.ndarray) -> None:
        """Add values [rows, columns]."""
        values = rows.astype(np.float64)
        mean = values.mean(axis=0)
        total = self._count + len(values)
        difference = mean - self._mean
        self._squares += ((values - mean) ** 2).sum(axis=0) + difference**2 * (self._count * len(values) / total)
        self._mean += difference * (len(values) / total)
        self._count = total

    def finish(self) -> np.ndarray:
        """Return mean and standard deviation (divided by n), float64 [2, columns]."""
        return np.stack([self._mean, np.sqrt(self._squares / self._count)])


def batch_size(config: DatasetConfig) -> int:
    """Return how many windows an encoder is given at a time: those of 30 s in equal batches, as far as memory goes.

    It follows from the settings alone, since the last bits of what an encoder gives may depend on it.
    """
    windows = max(1, config.count_windows(int(TYPICAL_SECONDS * config.sample_rate)))
    largest = max(1, min(LARGEST_BATCH, BATCH_SAMPLES // config.window_samples))
    return math.ceil(windows / math.ceil(windows / largest))


def embed_track(encoder: Encoder, windows: Iterator[np.ndarray], size: int) -> np.ndarray:
    """Return the embedding of a track from its windows, int16 or uint8, in order: float32 [2, D]."""
    found = {name: Moments() for name in encoder.facts.outputs}
    while batch := list(islice(windows, size)):
        padded = np.zeros((size, *batch[0].shape), batch[0].dtype)
        padded[: len(batch)] = batch
        given = encoder.encode(to_input(padded))
        for name, moments in found.items():
            for of_window in given[name][: len(batch)]:
                moments.add(of_window.reshape(-1, of_window.shape[-1]))
    return np.concatenate([moments.finish() for moments in found.values()], axis=1).astype(np.float32)


def to_input(windows: np.ndarray) -> np.ndarray:
    """Return stored windows as an encoder takes them: int16 samples as float32 in [-1, 1), uint8 images as they are."""
    return windows.astype(np.float32) / np.float32(32768) if windows.dtype.kind == "i" else windows


def embed_shard(
    dataset: str, source: ShardFile, encoder: Encoder, schema: Schema, on_track: Callable[[], object] = lambda: None
) -> ShardFile:
    """Write the embeddings of a shard's tracks.

    Args:
      source: the shard, of the kind that the encoder reads.
      schema: the dataset's, with the encoder among its encoders.
      on_track: called for each track.

    Raises:
      FmaError: the shard is not what was written, or the encoder gives no finite numbers.
      OSError: the disk or the bucket failed.
    """
    size = batch_size(schema.config)

    def tracks() -> Iterator[tuple[Record, np.ndarray]]:
        records = (record for record, _ in read_shard(dataset, source, schema))
        for _, of_track in groupby(records, key=lambda record: record.track_id):
            first = next(of_track)
            windows = (schema.decode(source.kind, record.payload) for record in chain([first], of_track))
            yield first, embed_track(encoder, windows, size)
            on_track()

    return write_embeddings(dataset, source, encoder.facts, schema, tracks())
