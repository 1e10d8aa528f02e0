"""tf.data pipelines: shards -> serialized records -> (cache) -> (shuffle) -> batches -> tensors.

Records are batched as bytes and parsed by the batch: a payload is copied once, into its place in the batch. Against
parsing one by one that takes three quarters of the CPU time for mel, half for statistics, and the same for raw.
"""

from typing import TYPE_CHECKING

from trainers.data.budget import Budget, Cache, available_memory, plan_memory
from trainers.data.source import find_shards
from transforms import storage
from transforms.dataset.manifest import Manifest, ShardFile
from transforms.errors import UsageError
from transforms.records.schema import parse_example

if TYPE_CHECKING:
    import tensorflow as tf

PARALLEL_SHARDS = 16
"""Shards that are read at once. A constant, since the order of an evaluation depends on it."""

REMOTE_BUFFER = 8 << 20
"""Bytes that are asked for at once from an address, where each request has to wait for its answer."""


def read_split(
    dataset: str,
    manifest: Manifest,
    kind: str,
    split: str,
    batch_size: int,
    *,
    training: bool = False,
    seed: int = 0,
    cache: Cache = "auto",
    shuffle: bool = True,
    reproducible: bool = False,
    pad: bool = False,
    prefetch: int | None = None,
    memory: int | None = None,
    replicas: int = 1,
) -> "tf.data.Dataset":
    """One epoch of a split as batches; iterate inside `reading`, which names a damaged shard.

    Training: shards and records in a new order every epoch, and full batches only: `steps_per_epoch` of them.
    Otherwise: every record exactly once, in the same order every time, and a last batch that may be smaller.

    Args:
      dataset: local path or gs:// address.
      manifest: the dataset's.
      kind: feature kind to read.
      split: one of `SPLITS`.
      batch_size: records in a batch, over all replicas.
      training: as above.
      seed: of the order; to go on after epoch n, give a seed that depends on n.
      cache: keep the records in memory from the first epoch on; "auto" decides from the manifest's bytes.
      shuffle: False: shards and records in no particular order, but not shuffled. Training only.
      reproducible: the seed alone gives the order, where otherwise the record that is ready first comes first.
      pad: fill up the last batch with zeros, so that shapes are static; adds `weight`, see below. Evaluation only.
      prefetch: see `ahead`.
      memory: free bytes to plan with, instead of asking this machine.
      replicas: that share a batch; for the advice where there are too few records.

    Returns:
      dicts of {kind: [batch, *shape] in the kind's dtype; label, track_id, window: int64 [batch]}; with `pad` also
      weight: float32 [batch], 1 for a record and 0 for what fills up. Finite, of known cardinality.

    Raises:
      UsageError: no such records, or fewer than one batch for training.
      FmaError: a shard is missing or has another size than dataset.json says.
    """

    shards = find_shards(dataset, manifest, kind, split)
    records, size = sum(shard.records for shard in shards), sum(shard.bytes for shard in shards)
    if training and records < batch_size:
        raise UsageError(
            f"{dataset} has {records:,} {kind} records for {split}, fewer than a batch of {batch_size:,}: "
            f"{smaller_batch(records, replicas)}"
        )
    memory = available_memory() if memory is None else memory
    budget = plan_memory(records, size, memory, cache, training and shuffle)
    ordered = reproducible or not training
    serialized = arrange(read_serialized(dataset, shards, seed, training and shuffle, ordered), budget, seed)
    batches = parse(serialized.batch(batch_size, drop_remainder=training), manifest, kind, ordered)
    if pad and not training:
        batches = batches.map(lambda batch: fill_up(batch, batch_size))
    return ahead(batches, prefetch)


def smaller_batch(examples: int, replicas: int) -> str:
    """Advice where there are fewer examples than a batch has; the option counts those of one replica."""
    if examples < replicas:
        return f"use fewer than {replicas} devices"
    return f"use --batch-size {examples // replicas} or less"


def read_serialized(
    dataset: str, shards: list[ShardFile], seed: int, shuffle: bool, ordered: bool
) -> "tf.data.Dataset":
    """The shards' records as they stand in the files, from several shards at once.

    Args:
      dataset: local path or gs:// address.
      shards: what to read.
      seed: of the shards' order.
      shuffle: take the shards in a new order every epoch.
      ordered: the same order of records every time, for the same order of shards.

    Returns:
      string []; fails at its end where the number of records is not what dataset.json says.
    """
    import tensorflow as tf

    paths = tf.data.Dataset.from_tensor_slices([storage.join(dataset, shard.path) for shard in shards])
    if shuffle:
        paths = paths.shuffle(len(shards), seed=seed, reshuffle_each_iteration=True)
    buffer = None if storage.is_local(dataset) else REMOTE_BUFFER
    serialized = paths.interleave(
        lambda path: tf.data.TFRecordDataset(path, buffer_size=buffer),
        cycle_length=min(len(shards), PARALLEL_SHARDS),
        num_parallel_calls=tf.data.AUTOTUNE,
        deterministic=ordered,
    )
    return serialized.apply(tf.data.experimental.assert_cardinality(sum(shard.records for shard in shards)))


def arrange(serialized: "tf.data.Dataset", budget: Budget, seed: int) -> "tf.data.Dataset":
    """Caches and shuffles as the budget says; the order is new every epoch, also from the cache."""
    if budget.cache:
        serialized = serialized.cache()
    if budget.shuffle:
        serialized = serialized.shuffle(budget.shuffle, seed=seed + 1, reshuffle_each_iteration=True)
    return serialized


def parse(batches: "tf.data.Dataset", manifest: Manifest, kind: str, ordered: bool) -> "tf.data.Dataset":
    """Batches of serialized records as dicts of tensors; see `read_split`."""
    import tensorflow as tf

    def to_tensors(serialized: "tf.Tensor") -> dict[str, "tf.Tensor"]:
        parsed = parse_example(kind, manifest.config, serialized)
        return {key: parsed[key] for key in (kind, "label", "track_id", "window")}

    return batches.map(to_tensors, num_parallel_calls=tf.data.AUTOTUNE, deterministic=ordered)


def fill_up(batch: dict[str, "tf.Tensor"], batch_size: int) -> dict[str, "tf.Tensor"]:
    """A batch of static size, filled up with zeros, and `weight`: float32 [batch_size], 0 for what was added."""
    import tensorflow as tf

    count = tf.shape(batch["label"])[0]
    filled = {}
    for key, value in batch.items():
        padded = tf.pad(value, [[0, batch_size - count], *([[0, 0]] * (value.shape.rank - 1))])
        filled[key] = tf.ensure_shape(padded, [batch_size, *value.shape[1:]])
    return filled | {"weight": tf.cast(tf.range(batch_size) < count, tf.float32)}


def ahead(batches: "tf.data.Dataset", prefetch: int | None = None) -> "tf.data.Dataset":
    """The end of every pipeline: batches are made in advance, `prefetch` of them or as many as it takes."""
    import tensorflow as tf

    return batches.prefetch(tf.data.AUTOTUNE if prefetch is None else prefetch).with_options(options())


def options() -> "tf.data.Options":
    """Of every pipeline.

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
