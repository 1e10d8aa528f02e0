"""What a run's mel records are normalised by: statistics of the dataset, or of the training tracks of a fold."""

import numpy as np

from trainers.data.inputs import Inputs
from trainers.data.shard_check import check_shards
from trainers.runs.normalization import find_normalization, has_normalization, load_normalization
from transforms.dataset.normalization import Normalization
from transforms.runtime import console

READ_AT_ONCE = 64  # records


def choose_normalization(run: str, inputs: Inputs) -> Normalization | None:
    """Return what a run normalises its training records by; None for another kind than mel.

    Raises:
      UsageError: the dataset has no statistics.
      FmaError: a file is damaged.
    """
    if inputs.kind != "mel":
        return None
    if inputs.splits:
        return measure_mel(inputs)
    if has_normalization(run):
        return load_normalization(run, inputs.manifest.config)
    return find_normalization(inputs.dataset, inputs.manifest, inputs.kind)


def measure_mel(inputs: Inputs) -> Normalization:
    """Return mean and deviation (1 where it is 0) of each band over the training records, in dB.

    They are those of `fma statistics`, from sums of whole numbers.

    Raises:
      FmaError: a shard is not what was written.
    """
    config, count = inputs.manifest.config, inputs.count("training")
    sums, squares = np.zeros(config.n_mels, np.int64), np.zeros(config.n_mels, np.int64)
    with (
        console.progress("statistics of training", count, "records") as progress,
        check_shards(inputs.dataset, inputs.shards("training"), inputs.checked),
    ):
        for batch in inputs.read("training", min(READ_AT_ONCE, count)):
            steps = batch["input"].numpy().astype(np.int64)  # padding is 0, and adds nothing
            sums += steps.sum(axis=(0, 2))
            squares += np.einsum("bmf,bmf->m", steps, steps)
            progress.advance(int(batch["weight"].numpy().sum()))
    values = count * config.window_frames
    # Python's whole numbers: the products are too large for 64 bits.
    scatter = [values * square - one * one for one, square in zip(sums.tolist(), squares.tolist(), strict=True)]
    deviation = np.sqrt(np.array(scatter, np.float64)) / values * config.db_step
    mean = sums / values * config.db_step + config.db_min
    dtype = np.float32
    return Normalization("mel", mean.astype(dtype), np.where(deviation > 0, deviation, 1).astype(dtype))
