"""The Beam job of `fma statistics`: the training shards of each kind in, its normalisation graph out.

The runner moves one small line for each shard. Batches go from the reader straight into TFT's first graph, and what
is left of them is what TFT's combiners add up: sums for each column.
"""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import BinaryIO, Literal

import apache_beam as beam
import numpy as np
import pyarrow as pa
from apache_beam.options.pipeline_options import PipelineOptions
from tensorflow_metadata.proto.v0.schema_pb2 import TensorRepresentation
from tfx_bsl.tfxio.tensor_adapter import TensorAdapterConfig

from pipelines.lines import ReadLines, WriteLines, read_lines, write_lines
from pipelines.normalize import NORMALIZERS
from pipelines.tft_import import tft_beam
from transforms import storage
from transforms.config import DatasetConfig
from transforms.errors import FmaError
from transforms.features import KINDS
from transforms.records import read_records
from transforms.schema import decode_payload, deserialize
from transforms.shards import ShardFile

BATCH_BYTES = 16 << 20
"""What the values of one batch may take as float64."""

ERRORS = "errors"


@dataclass(frozen=True)
class AnalysisJob:
    """What a worker has to know beside its plan lines.

    Attributes:
      dataset: path of the dataset.
      name: of the statistics' folder.
      config: the dataset's.
      ticks: local folder where workers of this machine note the records they read, or "".
    """

    dataset: str
    name: str
    config: DatasetConfig
    ticks: str = ""

    @property
    def folder(self) -> str:
        """Where the plan, TFT's intermediate graphs and the errors lie while the job runs."""
        return storage.join(self.dataset, "plan", self.name)

    def plan_path(self, kind: str) -> str:
        """One line for each training shard of the kind."""
        return storage.join(self.folder, f"{kind}.jsonl")

    @property
    def errors_path(self) -> str:
        """One line for each shard that could not be read."""
        return storage.join(self.folder, "errors.txt")

    def graph_path(self, kind: str) -> str:
        """Where TFT writes the kind's graph."""
        return storage.join(self.dataset, "transform_fn", self.name, kind)


