"""Run as a program by tests: commands with `--backend jax`, and answers of saved models, in a process of its own.

python -m tests.trainers.training.jax_runs DEVICES fma WORD...   a command, on so many devices
python -m tests.trainers.training.jax_runs 1 answer FILE...      FILE.jax.npy of the records FILE.npy
"""

import os
import sys


def command(*words: str) -> int:
    """A command that knows the tiny models; returns the exit code."""
    import fma
    from tests.trainers import tiny

    tiny.register()
    return fma.main([*words, "--backend", "jax", "--device", "cpu"])


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
    sys.exit(command(*words) if what == "fma" else answer(*words))
