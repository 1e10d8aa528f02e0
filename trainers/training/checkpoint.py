"""Checkpoints: weights, optimizer state and random state that the next epoch starts from, and the best model.

An epoch writes its files to a folder of its own below `backup/`. They count from the moment when state.json names that
folder; `promote_best` then copies the best model to model.keras and removes the folders that are not named, so that it
does not matter when a run is killed.
"""

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np

from trainers.runs.directory import ARRAYS, BACKUP, BEST, MODEL, RunState, backup_files
from transforms import storage
from transforms.errors import FmaError
from transforms.runtime import temporary

if TYPE_CHECKING:
    import keras


def write(run: str, name: str, model: "keras.Model", optimizer: "keras.Optimizer", best: bool) -> None:
    """Write the state after an epoch to `backup/<name>`; it counts once state.json names it.

    Args:
      model: the whole model; the state of its random generators is among its variables.
      optimizer: after the epoch's last step.
      best: whether to save the model itself, too.
    """
    folder = storage.join(run, BACKUP, name)
    path = storage.join(folder, ARRAYS)
    staged = storage.staging_path(path)
    with open(staged, "wb") as file:
        np.savez(file, *(np.asarray(variable) for variable in [*model.variables, *optimizer.variables]))
    storage.publish(staged, path)
    if best:
        storage.write_bytes(storage.join(folder, BEST), model_bytes(model))


def restore(run: str, state: RunState, model: "keras.Model", optimizer: "keras.Optimizer") -> None:
    """Set the variables to what they were after the last finished epoch; the optimizer must be built.

    Raises:
      FmaError: the backup is missing or damaged.
    """
    path = storage.join(run, BACKUP, state.backup, ARRAYS)
    variables = [*model.variables, *optimizer.variables]
    try:
        with np.load(io.BytesIO(storage.read_bytes(path))) as arrays:
            values = [arrays[f"arr_{i}"] for i in range(len(arrays.files))]
    except (FileNotFoundError, ValueError, OSError) as error:
        raise FmaError(f"{path} cannot be read ({error}): remove {run} and train again") from error
    if [value.shape for value in values] != [tuple(variable.shape) for variable in variables]:
        raise FmaError(f"{path} is not of this model: remove {run} and train again")
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)


def promote_best(run: str, state: RunState) -> None:
    """Copy a committed best model to model.keras, and remove backups that are not committed or out of date."""
    best = storage.join(run, BACKUP, state.backup, BEST)
    if state.backup and storage.exists(best):
        storage.write_bytes(storage.join(run, MODEL), storage.read_bytes(best))
    storage.remove_listed(run, backup_files(run, keep=state.backup))


def load_best(run: str, model: "keras.Model") -> None:
    """Give a model of the same shape the weights of the best epoch so far."""
    with _local_copy(run) as path:
        model.load_weights(path)


def load_model(run: str) -> "keras.Model":
    """Load the model of the best epoch.

    Raises:
      FmaError: model.keras is damaged.
    """
    import keras

    import trainers.models.layers  # noqa: F401 - registers the layers that Keras looks for

    with _local_copy(run) as path:
        try:
            return keras.saving.load_model(path, compile=False)
        except (ValueError, OSError, KeyError, TypeError) as error:
            reason = str(error).partition("\n")[0]
            raise FmaError(f"{storage.join(run, MODEL)} cannot be loaded ({reason}): train the run again") from error


@contextmanager
def _local_copy(run: str) -> Iterator[str]:
    """Keras reads files of this machine only."""
    with temporary.new_folder() as folder:
        path = os.path.join(folder, MODEL)
        with open(path, "wb") as file:
            file.write(storage.read_bytes(storage.join(run, MODEL)))
        yield path


def model_bytes(model: "keras.Model") -> bytes:
    """Return the model as a .keras file."""
    with temporary.new_folder() as folder:
        path = os.path.join(folder, MODEL)
        model.save(path)
        with open(path, "rb") as file:
            return file.read()


def is_finite(model: "keras.Model") -> bool:
    """Return whether all weights are finite numbers."""
    values = (np.asarray(weight) for weight in model.weights)
    return all(np.isfinite(value).all() for value in values if value.dtype.kind == "f")
