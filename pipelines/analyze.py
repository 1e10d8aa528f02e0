"""The Beam job of `fma statistics`: new training shards of each kind and earlier sums in, a normalisation graph out.

The runner moves one small line for each shard. Batches go from the reader straight into TFT's first graph, and what
is left of them is what TFT's analyzers add up: sums over columns, which are kept for the next analysis.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions
from tfx_bsl.tfxio.tensor_adapter import TensorAdapter

from pipelines.analysis_cache import Keys, Part, entry_path, read_entry, save_parts, write_entry
from pipelines.batches import ERRORS, ReadBatches, plan_line, tensors_of
from pipelines.lines import ReadLines, WriteLines, read_lines, write_lines
from pipelines.normalize import NORMALIZERS
from pipelines.options import make_pipeline
from pipelines.portable import wait
from pipelines.runners import told
from pipelines.tft_import import DatasetCache, DatasetKey, get_analysis_cache_entry_keys, tft_beam
from transforms import storage
from transforms.config import DatasetConfig
from transforms.dataset.manifest import ShardFile
from transforms.errors import FmaError


@dataclass(frozen=True)
class AnalysisJob:
    """What is analysed, and where it lies.

    Attributes:
      dataset: path of the dataset.
      name: of the statistics' folder.
      config: the dataset's.
      earlier: records whose sums are there, in the folder already.
      new: records that are read.
      ticks: local folder where workers of this machine note the records they read, or "".
    """

    dataset: str
    name: str
    config: DatasetConfig
    earlier: tuple[Part, ...]
    new: Part
    ticks: str = ""

    @property
    def folder(self) -> str:
        """Where the plan, TFT's intermediate graphs and the errors lie while the job runs."""
        return storage.join(self.dataset, "plan", self.name)

    @property
    def statistics(self) -> str:
        """Where the graphs and the sums are written, relative to the dataset."""
        return f"transform_fn/{self.name}"

    def plan_path(self, kind: str) -> str:
        """One line for each training shard of the kind that is read."""
        return storage.join(self.folder, f"{kind}.jsonl")

    @property
    def errors_path(self) -> str:
        """One line for each shard that could not be read."""
        return storage.join(self.folder, "errors.txt")

    def records(self, kind: str) -> int:
        """Of the kind in the training split."""
        return sum(part.records.get(kind, 0) for part in (*self.earlier, self.new))


class AnalyzeKind(beam.PTransform):
    """Analyses one kind and writes its graph, and the sums of what it read; its output are the ERRORS of its shards.

    Args:
      job: what and where.
      kind: a row of NORMALIZERS.
    """

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
            >> beam.ParDo(ReadBatches(job.dataset, job.config, kind, job.ticks)).with_outputs(ERRORS, main="batches")
        )
        if job.new.records.get(kind):
            batches[new] = read.batches
        with tft_beam.Context(temp_dir=storage.join(job.folder, kind)):
            preprocess = NORMALIZERS[kind](job.config, job.records(kind))
            analyze = tft_beam.AnalyzeDatasetWithCache(preprocess, pipeline=begin.pipeline)
            graph, found = (batches, sums, tensors_of(kind, job.config)) | "Analyze" >> analyze
            _ = graph | "WriteGraph" >> tft_beam.WriteTransformFn(storage.join(job.dataset, job.statistics, kind))
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
    """By kind: TFT's names of the sums that its analysis keeps, hexadecimal."""
    found = {}
    for kind in kinds:
        specs = TensorAdapter(tensors_of(kind, config)).OriginalTypeSpecs()
        keys = get_analysis_cache_entry_keys(NORMALIZERS[kind](config, 1), specs, [DatasetKey("any")], False)
        found[kind] = sorted(key.hex() for key in keys)
    return found


def run_analysis(job: AnalysisJob, shards: dict[str, list[ShardFile]], keys: Keys, options: PipelineOptions) -> None:
    """Analyses each kind and writes `transform_fn/<name>/` into the dataset.

    Args:
      job: what and where.
      shards: by kind, those of `job.new`; a kind without new ones has an empty list.
      keys: as `cache_keys` has them.
      options: for Beam.

    Raises:
      FmaError: a shard is missing or damaged.
    """
    pipeline = make_pipeline(options)
    errors = []
    for kind, files in shards.items():
        write_lines(map(plan_line, files), job.plan_path(kind))
        errors.append(pipeline | f"Analyze-{kind}" >> AnalyzeKind(job, kind))
    errors | beam.Flatten() | "WriteErrors" >> WriteLines(job.errors_path)
    with told(options, job.dataset):
        wait(pipeline.run(), options)
    found = list(read_lines(job.errors_path))
    if found:
        raise FmaError(found[0] + (f" ({len(found)} shards cannot be read)" if len(found) > 1 else ""))
    read = [kind for kind, count in job.new.records.items() if count]
    entries = {kind: {key: entry_path(job.statistics, job.new, kind, key) for key in keys[kind]} for kind in read}
    save_parts(job.dataset, job.statistics, [*job.earlier, *([replace(job.new, entries=entries)] if read else [])])
