"""Run directories: config and state, predictions, and the normalisation graph that a run carries."""
