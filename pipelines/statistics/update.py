"""The statistics of a dataset's training split: whether they are up to date, and bringing them up to date."""

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import TYPE_CHECKING

from transforms import storage
from transforms.dataset.generation import ShardFile
from transforms.dataset.growth import locked, locked_when_free
from transforms.dataset.leftovers import announce, remove_list, scratch_folder
from transforms.dataset.manifest import TRANSFORM_FN, Manifest, TransformFn, commit, load
from transforms.dataset.normalization import FILE as NORMALIZATION
from transforms.dataset.normalization import read_arrays
from transforms.errors import FmaError
from transforms.runtime import console, temporary
from transforms.runtime.os_errors import annotate_os_errors
from transforms.runtime.stderr import capture_native_stderr

if TYPE_CHECKING:
    from pipelines.statistics.cache import Part

KINDS_WITH_STATISTICS = ("mel", "stats")
GRAPH_VERSION = 3
"""Goes up when the same records would give other files: statistics of another version are made again."""

GRAPH_FILES = (
    f"{TRANSFORM_FN}/saved_model.pb",
    f"{TRANSFORM_FN}/fingerprint.pb",
    f"{TRANSFORM_FN}/variables/variables.index",
    f"{TRANSFORM_FN}/variables/variables.data-00000-of-00001",
    "transformed_metadata/schema.pbtxt",
    NORMALIZATION,
)
"""What there is for a kind: TFT's graph, and its numbers as arrays."""

BYTES_PER_TRACK = 32 << 20
"""Reading this much takes about as long as ingesting a track; the size of a job is given in tracks."""


def update_statistics(dataset: str, workers: int | None, beam_options: list[str], *, wait: bool = False) -> str:
    """Analyse the training records that are new and commit the statistics of all of them.

    Return one line that says what was done, or why nothing was.

    Args:
      workers: local worker processes; None for one for each core.
      wait: where another command writes to the dataset, wait until it is done.

    Raises:
      UsageError: there is no dataset, or Beam's options cannot work.
      FmaError: a record file is missing or damaged, or another command writes to the dataset.
    """
    if beam_options:
        from pipelines.runners import validate_runner_options

        validate_runner_options(beam_options, [("DATASET", dataset)], template=False)
    if reason := reason_to_skip(dataset, load(dataset)):
        return reason
    with (locked_when_free if wait else locked)(dataset), annotate_os_errors(dataset):
        manifest = load(dataset)  # again: a writer may have ended before this one got the lock
        if reason := reason_to_skip(dataset, manifest):
            return reason
        name = _folder_name(manifest)
        with capture_native_stderr():
            earlier, new, arrays = _analyse(dataset, manifest, name, workers, beam_options)
        _commit(dataset, manifest, name, arrays)
    kept = f", kept the sums of {_counts(earlier)}" if any(earlier.values()) else ""
    return f"analysed {_counts(new)} records of the training split{kept}: {TRANSFORM_FN}/{name}"


def reason_to_skip(dataset: str, manifest: Manifest) -> str:
    """Return why there is nothing to analyse, or "" where there is something."""
    shards = training_shards(manifest)
    if not any(shard.split == "training" for generation in manifest.generations for shard in generation.shards):
        return f"{dataset} has no training split, so it gets no statistics"
    if not shards:
        return f"{dataset} holds {', '.join(manifest.config.features)} only, which needs no statistics"
    have = manifest.transform_fn
    if have is None or replace(have, arrays={}) != describe(manifest, have.path):
        return ""
    graphs = [storage.join(dataset, have.path, kind, TRANSFORM_FN, "saved_model.pb") for kind in have.kinds]
    try:
        for kind in have.kinds:
            read_arrays(dataset, manifest.config, have, kind)
    except FmaError:
        return ""  # damaged ones are made again, like those that are gone
    return f"the statistics of {dataset} are up to date: {have.path}" if all(map(storage.exists, graphs)) else ""


def training_shards(manifest: Manifest) -> dict[str, list[ShardFile]]:
    """Return the training shards by kind, of the kinds that have statistics and records."""
    found = {kind: manifest.shards(kind, "training") for kind in KINDS_WITH_STATISTICS}
    return {kind: shards for kind, shards in found.items() if shards}


