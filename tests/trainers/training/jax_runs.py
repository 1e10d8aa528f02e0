"""Run as a program by tests: commands with `--backend jax`, and answers of saved models, in a process of its own.

python -m tests.trainers.training.jax_runs DEVICES fma WORD...   a command, on so many devices
python -m tests.trainers.training.jax_runs 1 answer FILE...      FILE.jax.npy of the records FILE.npy
python -m tests.trainers.training.jax_runs 1 queue               exits with 0 where steps are queued as they should be
python -m tests.trainers.training.jax_runs DEVICES batches DATASET FILE PROCESSES PROCESS COORDINATOR
"""

import hashlib
import json
import os
import sys
from pathlib import Path


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


def queue() -> int:
    """Whether the results of steps are awaited on another thread, and not where that is switched off."""
    from trainers.training.devices import import_tensorflow

    import_tensorflow("jax")
    import threading

    import keras
    import numpy as np

    from trainers.runs.state import RunState
    from trainers.training.callbacks import NonFiniteLossGuard

    class Recorder(keras.callbacks.Callback):
        async_safe = True

        def on_train_batch_end(self, batch, logs=None):
            on_main.append(threading.current_thread() is threading.main_thread())

    on_main: list[bool] = []
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile(loss="mse")
    for queue_steps in (True, False):
        callbacks = [NonFiniteLossGuard("run", RunState(), queue_steps=queue_steps), Recorder()]
        model.fit(np.zeros((4, 2)), np.zeros((4, 1)), verbose=0, callbacks=callbacks)
    return int(on_main != [False, True])


def batches(dataset: str, file: str, processes: str, process: str, coordinator: str) -> int:
    """A digest of each record of an epoch, as JSON: a list for each batch of eight, over all processes."""
    from trainers.training.cluster import Membership, join
    from trainers.training.devices import import_tensorflow, open_device

    with join(Membership(coordinator, int(processes), int(process))) as cluster:
        import_tensorflow("jax")
        from trainers.data.examples import record_examples
        from trainers.data.inputs import Inputs
        from trainers.models.spec import Phase
        from trainers.training.objective import count_by_label
        from transforms.dataset.manifest import load

        device, manifest = open_device("cpu", "jax", cluster), load(dataset)
        inputs, counts = Inputs(dataset, manifest, "mel", cluster=cluster), count_by_label(dataset, manifest, "mel")
        phase = Phase("train", 1, 0.01)
        examples = record_examples(inputs, phase, 8, counts, seeds=[3], reproducible=True, replicas=device.replicas)
        found = []
        for batch in examples.training.as_numpy_iterator():
            own = [hashlib.sha256(record.tobytes()).hexdigest() for record in batch["input"]]
            found.append([digest for part in cluster.gather(json.dumps(own).encode()) for digest in json.loads(part)])
        Path(file).write_text(json.dumps(found))
    return 0


if __name__ == "__main__":
    devices, what, *words = sys.argv[1:]
    os.environ["XLA_FLAGS"] = f"--xla_force_host_platform_device_count={devices}"
    sys.exit({"fma": command, "answer": answer, "queue": queue, "batches": batches}[what](*words))