class ReadBatches(beam.DoFn):
    """Plan lines to Arrow batches of a kind's values; a shard that cannot be read gives one line to ERRORS."""

    def __init__(self, job: AnalysisJob, kind: str):
        self._job, self._kind = job, kind
        values = int(np.prod(KINDS[kind].shape(job.config)))
        self._batch = min(1024, max(1, BATCH_BYTES // (8 * values)))

    def process(self, line: str) -> Iterator[pa.RecordBatch | beam.pvalue.TaggedOutput[Literal["errors"], str]]:
        shard = json.loads(line)
        path = storage.join(self._job.dataset, shard["path"])
        try:
            with storage.open_read(path) as file, _ticking(self._job.ticks, shard["path"]) as tick:
                arrays = self._read(file, **shard)
                while batch := list(islice(arrays, self._batch)):
                    yield to_arrow(self._kind, np.stack(batch))
                    tick(len(batch))
        except FileNotFoundError:
            yield beam.pvalue.TaggedOutput(ERRORS, f"{shard['path']} is missing")
        except (FmaError, OSError) as error:
            yield beam.pvalue.TaggedOutput(ERRORS, str(error))

    def _read(self, file: BinaryIO, path: str, records: int) -> Iterator[np.ndarray]:
        count = 0
        for count, data in enumerate(read_records(file, path), 1):
            try:
                record = deserialize(data)
                values = decode_payload(self._kind, record.payload, self._job.config)
            except ValueError as error:
                raise FmaError(f"{path}: record {count - 1} is not one of this dataset: {error}") from error
            if values.dtype.kind == "f" and not np.isfinite(values).all():
                raise FmaError(f"{path}: track {record.track_id} has values that are not finite numbers")
            yield values
        if count != records:
            raise FmaError(f"{path} has {count} records, where dataset.json lists {records}")


@contextmanager
def _ticking(folder: str, path: str) -> Iterator:
    """Gives a function that notes records as read: a byte each, in this shard's own file."""
    if not (folder and os.path.isdir(folder)):
        yield lambda records: None
        return
    # "wb": TFT reads the statistics twice (moments, then PCA), and the second reading counts afresh.
    with open(os.path.join(folder, path.replace("/", "-")), "wb", buffering=0) as file:
        yield lambda records: file.write(b"." * records)


def to_arrow(kind: str, values: np.ndarray) -> pa.RecordBatch:
    """[batch, *shape] as a record batch with one list column, without a copy."""
    width = int(np.prod(values.shape[1:]))
    offsets = pa.array(np.arange(len(values) + 1, dtype=np.int64) * width)
    return pa.RecordBatch.from_arrays(
        [pa.LargeListArray.from_arrays(offsets, pa.array(values.ravel()))], schema=_arrow_schema(kind)
    )


def _arrow_schema(kind: str) -> pa.Schema:
    return pa.schema([(kind, pa.large_list(pa.from_numpy_dtype(KINDS[kind].dtype)))])


def _tensors(kind: str, config: DatasetConfig) -> TensorAdapterConfig:
    """How TFT makes a tensor [batch, *shape] of a record batch."""
    tensor = TensorRepresentation()
    tensor.dense_tensor.column_name = kind
    for size in KINDS[kind].shape(config):
        tensor.dense_tensor.shape.dim.add(size=size)
    return TensorAdapterConfig(_arrow_schema(kind), {kind: tensor})


class AnalyzeKind(beam.PTransform):
    """Analyses one kind and writes its graph; its output are the ERRORS of its shards.

    Args:
      job: what and where.
      kind: a row of NORMALIZERS.
      records: of the kind in the training split.
    """

    def __init__(self, job: AnalysisJob, kind: str, records: int):
        super().__init__()
        self._job, self._kind, self._records = job, kind, records

    def expand(self, begin: beam.pvalue.PBegin) -> beam.PCollection:
        job, kind = self._job, self._kind
        read = (
            begin
            | "OneShardEach" >> ReadLines(job.plan_path(kind))
            | "ReadBatches" >> beam.ParDo(ReadBatches(job, kind)).with_outputs(ERRORS, main="batches")
        )
        # Deep copies: a second phase (PCA) reads the shards again, where the runner would else keep every batch.
        with tft_beam.Context(temp_dir=storage.join(job.folder, kind), use_deep_copy_optimization=True):
            analyze = tft_beam.AnalyzeDataset(NORMALIZERS[kind](job.config, self._records))
            graph = (read.batches, _tensors(kind, job.config)) | "Analyze" >> analyze
            _ = graph | "WriteGraph" >> tft_beam.WriteTransformFn(job.graph_path(kind))
        return read[ERRORS]


def run_analysis(job: AnalysisJob, shards: dict[str, list[ShardFile]], options: PipelineOptions) -> None:
    """Analyses each kind's shards and writes `transform_fn/<name>/<kind>/` into the dataset.

    Raises:
      FmaError: a shard is missing or damaged.
    """
    pipeline = beam.Pipeline(options=options)
    errors = []
    for kind, files in shards.items():
        lines = (json.dumps({"path": file.path, "records": file.records}) for file in files)
        write_lines(lines, job.plan_path(kind))
        records = sum(file.records for file in files)
        errors.append(pipeline | f"Analyze-{kind}" >> AnalyzeKind(job, kind, records))
    merged = errors | beam.Flatten()
    merged | "WriteErrors" >> WriteLines(job.errors_path)
    pipeline.run().wait_until_finish()
    found = list(read_lines(job.errors_path))
    if found:
        more = f" ({len(found)} shards cannot be read)" if len(found) > 1 else ""
        raise FmaError(f"{found[0]}{more}: run fma verify {job.dataset}")
