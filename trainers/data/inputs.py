"""The records of a dataset that a model is trained or scored on."""

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from trainers.data.pipeline import Cache, ReadOptions, count_records, prefetch, read_split
from trainers.data.portions import Portion, divide
from trainers.data.selection import Splits
from trainers.data.targets import Targets
from trainers.training.cluster import ALONE, Cluster
from transforms.dataset.generation import ShardFile
from transforms.dataset.manifest import Manifest

if TYPE_CHECKING:
    import tensorflow as tf


@dataclass(frozen=True)
class Inputs:
    """The records of a kind in a dataset, for a model that takes them as they are stored."""

    dataset: str
    manifest: Manifest
    kind: str
    # of tracks with many genres each: the label of a record is then its track's row there; None for one label a track
    targets: Targets | None = None
    # paths of shards that were compared with their checksums; see `trainers.data.shard_check`
    checked: set[str] = field(default_factory=set, compare=False)
    cluster: Cluster = ALONE  # each of its processes reads a share of a split
    splits: Splits | None = None  # in place of the dataset's own, for one process and one label a track

    @property
    def labels(self) -> str:
        """Which tracks are read, a key of `transforms.tracks.LABELS`."""
        return "all" if self.targets else "top"

    @property
    def classes(self) -> int:
        """How many genres there are to predict."""
        return len(self.targets.genres if self.targets else self.manifest.labels)

    def count(self, split: str) -> int:
        """Count the records of a split."""
        return self.splits[split].count if self.splits else count_records(self.manifest, self.kind, split, self.labels)

    def count_share(self, split: str) -> int:
        """Count those that this process reads."""
        return self.count(split) if self.splits else sum(portion.records for portion in self.portions(split))

    def shards(self, split: str) -> list[ShardFile]:
        """Return the shards that this process reads for a split."""
        return [portion.shard for portion in self.portions(split)]

    def portions(self, split: str) -> list[Portion]:
        """Return the parts of shards that this process reads for a split."""
        shards = self.manifest.shards(self.kind, None if self.splits else split, self.labels)
        return divide(shards, self.cluster.share) if shards else []

    def read_split(self, split: str, options: ReadOptions) -> "tf.data.Dataset":
        """Return a split as batches, see `trainers.data.pipeline.read_split`; the record is under the key `input`."""
        selection = self.splits[split] if self.splits else None
        options = replace(options, targets=self.targets, selection=selection)
        batches = read_split(self.dataset, self.manifest, self.kind, split, options)
        return batches.map(lambda batch: {"input" if key == self.kind else key: batch[key] for key in batch})

    def read(self, split: str, batch_size: int, cache: Cache = "off") -> "tf.data.Dataset":
        """Return every record of a split once, always in the same order, in padded batches of one size.

        In a cluster, these are the records of this process's share, in as many batches as every other has.

        Returns:
          dicts of {input: [batch, ...] in the kind's dtype; label, track_id, window: int64 [batch]; weight: float32
          [batch], 0 for padding in the last batch}.
        """
        options = ReadOptions(batch_size, pad=True, cache=cache, share=self.cluster.share)
        return prefetch(self.read_split(split, options))
