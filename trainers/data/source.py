"""What there is to read: a split's shards and their counts, as dataset.json lists them."""

from transforms import storage
from transforms.dataset.manifest import Manifest, ShardFile
from transforms.errors import FmaError, UsageError
from transforms.tracks import SPLITS


def count_records(manifest: Manifest, kind: str, split: str) -> int:
    """Records of a kind in a split."""
    return sum(shard.records for shard in manifest.shards(kind, split))


def steps_per_epoch(manifest: Manifest, kind: str, split: str, batch_size: int) -> int:
    """Batches that training takes from a split in one epoch; the records left over are not a batch."""
    return count_records(manifest, kind, split) // batch_size


def find_shards(dataset: str, manifest: Manifest, kind: str, split: str) -> list[ShardFile]:
    """The shards of a split, known to be whole as far as their sizes tell; those of an address are not asked.

    Raises:
      UsageError: the dataset has no records of that kind, or none in that split.
      FmaError: a shard is missing or does not have the size that it was written with.
    """
    if not manifest.shards(kind):
        held = ", ".join(name for name in manifest.config.features if manifest.shards(name)) or "nothing"
        raise UsageError(
            f"{dataset} has no {kind} records (it holds {held}): ingest into a new dataset with --features {kind}"
        )
    shards = manifest.shards(kind, split)
    if not any(shard.records for shard in shards):
        counts = ", ".join(f"{name} {count_records(manifest, kind, name):,}" for name in SPLITS)
        raise UsageError(f"{dataset} has no {kind} records in its {split} split (records by split: {counts})")
    if storage.is_local(dataset):
        _check_sizes(dataset, shards)
    return shards


def _check_sizes(dataset: str, shards: list[ShardFile]) -> None:
    # TensorFlow takes a file that ends inside a record's header for one that ends before it, and says nothing.
    for shard in shards:
        path = storage.join(dataset, shard.path)
        try:
            size = storage.size(path)
        except FileNotFoundError as error:
            raise FmaError(f"{path} is missing: run fma verify {dataset}") from error
        if size != shard.bytes:
            raise FmaError(f"{path} has {size:,} bytes, not {shard.bytes:,}: run fma verify {dataset}")
