"""A kind's records as Arrow batches for TFT."""

import json
from collections.abc import Iterator
from itertools import islice
from typing import Literal

import apache_beam as beam
import numpy as np
import pyarrow as pa
from tensorflow_metadata.proto.v0.schema_pb2 import TensorRepresentation
from tfx_bsl.tfxio.tensor_adapter import TensorAdapterConfig

from pipelines.progress import ticking
from transforms import storage
from transforms.audio.features import KINDS
from transforms.config import DatasetConfig
from transforms.dataset.manifest import ShardFile
from transforms.dataset.shard_io import read_shard
from transforms.errors import FmaError
from transforms.records.schema import decode_payload, deserialize

BATCH_BYTES = 16 << 20
"""What the values of one batch may take as float64."""

ERRORS = "errors"


class ReadBatches(beam.DoFn):
    """Plan lines to Arrow batches of a kind's values; a shard that cannot be read gives one line to ERRORS.

    Args:
      dataset: its path.
      config: the dataset's.
      kind: of the shards.
      ticks: local folder where workers of this machine note the records they read, or "".
    """

    def __init__(self, dataset: str, config: DatasetConfig, kind: str, ticks: str = ""):
        self._dataset, self._config, self._kind, self._ticks = dataset, config, kind, ticks
        values = int(np.prod(KINDS[kind].shape(config)))
        self._batch = min(1024, max(1, BATCH_BYTES // (8 * values)))

    def process(self, line: str) -> Iterator[pa.RecordBatch | beam.pvalue.TaggedOutput[Literal["errors"], str]]:
        shard = ShardFile(kind=self._kind, split="training", **json.loads(line))
        try:
            with ticking(self._ticks, shard.path) as tick:
                arrays = self._read(shard)
                while batch := list(islice(arrays, self._batch)):
                    yield to_arrow(self._kind, np.stack(batch))
                    tick(b"." * len(batch))
        except (FmaError, OSError) as error:
            yield beam.pvalue.TaggedOutput(ERRORS, str(error))

    def _read(self, shard: ShardFile) -> Iterator[np.ndarray]:
        where = f"{storage.join(self._dataset, shard.path)}: "
        advice = f": run fma verify {self._dataset}"
        for count, data in enumerate(read_shard(self._dataset, shard)):
            try:
                record = deserialize(data)
                values = decode_payload(self._kind, record.payload, self._config)
            except ValueError as error:
                raise FmaError(f"{where}record {count} is not one of this dataset ({error}){advice}") from error
            if values.dtype.kind == "f" and not np.isfinite(values).all():
                raise FmaError(f"{where}track {record.track_id} has values that are not finite numbers{advice}")
            yield values


def plan_line(shard: ShardFile) -> str:
    """What `ReadBatches` has to know of a shard."""
    return json.dumps({"path": shard.path, "records": shard.records})


def to_arrow(kind: str, values: np.ndarray) -> pa.RecordBatch:
    """[batch, *shape] as a record batch with one list column, without a copy."""
    width = int(np.prod(values.shape[1:]))
    offsets = pa.array(np.arange(len(values) + 1, dtype=np.int64) * width)
    return pa.RecordBatch.from_arrays(
        [pa.LargeListArray.from_arrays(offsets, pa.array(values.ravel()))], schema=_arrow_schema(kind)
    )


def _arrow_schema(kind: str) -> pa.Schema:
    return pa.schema([(kind, pa.large_list(pa.from_numpy_dtype(KINDS[kind].dtype)))])


def tensors_of(kind: str, config: DatasetConfig) -> TensorAdapterConfig:
    """How TFT makes a tensor [batch, *shape] of a record batch."""
    tensor = TensorRepresentation()
    tensor.dense_tensor.column_name = kind
    for size in KINDS[kind].shape(config):
        tensor.dense_tensor.shape.dim.add(size=size)
    return TensorAdapterConfig(_arrow_schema(kind), {kind: tensor})
