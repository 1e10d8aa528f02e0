"""From a dataset's shards to batches, with tf.data."""

from trainers.data.faults import reading
from trainers.data.pipeline import ahead, read_split, smaller_batch
from trainers.data.source import count_records, steps_per_epoch

__all__ = ["ahead", "count_records", "read_split", "reading", "smaller_batch", "steps_per_epoch"]
