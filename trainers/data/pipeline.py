"""tf.data pipelines: shards -> serialized records -> (cache) -> (shuffle) -> batches -> tensors."""

import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from trainers.data.portions import WHOLE, Portion, Share, divide
from trainers.data.selection import Selection
from trainers.data.targets import Targets
from transforms import storage
from transforms.dataset.generation import ShardFile
from transforms.dataset.manifest import Manifest
from transforms.errors import FmaError, UsageError
from transforms.records import parse_example
from transforms.runtime.invocation import command_line
from transforms.tracks import SPLITS

if TYPE_CHECKING:
    import tensorflow as tf


Cache = Literal["auto", "on", "off"]

CACHE_SHARE = 1 / 3
"""Of the free memory, for one split: training and validation may both be cached and leave room for the model."""

SHUFFLE_SHARE = 1 / 8  # of the free memory, for records that wait to be drawn
MIN_SHUFFLE = 256  # records that are shuffled among each other even where memory is short

_CGROUPS = (
    ("sys/fs/cgroup/memory.max", "sys/fs/cgroup/memory.current", "sys/fs/cgroup/memory.stat"),
    (
        "sys/fs/cgroup/memory/memory.limit_in_bytes",
        "sys/fs/cgroup/memory/memory.usage_in_bytes",
        "sys/fs/cgroup/memory/memory.stat",
    ),
)
"""(limit, use, details) of this process's control group, version 2 and 1."""

PARALLEL_SHARDS = 16  # shards that are read at once. A constant, since the order of an evaluation depends on it
REMOTE_BUFFER = 8 << 20  # bytes for each request to an address, where each has to wait for its answer


@dataclass(frozen=True, slots=True)
class ReadOptions:
    """How a split is read."""

    batch_size: int  # records in a batch, over all replicas of this process
    # records in an order of their own in each epoch, and full batches only. Otherwise every record exactly once, in
    # the same order every time, and a last batch that may be smaller.
    training: bool = False
    seeds: Sequence[int] = (0,)  # of the order, one for each epoch that is read. Training only.
    shuffle: bool = True  # False: shards and records in no particular order, but not shuffled. Training only.
    # an epoch's seed alone gives its order, where otherwise the record that is ready first comes first
    reproducible: bool = False
    # keep the records in memory from the first epoch on; "auto" decides from the manifest's bytes
    cache: Cache = "auto"
    pad: bool = False  # fill up the last batch with zeros, so that shapes are static; adds `weight`. Evaluation only.
    share: Share = WHOLE  # what this process reads, in as many batches as there are of every other share
    targets: Targets | None = None  # of tracks with many genres each; None: of tracks with one label each
    selection: Selection | None = None  # the tracks of the split, by one process; None: those of the dataset's own


def count_records(manifest: Manifest, kind: str, split: str, labels: str = "top") -> int:
    """Count the records of a kind in a split, of tracks as in `transforms.tracks.LABELS`."""
    return sum(shard.records for shard in manifest.shards(kind, split, labels))


def find_shards(dataset: str, manifest: Manifest, kind: str, split: str | None, labels: str = "top") -> list[ShardFile]:
    """Return the shards of a split or of all, of tracks as in `LABELS`; where they are local, their sizes are right.

    Raises:
      UsageError: the dataset has no records of that kind, or none in that split.
      FmaError: a shard is missing or does not have the size that it was written with.
    """
    if not manifest.shards(kind):
        held = ", ".join(name for name in manifest.config.features if manifest.shards(name)) or "nothing"
        raise UsageError(
            f"{dataset} has no {kind} records (it holds {held}): ingest into a new dataset with --features {kind}"
        )
    shards = manifest.shards(kind, split, labels)
    if not any(shard.records for shard in shards):
        counts = ", ".join(f"{name} {count_records(manifest, kind, name, labels):,}" for name in SPLITS)
        where = f"in its {split} split" if split else "of tracks with labels"
        raise UsageError(f"{dataset} has no {kind} records {where} (records by split: {counts})")
    if storage.is_local(dataset):
        _check_sizes(dataset, shards)
    return shards


def _check_sizes(dataset: str, shards: list[ShardFile]) -> None:
    # TensorFlow takes a file that ends inside a record's header for one that ends before it, without an error.
    for shard in shards:
        path = storage.join(dataset, shard.path)
        try:
            size = storage.size(path)
        except FileNotFoundError as error:
            raise FmaError(f"{path} is missing: run {command_line('verify', dataset)}") from error
        if size != shard.bytes:
            raise FmaError(f"{path} has {size:,} bytes, not {shard.bytes:,}: run {command_line('verify', dataset)}")


