"""`fma statistics`: full-pass statistics of the training split, as the graph that normalises a kind's values."""

import argparse
import hashlib
import json
import os
import sys
from dataclasses import asdict

from transforms import storage
from transforms.commands.arguments import number
from transforms.dataset.growth import locked
from transforms.dataset.manifest import TRANSFORM_FN, Manifest, ShardFile, TransformFn, commit, load
from transforms.runtime import console
from transforms.runtime.stderr import capture_native_stderr

TAKES_BEAM_OPTIONS = True
KINDS_WITH_STATISTICS = ("mel", "stats")
GRAPH_VERSION = 2
"""Goes up when the same records would give another graph: statistics of another version are made anew."""

BYTES_PER_TRACK = 32 << 20
"""Reading this much costs about what ingesting a track does: `runners.options` tells small from large by tracks."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's arguments; what it does not know goes on to Beam."""
    parser.description = (
        "Reads all training records and writes the graph that normalises them: mean and deviation of each mel band; "
        "mean, deviation and principal components of the statistics. Training and evaluation use it. When the "
        "dataset has grown, only new records are read; where nothing is new, nothing is done. Options that are not "
        "listed go to Apache Beam."
    )
    parser.epilog = "example: fma statistics data/small"
    parser.add_argument("dataset", metavar="DATASET")
    parser.add_argument(
        "--workers", type=number(int, 1), metavar="N", help="local worker processes; default: all cores"
    )


def run(args: argparse.Namespace) -> int:
    """Runs the command; see `fma statistics --help`."""
    if args.beam_options:
        from pipelines.runners import validate_runner_options
        from pipelines.runners.options import reject_unknown_options

        reject_unknown_options(args.beam_options)
        validate_runner_options(args.beam_options, [("DATASET", args.dataset)], template=False)
    manifest = load(args.dataset)
    reason = nothing_to_do(args.dataset, manifest)
    if reason:
        console.say(reason)
        return 0
    with locked(args.dataset), console.annotate_os_errors(args.dataset):
        manifest = load(args.dataset)  # again: a writer may have ended before this one got the lock
        _write_statistics(args, manifest)
    return 0


def nothing_to_do(dataset: str, manifest: Manifest) -> str:
    """Why there is nothing to analyse, or "" where there is something."""
    shards = training_shards(manifest)
    if not any(shard.split == "training" for generation in manifest.generations for shard in generation.shards):
        return f"{dataset} has no training split, so it gets no statistics"
    if not shards:
        return f"{dataset} holds {', '.join(manifest.config.features)} only, which needs no statistics"
    have = manifest.transform_fn
    if have is None or have != describe(manifest, have.path):
        return ""
    complete = all(storage.exists(_saved_model(dataset, have.path, kind)) for kind in have.kinds)
    return f"the statistics of {dataset} are up to date: {have.path}" if complete else ""


def training_shards(manifest: Manifest) -> dict[str, list[ShardFile]]:
    """The training shards that the manifest lists, of each kind that has statistics."""
    found = {kind: manifest.shards(kind, "training") for kind in KINDS_WITH_STATISTICS}
    return {kind: shards for kind, shards in found.items() if shards}


def is_training(shard: ShardFile, kind: str) -> bool:
    """Whether a shard's records of the kind are analysed."""
    return (shard.split, shard.kind) == ("training", kind)


def describe(manifest: Manifest, path: str) -> TransformFn:
    """What dataset.json says about the statistics that lie there."""
    kinds = list(training_shards(manifest))
    return TransformFn(path, kinds, manifest.records_digest(kinds, "training"), GRAPH_VERSION)