def describe(manifest: Manifest, path: str) -> TransformFn:
    """Return what dataset.json says about the statistics that lie at `path`, except for `arrays`."""
    kinds = list(training_shards(manifest))
    return TransformFn(path, kinds, manifest.records_digest(kinds, "training"), GRAPH_VERSION)


def _folder_name(manifest: Manifest) -> str:
    """The number of generations, then 8 hex digits that are equal for the same training records."""
    text = json.dumps([manifest.config.digest, asdict(describe(manifest, ""))], sort_keys=True)
    return f"{len(manifest.generations):04d}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def _analyse(
    dataset: str, manifest: Manifest, name: str, workers: int | None, beam_options: list[str]
) -> tuple[dict[str, int], dict[str, int], dict[str, str]]:
    """Write graphs and arrays; return the records by kind whose sums were there and that were read, and the hashes."""
    # These hold in this process and its workers from TensorFlow's import on.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # its start-up notes are not for the user
    os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")  # workers share a GPU, which it would reserve whole
    from pipelines.runners import prepare_options, progress
    from pipelines.runners.dataflow import own_folders
    from pipelines.statistics.analyze import AnalysisJob, cache_keys, run_analysis
    from pipelines.statistics.cache import carry_over, load_parts, make_part, reusable, with_entries

    kinds = list(training_shards(manifest))
    temporary.use_for_libraries()  # TensorFlow's AutoGraph writes a file for each function
    keys = cache_keys(manifest.config, kinds)
    have = load_parts(dataset, manifest)
    held, uncovered = reusable(have, manifest.generations, keys)
    if len(held) < len(have):
        what = "some of the records" if held else "the records"
        console.log(f"{what} are not those of the last analysis (an update took tracks out, say): they are read again")
    training = [shard for generation in uncovered for shard in generation.shards if shard.split == "training"]
    shards = {kind: [shard for shard in training if shard.kind == kind] for kind in kinds}
    new = make_part(shards)
    remove_list(dataset, name, manifest)  # of a killed run
    place, scratch = f"{TRANSFORM_FN}/{name}", scratch_folder(name)
    parts = [with_entries(part, place, part.entries) for part in held] + [with_entries(new, place, keys)]
    old = _files_of(manifest.transform_fn, have) if manifest.transform_fn else []
    tracks = sum(shard.bytes for files in shards.values() for shard in files) // BYTES_PER_TRACK
    options = prepare_options(beam_options, dataset, "statistics", name, tracks=tracks, workers=workers)
    written = [f"{scratch}/", *own_folders(options, dataset), *_files_of(describe(manifest, place), parts)]
    announce(dataset, name, written, replaced=old)
    with progress(options, "statistics", sum(new.records.values()), "records") as ticks:
        earlier = carry_over(dataset, held, place)
        job = AnalysisJob(dataset, name, manifest.schema, tuple(earlier), new, scratch, ticks)
        arrays = run_analysis(job, shards, keys, options)
    return {kind: sum(part.records.get(kind, 0) for part in earlier) for kind in kinds}, new.records, arrays


def _files_of(statistics: TransformFn, parts: "Sequence[Part]") -> list[str]:
    """Return the paths, relative to the dataset, of the files that statistics consist of."""
    sums = [path for part in parts for entries in part.entries.values() for path in entries.values()]
    own = [path for path in sums if path.startswith(f"{statistics.path}/cache/")]
    graphs = [f"{statistics.path}/{kind}/{file}" for kind in statistics.kinds for file in GRAPH_FILES]
    return [*graphs, *own, f"{statistics.path}/cache.json"]


def _commit(dataset: str, manifest: Manifest, name: str, arrays: dict[str, str]) -> None:
    manifest.transform_fn = replace(describe(manifest, f"{TRANSFORM_FN}/{name}"), arrays=arrays)
    commit(dataset, manifest)
    remove_list(dataset, name, manifest)  # not before the commit: until then, readers use the old files


def _counts(records: dict[str, int]) -> str:
    return ", ".join(f"{count:,} {kind}" for kind, count in records.items())