@dataclass(frozen=True, slots=True)
class Budget:
    """Whether to cache a split, and the records in the shuffle buffer (0: no shuffling)."""

    cache: bool
    shuffle: int


def plan_memory(records: int, size: int, memory: int, cache: Cache, shuffle: bool) -> Budget:
    """Decide what of a split to keep in memory.

    Args:
      size: bytes of the split's shards.
      memory: free bytes.
      cache: "auto" caches a split that fits into its share of the memory.
      shuffle: whether records are shuffled: all of them among each other where the split is cached (the buffer then
        holds the cache's own bytes) or fits, else as many as fit.
    """
    cached = cache == "on" or (cache == "auto" and size <= memory * CACHE_SHARE)
    if not shuffle:
        return Budget(cached, 0)
    fit = int(memory * SHUFFLE_SHARE * records / max(1, size))
    return Budget(cached, records if cached else min(records, max(MIN_SHUFFLE, fit)))


def available_memory(root: str = "/") -> int:
    """Return the bytes that this process can still take: the kernel's MemAvailable, within its control group's limit.

    `root` is the folder that holds proc/ and sys/.
    """
    amounts = [_control_group(root, *names) for names in _CGROUPS]
    amounts += [int(kb) * 1024 for kb in re.findall(r"(?m)^MemAvailable: +(\d+)", _read_text(root, "proc/meminfo"))]
    # Where there is neither (macOS), half of what is built in.
    installed = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min((amount for amount in amounts if amount is not None), default=installed // 2)


def _read_text(root: str, name: str) -> str:
    try:
        with open(os.path.join(root, name), encoding="ascii") as file:
            return file.read()
    except FileNotFoundError:
        return ""


def _control_group(root: str, limit_name: str, use_name: str, stat_name: str) -> int | None:
    limit, use = _read_text(root, limit_name).strip(), _read_text(root, use_name).strip()
    if not limit.isdigit() or not use.isdigit():
        return None  # no such group, or "max"
    fields = dict(line.split(maxsplit=1) for line in _read_text(root, stat_name).splitlines())
    # File pages that nobody uses are counted as used, and are given up when memory is asked for.
    idle = int(fields.get("total_inactive_file", fields.get("inactive_file", 0)))
    return max(0, int(limit) - max(0, int(use) - idle))


def read_split(dataset: str, manifest: Manifest, kind: str, split: str, options: ReadOptions) -> "tf.data.Dataset":
    """Return a split as batches; iterate inside `check_shards`, which names a damaged shard.

    With `targets`, these are the records of all tracks with genres, and a record's label is its track's row in them.

    Returns:
      dicts of {kind: [batch, *shape] in the kind's dtype; label, track_id, window: int64 [batch]}; with `pad` also
      weight: float32 [batch], 1 for a record and 0 for padding. Finite, of known cardinality: one epoch, or for
      training as many as are wanted.

    With fewer records than a batch for training, they are repeated; see `fit_batch`.

    Raises:
      UsageError: no such records.
      FmaError: a shard is missing or has another size than dataset.json says.
    """
    batch_size, training, chosen = options.batch_size, options.training, options.selection
    shards = find_shards(dataset, manifest, kind, None if chosen else split, "all" if options.targets else "top")
    processes = options.share.processes
    total = sum(shard.records for shard in shards)
    # With fewer records than processes, each repeats them all.
    portions = divide(shards, WHOLE if training and total < processes else options.share)
    records, size = sum(portion.records for portion in portions), sum(portion.bytes for portion in portions)
    if chosen:
        records, size, total = chosen.count, size * chosen.count // records, chosen.count
    steps = max(1, total // (batch_size * processes)) if training else -(-total // (batch_size * processes))
    shuffle, ordered = training and options.shuffle, options.reproducible or not training
    budget = plan_memory(records, size, available_memory(), options.cache, shuffle)
    # Where not all records are shuffled among each other, the shards are shuffled, too.
    shuffle_shards = 0 < budget.shuffle < records
    cached = read_serialized(dataset, portions, ordered=ordered, selection=chosen).cache() if budget.cache else None

    def read_epoch(seed: "tf.Tensor | None") -> "tf.data.Dataset":
        serialized = cached
        if serialized is None:
            order = seed if shuffle_shards else None
            serialized = read_serialized(dataset, portions, order, ordered=ordered, selection=chosen)
        if budget.shuffle:
            serialized = shuffle_records(serialized, budget.shuffle, seed)
        if training:
            serialized = fill_batch(serialized, records, batch_size)
        # Parsed before epochs are put together: batches are out of order where the first that is ready comes first.
        serialized = serialized.batch(batch_size, drop_remainder=training)
        if training and records // batch_size > steps:
            serialized = serialized.take(steps)
        return parse(serialized, manifest, kind, ordered, options.targets)

    batches = concatenate_epochs(read_epoch, options.seeds, steps) if training else read_epoch(None)
    if options.pad and not training:
        batches = add_empty(batches.map(lambda batch: pad_batch(batch, batch_size)), steps - -(-records // batch_size))
    return prefetch(batches)


def draw_rows(records: int, batch_size: int, seeds: Sequence[int]) -> "tf.data.Dataset":
    """Return batches of record numbers, int64 [batch]: the order of `read_split` for training, where it caches a split.

    Args:
      seeds: of the order, one for each epoch.
    """
    import tensorflow as tf

    def draw_epoch(seed: "tf.Tensor") -> "tf.data.Dataset":
        rows = shuffle_records(tf.data.Dataset.range(records), records, seed)
        return fill_batch(rows, records, batch_size).batch(batch_size, drop_remainder=True)

    return prefetch(concatenate_epochs(draw_epoch, seeds, max(1, records // batch_size)))


def concatenate_epochs(
    read_epoch: Callable[["tf.Tensor"], "tf.data.Dataset"], seeds: Sequence[int], elements: int
) -> "tf.data.Dataset":
    """Return epochs one after the other, each from its own seed alone: whichever is the first, they are the same.

    Args:
      read_epoch: a seed, int64 [] -> the elements of an epoch.
      elements: in an epoch.
    """
    import tensorflow as tf

    def read_seeded(seed: "tf.Tensor") -> "tf.data.Dataset":
        # Of this graph: where it is 0, tf.data compares the other seed with 0, too, which is a tensor here.
        tf.random.set_seed(1)
        return read_epoch(seed)

    epochs = tf.data.Dataset.from_tensor_slices(np.array(seeds, np.int64)).flat_map(read_seeded)
    return epochs.apply(tf.data.experimental.assert_cardinality(len(seeds) * elements))


def fit_batch(examples: int, batch_size: int, replicas: int) -> int:
    """Return the examples in a batch for training, over all replicas: an equal share for each, and no empty one.

    Where there are fewer examples than a batch, that is as many as can be shared equally; where there are fewer than
    replicas, one for each, and `fill_batch` repeats examples.

    Args:
      batch_size: examples that are wanted in a batch, over all replicas.
    """
    return max(1, min(examples, batch_size) // replicas) * replicas


def padded_batch(examples: int, batch_size: int, replicas: int) -> int:
    """Return the size of a batch for evaluation, over all replicas: with few examples no more than they fill."""
    return min(batch_size, -(-examples // replicas) * replicas)


def fill_batch(examples: "tf.data.Dataset", count: int, batch_size: int) -> "tf.data.Dataset":
    """Return an epoch with at least one full batch: fewer examples than that come several times."""
    return examples if count >= batch_size else examples.repeat(-(-batch_size // count))


def read_serialized(
    dataset: str,
    portions: list[Portion],
    seed: "int | tf.Tensor | None" = None,
    *,
    ordered: bool,
    selection: Selection | None = None,
) -> "tf.data.Dataset":
    """Read the serialized records of portions of shards, from several shards at once.

    Args:
      seed: of the order of the portions; None for that of the list.
      ordered: the same order of records every time, for the same order of portions.
      selection: of tracks whose records are kept; None: all are.

    Returns:
      string []; fails at its end where the number of records is not what dataset.json says.
    """
    import tensorflow as tf

    paths = [storage.join(dataset, portion.shard.path) for portion in portions]
    bounds = np.array([(portion.start, portion.length) for portion in portions], np.int64)
    files = tf.data.Dataset.from_tensor_slices((paths, bounds[:, 0], bounds[:, 1]))
    if seed is not None:
        files = files.shuffle(len(portions), seed=seed, reshuffle_each_iteration=False)
    buffer = None if storage.is_local(dataset) else REMOTE_BUFFER

    def read(path: "tf.Tensor", start: "tf.Tensor", length: "tf.Tensor") -> "tf.data.Dataset":
        records = tf.data.TFRecordDataset(path, buffer_size=buffer).skip(start).take(length)
        return records.filter(lambda record: is_of(selection.track_id, record)) if selection else records

    serialized = files.interleave(
        read,
        cycle_length=min(len(portions), PARALLEL_SHARDS),
        num_parallel_calls=tf.data.AUTOTUNE,
        deterministic=ordered,
    )
    count = selection.count if selection else sum(portion.records for portion in portions)
    return serialized.apply(tf.data.experimental.assert_cardinality(count))


def is_of(track_id: np.ndarray, serialized: "tf.Tensor") -> "tf.Tensor":
    """Return whether a serialized record is of one of the tracks, bool []; their ids are int64, ascending."""
    import tensorflow as tf

    found = tf.io.parse_single_example(serialized, {"track_id": tf.io.FixedLenFeature([1], tf.int64)})["track_id"]
    first, behind = (tf.searchsorted(track_id, found, side) for side in ("left", "right"))
    return behind[0] > first[0]


def shuffle_records(serialized: "tf.data.Dataset", buffer: int, seed: "int | tf.Tensor") -> "tf.data.Dataset":
    """Shuffle records, so many of them at a time among each other."""
    return serialized.shuffle(buffer, seed=seed + 1, reshuffle_each_iteration=False)


def parse(
    batches: "tf.data.Dataset", manifest: Manifest, kind: str, ordered: bool, targets: Targets | None = None
) -> "tf.data.Dataset":
    """Parse batches of serialized records into dicts of tensors; see `read_split`."""
    import tensorflow as tf

    def to_tensors(serialized: "tf.Tensor") -> dict[str, "tf.Tensor"]:
        parsed = parse_example(kind, manifest.config, serialized)
        found = {key: parsed[key] for key in (kind, "label", "track_id", "window")}
        return found if targets is None else found | {"label": find_rows(targets, found["track_id"])}

    return batches.map(to_tensors, num_parallel_calls=tf.data.AUTOTUNE, deterministic=ordered)


def find_rows(targets: Targets, track_id: "tf.Tensor") -> "tf.Tensor":
    """Return the rows of a batch's tracks, int64 [batch]; as `Targets.rows`."""
    import tensorflow as tf

    rows = tf.searchsorted(targets.track_id, track_id, out_type=tf.int64)
    tf.debugging.assert_equal(tf.gather(targets.track_id, rows), track_id)
    return rows


def pad_batch(batch: dict[str, "tf.Tensor"], batch_size: int) -> dict[str, "tf.Tensor"]:
    """Pad a batch to a static size with zeros, and add `weight`: float32 [batch_size], 0 for padding."""
    import tensorflow as tf

    count = tf.shape(batch["label"])[0]
    found = {}
    for key, value in batch.items():
        padded = tf.pad(value, [[0, batch_size - count], *([[0, 0]] * (value.shape.rank - 1))])
        found[key] = tf.ensure_shape(padded, [batch_size, *value.shape[1:]])
    return found | {"weight": tf.cast(tf.range(batch_size) < count, tf.float32)}


def add_empty(batches: "tf.data.Dataset", count: int) -> "tf.data.Dataset":
    """Add so many batches of padding only: where the other shares have more batches, this one takes as many steps."""
    import tensorflow as tf

    if not count:
        return batches
    empty = {name: tf.zeros(spec.shape, spec.dtype) for name, spec in batches.element_spec.items()}
    return batches.concatenate(tf.data.Dataset.from_tensors(empty).repeat(count))


def prefetch(batches: "tf.data.Dataset") -> "tf.data.Dataset":
    """End a pipeline: batches are made in advance, with the options of every pipeline."""
    import tensorflow as tf

    return batches.prefetch(tf.data.AUTOTUNE).with_options(pipeline_options())


def pipeline_options() -> "tf.data.Options":
    """Return the options of every pipeline.

    tf.data's autotuning is off: AUTOTUNE stands for a number that depends on the cores. Where it is on, an iterator has
    a thread that looks at it after 10 ms, 20 ms, 40 ms and so on up to a minute, and an iterator that is done sometimes
    waits for the next look: some epochs of 13 s took 20.5 s (TensorFlow 2.21; docs/performance.md).
    """
    import tensorflow as tf

    found = tf.data.Options()
    found.autotune.enabled = False
    # By records: by files, a process would not see the number of records that dataset.json promises.
    found.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.DATA
    return found