def folder_name(manifest: Manifest) -> str:
    """The number of generations, then 8 hex digits that are equal for the same training records."""
    text = json.dumps([manifest.config.digest, asdict(describe(manifest, ""))], sort_keys=True)
    return f"{len(manifest.generations):04d}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def _write_statistics(args: argparse.Namespace, manifest: Manifest) -> None:
    name = folder_name(manifest)
    with capture_native_stderr():
        _prepare_tensorflow()
        earlier, new = _analyse(args, manifest, name)
    manifest.transform_fn = describe(manifest, f"{TRANSFORM_FN}/{name}")
    commit(args.dataset, manifest)
    storage.remove_tree(storage.join(args.dataset, "plan", name))
    # Only now: until the commit, readers were told of the old folder.
    for old in set(storage.list_folders(storage.join(args.dataset, TRANSFORM_FN))) - {name}:
        storage.remove_tree(storage.join(args.dataset, TRANSFORM_FN, old))
    kept = f", kept the sums of {_counts(earlier)}" if any(earlier.values()) else ""
    console.say(f"analysed {_counts(new)} records of the training split{kept}: {manifest.transform_fn.path}")


def _analyse(args: argparse.Namespace, manifest: Manifest, name: str) -> tuple[dict[str, int], dict[str, int]]:
    """Writes the graphs; returns the records by kind whose sums were there, and those that were read."""
    from pipelines.runners import progress, with_runner_defaults
    from pipelines.runners.options import beam_options, quiet_beam
    from pipelines.statistics.analyze import AnalysisJob, cache_keys, run_analysis
    from pipelines.statistics.cache import carry_over, load_parts, make_part, reusable

    quiet_beam()
    dataset, kinds = args.dataset, list(training_shards(manifest))
    keys = cache_keys(manifest.config, kinds)
    have = load_parts(dataset, manifest)
    held, uncovered = reusable(have, manifest.generations, keys)
    if len(held) < len(have):
        what = "some of the records" if held else "the records"
        console.log(f"{what} are not those of the last analysis (an update took tracks out, say): they are read again")
    shards = {kind: [shard for one in uncovered for shard in one.shards if is_training(shard, kind)] for kind in kinds}
    new = make_part(shards)
    _remove_left_over(dataset, manifest, name)
    size = sum(shard.bytes for files in shards.values() for shard in files)
    arguments = with_runner_defaults(args.beam_options, dataset, "statistics", name)
    options = beam_options(arguments, size // BYTES_PER_TRACK, args.workers)
    with progress(options, "statistics", sum(new.records.values()), "records") as ticks:
        earlier = carry_over(dataset, held, f"{TRANSFORM_FN}/{name}")
        job = AnalysisJob(dataset, name, manifest.config, tuple(earlier), new, ticks)
        run_analysis(job, shards, keys, options)
    return {kind: sum(part.records.get(kind, 0) for part in earlier) for kind in kinds}, new.records


def _remove_left_over(dataset: str, manifest: Manifest, name: str) -> None:
    """What a killed run left under the name; the graphs alone where the manifest lists it, but some are missing."""
    folder = storage.join(dataset, TRANSFORM_FN, name)
    listed = manifest.transform_fn is not None and manifest.transform_fn.path == f"{TRANSFORM_FN}/{name}"
    graphs = [storage.join(folder, kind) for kind in KINDS_WITH_STATISTICS]
    for left_over in (storage.join(dataset, "plan", name), *(graphs if listed else [folder])):
        storage.remove_tree(left_over)


def _counts(records: dict[str, int]) -> str:
    return ", ".join(f"{count:,} {kind}" for kind, count in records.items())


def _prepare_tensorflow() -> None:
    """Settings that hold in this process and its workers from TensorFlow's import on."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # its start-up notes are not the user's
    os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")  # workers share a GPU, which it would reserve whole


def _saved_model(dataset: str, path: str, kind: str) -> str:
    return storage.join(dataset, path, kind, TRANSFORM_FN, "saved_model.pb")


if __name__ == "__main__":
    # Through the front door and by its name, so that nothing Beam pickles belongs to __main__.
    from fma import main

    sys.exit(main(["statistics", *sys.argv[1:]]))
