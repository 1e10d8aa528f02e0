"""The Beam job of `fma statistics`: new training shards of each kind and earlier sums in, a normalisation graph out.

The runner moves one small line for each shard. Batches go from the reader straight into TFT's first graph; its
analyzers reduce them to sums over columns, which are kept for the next analysis.
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from itertools import islice
from typing import Literal

import apache_beam as beam
import numpy as np
import pyarrow as pa
from apache_beam.options.pipeline_options import PipelineOptions
from tensorflow_metadata.proto.v0.schema_pb2 import TensorRepresentation
from tfx_bsl.tfxio.tensor_adapter import TensorAdapter, TensorAdapterConfig

from pipelines.job_files import ReadLines, WriteLines, count_progress, read_lines, write_lines
from pipelines.runners import translate_runner_errors
from pipelines.runners.options import make_pipeline
from pipelines.runners.portable import wait
from pipelines.statistics.cache import Keys, Part, entry_path, read_entry, save_parts, with_entries, write_entry
from pipelines.statistics.preprocess import NORMALIZERS, count_axes
from pipelines.statistics.tft_import import DatasetCache, DatasetKey, get_analysis_cache_entry_keys, tft_beam
from transforms import storage
from transforms.audio.features import KINDS
from transforms.config import DatasetConfig
from transforms.dataset.generation import ShardFile
from transforms.dataset.leftovers import ERRORS as ERRORS_FILE
from transforms.dataset.leftovers import PLAN, announce
from transforms.dataset.manifest import TRANSFORM_FN
from transforms.dataset.normalization import write_arrays
from transforms.dataset.shard_io import read_shard
from transforms.dataset.tft_graph import read_graph
from transforms.errors import FmaError
from transforms.records import Schema
from transforms.runtime.invocation import command_line

BATCH_BYTES = 16 << 20  # memory for the values of one batch as float64
ERRORS = "errors"


class ReadBatches(beam.DoFn):
    """Turns plan lines into Arrow batches of a kind's values; a shard that cannot be read gives one line to ERRORS."""

    def __init__(self, dataset: str, schema: Schema, kind: str, ticks: str = ""):
        self._dataset, self._schema = dataset, schema
        self._kind, self._ticks = kind, ticks
        values = int(np.prod(KINDS[kind].shape(schema.config)))
        self._batch = min(1024, max(1, BATCH_BYTES // (8 * values)))

    def process(self, line: str) -> Iterator[pa.RecordBatch | beam.pvalue.TaggedOutput[Literal["errors"], str]]:
        shard = ShardFile.from_json(json.loads(line))
        try:
            with count_progress(self._ticks, shard.path) as tick:
                arrays = self._read(shard)
                while batch := list(islice(arrays, self._batch)):
                    yield to_arrow(self._kind, np.stack(batch))
                    tick(b"." * len(batch))
        except (FmaError, OSError) as error:
            yield beam.pvalue.TaggedOutput(ERRORS, str(error))

    def _read(self, shard: ShardFile) -> Iterator[np.ndarray]:
        for record, _ in read_shard(self._dataset, shard, self._schema):
            values = self._schema.decode(self._kind, record.payload)
            if values.dtype.kind == "f" and not np.isfinite(values).all():
                where = f"{storage.join(self._dataset, shard.path)}: track {record.track_id}"
                advice = f"run {command_line('verify', self._dataset)}"
                raise FmaError(f"{where} has values that are not finite numbers: {advice}")
            yield values


def to_arrow(kind: str, values: np.ndarray) -> pa.RecordBatch:
    """Return [batch, *shape] as a record batch with one list column, without a copy."""
    width = int(np.prod(values.shape[1:]))
    offsets = pa.array(np.arange(len(values) + 1, dtype=np.int64) * width)
    return pa.RecordBatch.from_arrays(
        [pa.LargeListArray.from_arrays(offsets, pa.array(values.ravel()))], schema=_arrow_schema(kind)
    )


def _arrow_schema(kind: str) -> pa.Schema:
    return pa.schema([(kind, pa.large_list(pa.from_numpy_dtype(KINDS[kind].dtype)))])


def tensors_of(kind: str, config: DatasetConfig) -> TensorAdapterConfig:
    """Return how TFT makes a tensor [batch, *shape] of a record batch."""
    tensor = TensorRepresentation()
    tensor.dense_tensor.column_name = kind
    for size in KINDS[kind].shape(config):
        tensor.dense_tensor.shape.dim.add(size=size)
    return TensorAdapterConfig(_arrow_schema(kind), {kind: tensor})


@dataclass(frozen=True)
class AnalysisJob:
    """The records to analyse, and the paths of what is read and written."""

    dataset: str  # path of the dataset
    name: str  # of the statistics' folder
    schema: Schema  # the dataset's
    earlier: tuple[Part, ...]  # records whose sums are in the folder already
    new: Part  # records to read
    scratch: str  # a new folder for what TFT writes, relative to the dataset
    ticks: str = ""  # local folder where workers of this machine note the records they read, or ""

    @property
    def folder(self) -> str:
        """The folder of the plan and the errors while the job runs."""
        return storage.join(self.dataset, PLAN, self.name)

    def graph_path(self, kind: str) -> str:
        """Return the folder where TFT writes the graph of a kind."""
        return storage.join(self.dataset, self.scratch, kind, "graph")

    @property
    def statistics(self) -> str:
        """The folder of the graphs and the sums, relative to the dataset."""
        return f"{TRANSFORM_FN}/{self.name}"

    def plan_path(self, kind: str) -> str:
        """Return the file with one line for each training shard of a kind that is read."""
        return storage.join(self.folder, f"{kind}.jsonl")

    @property
    def errors_path(self) -> str:
        """The file with one line for each shard that could not be read."""
        return storage.join(self.folder, ERRORS_FILE)

    def records(self, kind: str) -> int:
        """Return how many records of a kind the training split has."""
        return sum(part.records.get(kind, 0) for part in (*self.earlier, self.new))


class AnalyzeKind(beam.PTransform):
    """Analyses one kind: writes its graph, and the sums of what it read; its output is the ERRORS of its shards."""

    def __init__(self, job: AnalysisJob, kind: str):
        super().__init__()
        self._job, self._kind = job, kind

    def expand(self, begin: beam.pvalue.PBegin) -> beam.PCollection:
        job, kind, new = self._job, self._kind, DatasetKey(self._job.new.name)
        earlier = [part for part in job.earlier if kind in part.entries]
        # TFT reads no batches of a part whose sums it is given.
        batches: dict[DatasetKey, beam.PCollection | None] = {DatasetKey(part.name): None for part in earlier}
        sums = {DatasetKey(part.name): DatasetCache(dict(self._read_sums(begin, part)), None) for part in earlier}
        read = (
            begin
            | "OneShardEach" >> ReadLines(job.plan_path(kind))
            | "ReadBatches"
            >> beam.ParDo(ReadBatches(job.dataset, job.schema, kind, job.ticks)).with_outputs(ERRORS, main="batches")
        )
        if job.new.records.get(kind):
            batches[new] = read.batches
        with tft_beam.Context(temp_dir=storage.join(job.dataset, job.scratch, kind)):
            preprocess = NORMALIZERS[kind](job.schema.config, job.records(kind))
            analyze = tft_beam.AnalyzeDatasetWithCache(preprocess, pipeline=begin.pipeline)
            graph, found = (batches, sums, tensors_of(kind, job.schema.config)) | "Analyze" >> analyze
            _ = graph | "WriteGraph" >> tft_beam.WriteTransformFn(job.graph_path(kind))
        for number, (key, values) in enumerate(found[new].items() if new in found else ()):
            path = storage.join(job.dataset, entry_path(job.statistics, job.new, kind, key.hex()))
            whole = values | f"Gather{number}" >> beam.CombineGlobally(beam.combiners.ToListCombineFn())
            _ = whole | f"WriteSums{number}" >> beam.Map(write_entry, path)
        return read[ERRORS]

    def _read_sums(self, begin: beam.pvalue.PBegin, part: Part) -> Iterator[tuple[bytes, beam.PCollection]]:
        for number, (key, entry) in enumerate(part.entries[self._kind].items()):
            label = f"{part.name}-{number}"
            path = begin | f"Path-{label}" >> beam.Create([storage.join(self._job.dataset, entry)])
            yield bytes.fromhex(key), path | f"ReadSums-{label}" >> beam.FlatMap(read_entry)


def cache_keys(config: DatasetConfig, kinds: Iterable[str]) -> Keys:
    """Return TFT's names of the sums that its analysis keeps, hexadecimal, by kind."""
    found = {}
    for kind in kinds:
        specs = TensorAdapter(tensors_of(kind, config)).OriginalTypeSpecs()
        keys = get_analysis_cache_entry_keys(NORMALIZERS[kind](config, 1), specs, [DatasetKey("any")], False)
        found[kind] = sorted(key.hex() for key in keys)
    return found


def run_analysis(
    job: AnalysisJob, shards: dict[str, list[ShardFile]], keys: Keys, options: PipelineOptions
) -> dict[str, str]:
    """Analyse each kind and write `transform_fn/<name>/` into the dataset.

    `shards` are those of `job.new` by kind, [] for a kind without new ones; `keys` is from `cache_keys`.

    Returns:
      by kind, the sha256 of its normalization.npz.

    Raises:
      FmaError: a shard is missing or damaged.
    """
    pipeline = make_pipeline(options)
    errors = []
    for kind, files in shards.items():
        write_lines((json.dumps(asdict(file)) for file in files), job.plan_path(kind))
        errors.append(pipeline | f"Analyze-{kind}" >> AnalyzeKind(job, kind))
    errors | beam.Flatten() | "WriteErrors" >> WriteLines(job.errors_path)
    with translate_runner_errors(options, job.dataset):
        wait(pipeline.run(), options)
    found = list(read_lines(job.errors_path))
    if found:
        raise FmaError(found[0] + (f" ({len(found)} shards cannot be read)" if len(found) > 1 else ""))
    for kind in shards:
        _publish_graph(job, kind)
    new = with_entries(job.new, job.statistics, keys)
    save_parts(job.dataset, job.statistics, [*job.earlier, *([new] if new.entries else [])])
    return {kind: _write_arrays(job, kind) for kind in shards}


def _publish_graph(job: AnalysisJob, kind: str) -> None:
    """Copy a graph to its place: TFT would remove all that lies there."""
    graph, place = job.graph_path(kind), f"{job.statistics}/{kind}"
    names = [path.removeprefix(f"{graph}/") for path, _ in storage.list_files(graph)]
    announce(job.dataset, job.name, [f"{place}/{name}" for name in names])
    for name in names:
        storage.write_bytes(storage.join(job.dataset, place, name), storage.read_bytes(f"{graph}/{name}"))


def _write_arrays(job: AnalysisJob, kind: str) -> str:
    """Write the numbers of the graph that this job has written as arrays, which trainers read without executing it."""
    graph = storage.read_bytes(storage.join(job.dataset, job.statistics, kind, TRANSFORM_FN, "saved_model.pb"))
    return write_arrays(job.dataset, job.statistics, read_graph(kind, graph, count_axes(job.records(kind))))
