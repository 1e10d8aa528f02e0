"""`fma embed`: give the tracks of a dataset embeddings by an encoder; only generations that lack them are read."""

import hashlib
import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from subprocess import DEVNULL

from transforms import storage
from transforms.dataset.embeddings import embeddings_path
from transforms.dataset.generation import Generation, ShardFile
from transforms.dataset.growth import locked
from transforms.dataset.leftovers import (
    announce,
    jobs_elsewhere,
    remove_leftovers,
    scratch_folder,
    settle,
)
from transforms.dataset.manifest import Manifest, commit, load
from transforms.encoders.encoder import copy_files, inspect_encoder, on_this_machine, read_facts
from transforms.encoders.facts import NAME, EncoderFacts
from transforms.errors import FmaError, UsageError
from transforms.runtime import children, cores, temporary
from transforms.runtime.os_errors import annotate_os_errors
from transforms.runtime.pool import process_pool
from transforms.runtime.stderr import capture_native_stderr

MODE, WORKERS = "--direct_running_mode", "--direct_num_workers"  # options of Beam's local runner


@dataclass(frozen=True, slots=True)
class EmbedOptions:
    """The options of `fma embed`."""

    dataset: str
    encoder: str  # a name of this program's, or the path of a file or folder
    name: str | None = None  # to give the encoder, or None for its own
    rate: int | None = None  # Hz of the waveform that it takes, where its file does not say it
    workers: int | None = None  # local worker processes, or None for one for each core
    beam_options: tuple[str, ...] = ()  # options that go to Beam


@dataclass(frozen=True, slots=True)
class Outcome:
    """What was done."""

    manifest: Manifest  # as it is now
    facts: EncoderFacts
    new: int  # tracks that were embedded
    kept: int  # that were before


def embed(options: EmbedOptions) -> Outcome:
    """Embed the tracks that have no embeddings by the encoder yet, and commit all of them at once.

    Raises:
      UsageError: there is no dataset, the encoder cannot read it, or it is not the one that its name stands for there.
      FmaError: the encoder or a file of the dataset is damaged, or another command writes to the dataset.
    """
    dataset = options.dataset
    if options.beam_options:
        from pipelines.runners import validate_runner_options

        validate_runner_options(list(options.beam_options), [("DATASET", dataset)], template=False)
    manifest = load(dataset)
    held = manifest.encoders.get(options.name or options.encoder) if _is_name(options.encoder) else None
    if held and not manifest.lacks(held.kind):
        return Outcome(manifest, held, 0, manifest.totals["tracks"])
    with _open(options, held) as path:
        facts = _inspect(path, manifest, options)
        with locked(dataset), annotate_os_errors(dataset):
            manifest = load(dataset)  # again: another command may have been first
            refuse_other(dataset, manifest, facts)
            lacking = [generation for generation in manifest.generations if generation.lacks(facts.kind)]
            new = manifest.lacks(facts.kind)
            if lacking:
                _embed(options, manifest, facts, lacking, path)
    return Outcome(manifest, facts, new, manifest.totals["tracks"] - new)


def refuse_other(dataset: str, manifest: Manifest, facts: EncoderFacts) -> None:
    """Raise a UsageError unless an encoder reads what a dataset holds, and is the one of its name there."""
    if not facts.fits(manifest.config):
        held = ",".join(manifest.config.features)
        raise UsageError(
            f"encoder {facts.name} reads {facts.reads} windows, and {dataset} holds {held}: ingest into a new dataset "
            f"with --features {facts.reads},{held}"
        )
    known = manifest.encoders.get(facts.name)
    different = known.differences(facts) if known else []
    if different:
        raise UsageError(
            f"{dataset} has embeddings by another {facts.name}, whose {'; '.join(different)}: "
            "give this one another --name"
        )


def remove_embeddings(dataset: str, name: str) -> int:
    """Take the embeddings by an encoder out of a dataset; return how many tracks had them.

    Their files stay until the next run that writes, for readers that have them open.

    Raises:
      UsageError: it has none of that name.
    """
    load(dataset)
    with locked(dataset), annotate_os_errors(dataset):
        manifest = load(dataset)
        facts = manifest.encoders.pop(name, None)
        if facts is None:
            raise UsageError(f"{dataset} has no embeddings by {name}: it has {', '.join(manifest.encoders) or 'none'}")
        shards = manifest.shards(facts.kind)
        for generation in manifest.generations:
            generation.shards = [shard for shard in generation.shards if shard.kind != facts.kind]
        job = _job_name(manifest, facts, shards)
        announce(dataset, job, [], replaced=[shard.path for shard in shards])
        commit(dataset, manifest)
        settle(dataset, job, manifest)
    return sum(shard.tracks for shard in shards)


