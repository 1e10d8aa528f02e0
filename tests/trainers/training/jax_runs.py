"""Run as a program by test_jax: `fma train --backend jax`, and answers of saved models, in a process of its own.

python -m tests.trainers.training.jax_runs DEVICES train DATASET RUN MODEL   a batch of 8 over all devices
python -m tests.trainers.training.jax_runs 1 answer FILE...                  FILE.jax.npy of the records FILE.npy
"""

import os
import sys


def train(dataset: str, run: str, model: str, devices: int) -> int:
    """One run; returns the exit code."""
    import fma
    from tests.trainers import tiny

    tiny.register()
    words = ["train", model, "--data", dataset, "--run", run, "--backend", "jax", "--device", "cpu"]
    return fma.main([*words, "--batch-size", str(8 // devices)])


def answer(*files: str) -> int:
    """Logits of saved models for records."""
    from trainers.training.devices import import_tensorflow

    import_tensorflow("jax")
    import numpy as np

    from trainers.models.keras_file import load_keras_file

    for file in files:
        records = np.load(f"{file}.npy")
        np.save(f"{file}.jax.npy", np.asarray(load_keras_file(file)(records, training=False)))
    return 0


if __name__ == "__main__":
    devices, what, *words = sys.argv[1:]
    os.environ["XLA_FLAGS"] = f"--xla_force_host_platform_device_count={devices}"
    sys.exit(train(*words, devices=int(devices)) if what == "train" else answer(*words))
