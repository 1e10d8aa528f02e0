"""Keras callbacks of the training loop: the loss is checked, each epoch is committed, progress is shown."""

import math
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from trainers.models.spec import Phase
from trainers.runs.state import RunState, advance, history_columns, history_row, save_state, write_history
from trainers.training import checkpoint
from trainers.training.cluster import ALONE, Cluster
from transforms import storage
from transforms.errors import FmaError
from transforms.runtime import console
from transforms.runtime.console import Progress


class NonFiniteLossGuard(keras.callbacks.Callback):
    """Stops training with an FmaError at the first step whose loss is not a finite number.

    The loss that Keras reports is the mean over the epoch so far; it is NaN or infinite from that step on.

    Args:
      queue_steps: whether a step's result is awaited on another thread, so that an accelerator does not idle. On a CPU
        JAX would have thirty steps in its queue, and the end of an interrupted training would wait for them.
    """

    def __init__(self, run: str, state: RunState, *, queue_steps: bool = True):
        super().__init__()
        self._run, self._epoch, self.async_safe = run, state.epoch, queue_steps

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        self._epoch = epoch

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        loss = (logs or {}).get("loss", 0.0)
        if not math.isfinite(loss):
            raise divergence_error(self._run, self._epoch, f"step {batch + 1} of epoch {self._epoch + 1}")


def divergence_error(run: str, epochs: int, where: str) -> FmaError:
    """Return the error for training that diverged after so many finished epochs; it names what is kept."""
    kept = f"the model up to epoch {epochs} is kept in {run}" if epochs else "no epoch had ended"
    return FmaError(
        f"the loss is not a finite number any more at {where}; {kept}. "
        "Train with a lower --learning-rate in another --run"
    )


class EpochSeed(keras.callbacks.Callback):
    """Begins the augmentation of each epoch with a seed of its own, whether or not training was interrupted before.

    Args:
      seeds: by number of finished epochs.
    """

    def __init__(self, seeds: dict[int, int]):
        super().__init__()
        self._seeds = seeds

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        self.model.augment.reseed(self._seeds[epoch])


class Checkpointer(keras.callbacks.Callback):
    """Commits each epoch to the run directory, keeps the model to keep, and stops where validation says so.

    Args:
      state: at the start; the attribute `state` is the one after the last epoch.
      model: the whole model, for model.keras; the one that is trained may be a part of it.
      chooses: whether validation losses end training and choose the epoch; otherwise the last one's model is kept.
      check_data: returns when what an epoch has read is known to be sound; FmaError where it is not.
      cluster: whose first process commits what all of them have come to.
    """

    def __init__(
        self,
        run: str,
        state: RunState,
        model: keras.Model,
        phase: Phase,
        chooses: bool,
        *,
        check_data: Callable[[], None],
        cluster: Cluster = ALONE,
    ):
        super().__init__()
        self._run, self.state, self._whole, self._phase, self._chooses = run, state, model, phase, chooses
        self._check_data, self._cluster = check_data, cluster

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        logs = logs or {}
        self._check_data()
        self._cluster.wait()  # until the others have checked what they have read
        values = [logs[name] for name in ("loss", "val_loss") if name in logs]
        if not all(map(math.isfinite, values)) or not checkpoint.is_finite(self._whole):
            raise divergence_error(self._run, epoch, f"the end of epoch {epoch + 1}")
        state = advance(self.state, self._phase, logs["val_loss"] if self._chooses else None)
        self.state = replace(state, history=[*state.history, self._row(state.epoch, logs)])
        if self._cluster.leads:
            self._commit()
        self.model.stop_training = self.state.phase_done

    def _commit(self) -> None:
        state = self.state
        improved = state.best_epoch == state.epoch
        checkpoint.write(self._run, state.backup, self._whole, self.model.optimizer, epoch=state.epoch, best=improved)
        save_state(self._run, state)
        write_history(self._run, state.history, self.model.answer.score)
        checkpoint.promote_best(self._run, state)

    def _row(self, epoch: int, logs: dict[str, Any]) -> dict[str, Any]:
        score = self.model.answer.score
        numbers = {name: float(logs[name]) for name in history_columns(score) if name in logs}
        optimizer = self.model.optimizer
        rate = getattr(optimizer, "inner_optimizer", optimizer).learning_rate  # float16 wraps it in a loss scale
        known = {"epoch": epoch, "phase": self._phase.name, "learning_rate": float(np.asarray(rate))}
        return history_row(known | numbers, score)


class EpochTensorBoard(keras.callbacks.Callback):
    """Writes loss and score of each epoch for TensorBoard, to `train` and `validation` below a folder.

    keras.callbacks.TensorBoard also writes each step, for which it waits for the step's result.
    """

    def __init__(self, folder: str, validated: bool):
        super().__init__()
        names = {"": "train"} | ({"val_": "validation"} if validated else {})
        self._writers = {
            prefix: tf.summary.create_file_writer(storage.join(folder, name)) for prefix, name in names.items()
        }

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        for prefix, writer in self._writers.items():
            with writer.as_default():
                for name in ("loss", self.model.answer.score):
                    tf.summary.scalar(name, (logs or {})[prefix + name], step=epoch + 1)
            writer.flush()

    def on_train_end(self, logs: dict | None = None) -> None:
        for writer in self._writers.values():
            writer.close()


class ProgressLogger(keras.callbacks.Callback):
    """Moves the progress bar with each step, and without a terminal writes a line for each epoch.

    Args:
      progress: counts steps.
      epochs: over all phases, at most.
      lines: whether to write lines.
    """

    async_safe = True

    def __init__(self, progress: Progress, epochs: int, lines: bool):
        super().__init__()
        self._progress, self._epochs, self._lines = progress, epochs, lines
        self._start, self._note, self._lock = progress.done, "", threading.Lock()

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        self._start = self._progress.done

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        with self._lock:  # steps may report out of order
            done = self._start + batch + 1
            if done > self._progress.done:
                self._progress.update(done, self._note)

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        logs = logs or {}
        score = self.model.answer.score
        name = score.replace("_", " ")
        losses = f"loss {logs['loss']:.3f}, {name} {logs[score]:.2f}"
        if "val_loss" in logs:
            losses += f", validation loss {logs['val_loss']:.3f}, {name} {logs[f'val_{score}']:.2f}"
        self._note = f"epoch {epoch + 1} of {self._epochs}: {losses}"
        self._progress.update(self._progress.done, self._note)
        if self._lines:
            console.log(self._note)
