"""Full-pass statistics of the training split, by tensorflow_transform."""
