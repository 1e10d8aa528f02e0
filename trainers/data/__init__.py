"""Input of the trainers: tf.data pipelines from a dataset's shards to batches, augmentation, training examples."""