def _is_name(encoder: str) -> bool:
    """Return whether an encoder is given by a name: never by what lies under that name in the current folder."""
    return re.fullmatch(NAME, encoder, re.ASCII) is not None


@contextmanager
def _open(options: EmbedOptions, held: EncoderFacts | None) -> Iterator[str]:
    """Yield the local path of the encoder; of one that has a name here, or is a .keras file, as it is exported.

    What the dataset holds by that name goes on in its version.
    """
    keras = options.encoder.endswith(".keras")
    if not _is_name(options.encoder) and not keras:
        with on_this_machine(options.encoder) as path:
            yield path
        return
    with temporary.new_folder() as folder:
        out = storage.join(folder, "encoder")
        made_for = ["--data", options.dataset, *(["--encoder-version", str(held.version)] if held else [])]
        if keras:
            if options.rate is None:
                raise UsageError(f"{options.encoder} does not say at which rate it hears: give --encoder-rate, in Hz")
            made_for = ["--sample-rate", str(options.rate)]
        words = ["export", "--encoder", options.encoder, *made_for, "--out", out]
        code = children.run_command(*words, stdout=DEVNULL)
        if code:
            raise (UsageError if code == 2 else FmaError)(f"encoder {options.encoder} could not be exported, see above")
        yield out


def _inspect(path: str, manifest: Manifest, options: EmbedOptions) -> EncoderFacts:
    """Return the facts of an encoder; a foreign one is loaded in a process of its own, for TensorFlow's memory."""
    rate = None if options.encoder.endswith(".keras") else options.rate  # its export says it
    inspect = partial(inspect_encoder, config=manifest.config, name=options.name, rate=rate)
    if read_facts(path) is not None:
        return inspect(path)
    with capture_native_stderr(), process_pool(1) as run:
        return next(run(inspect, [path]))


def _embed(
    options: EmbedOptions, manifest: Manifest, facts: EncoderFacts, lacking: list[Generation], path: str
) -> None:
    """Write and commit the embeddings of some generations."""
    from pipelines.embed.beam import EmbedJob, run_embed
    from pipelines.runners import prepare_options
    from pipelines.runners.dataflow import own_folders
    from pipelines.runners.options import LOCAL_RUNNERS, runner_name

    dataset = options.dataset
    sources = [shard for generation in lacking for shard in generation.shards if shard.kind == facts.reads]
    name, tracks = _job_name(manifest, facts, sources), sum(shard.tracks for shard in sources)
    remove_leftovers(dataset, manifest, jobs_elsewhere(dataset) | {name})
    given = complete_options(options, len(sources))
    beam = prepare_options(list(given.beam_options), dataset, "embed", name, tracks=tracks, workers=given.workers)
    written = [embeddings_path(source, facts) for source in sources]
    folders = own_folders(beam, dataset)
    scratch = "" if runner_name(beam) in LOCAL_RUNNERS else scratch_folder(name)
    announce(dataset, name, [*written, *folders, *([f"{scratch}/"] if scratch else [])])
    place = storage.join(dataset, scratch, os.path.basename(path.rstrip("/"))) if scratch else os.path.abspath(path)
    if scratch:  # workers on other machines see the dataset's place, not this one's files
        copy_files(path, place)
    manifest.encoders.setdefault(facts.name, facts)
    with capture_native_stderr():
        job = EmbedJob(dataset=dataset, name=name, schema=manifest.schema, facts=facts, encoder=place)
        made = run_embed(job, sources, beam)
    for generation in lacking:
        found = [made[shard.path] for shard in generation.shards if shard.path in made]
        generation.shards = sorted([*generation.shards, *found], key=lambda shard: shard.path)
    commit(dataset, manifest)
    settle(dataset, name, manifest)


def complete_options(options: EmbedOptions, shards: int) -> EmbedOptions:
    """Return the options with local workers that were not chosen: processes, at most one for each core and shard.

    In a process of its own TensorFlow computes on one thread, whatever else this process has begun with it.
    """
    from pipelines.runners.options import is_local

    given = list(options.beam_options)
    names = {argument.partition("=")[0] for argument in given}
    if not is_local(given):
        return options
    workers = options.workers or (None if WORKERS in names else min(cores(), shards))
    mode = () if MODE in names else (f"{MODE}=multi_processing",)
    return replace(options, workers=workers, beam_options=(*given, *mode))


def _job_name(manifest: Manifest, facts: EncoderFacts, shards: list[ShardFile]) -> str:
    """Return a name for a job's plan, in the form of a generation's: the same for the same work."""
    identity = facts.to_json() | {"license": "", "trained_on": ""}
    text = json.dumps([manifest.config.digest, identity, [[shard.path, shard.sha256] for shard in shards]])
    return f"{len(manifest.generations):04d}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"
