"""From a dataset's shards to batches, with tf.data."""

from trainers.data.errors import reading
from trainers.data.pipeline import ahead, count_records, read_split, smaller_batch, steps_per_epoch

__all__ = ["ahead", "count_records", "read_split", "reading", "smaller_batch", "steps_per_epoch"]
