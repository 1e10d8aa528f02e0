"""Checkpoints: weights, optimizer state and random state that the next epoch starts from, and the model that is kept.

An epoch writes its files to a folder of its own below `backup/`. They count from the moment when state.json names that
folder; `promote_best` then copies the best model to model.keras and removes the folders that are not named, so that it
does not matter when a run is killed.
"""

import os
import shutil
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from trainers.models import find_model
from trainers.models.keras_file import KERAS_ERRORS, load_keras_file
from trainers.models.records import add_normalization, normalization_of, takes_records
from trainers.runs.directory import backup_files, load_config, read_settings
from trainers.runs.files import RESTORE, open_zip, write_zip
from trainers.runs.normalization import load_normalization
from trainers.runs.state import ARRAYS, BACKUP, BEST, MODEL, RunState, load_state
from transforms import storage
from transforms.errors import FmaError
from transforms.library_errors import DAMAGED_ZIP
from transforms.runtime import temporary

if TYPE_CHECKING:
    import keras

    from trainers.training.devices import Device


def write(run: str, name: str, model: "keras.Model", optimizer: "keras.Optimizer", *, epoch: int, best: bool) -> None:
    """Write the state after an epoch to `backup/<name>`; it counts once state.json names it.

    Args:
      epoch: its number, counted from 1.
      model: the whole model; the state of its random generators is among its variables.
      optimizer: after the epoch's last step.
      best: whether to save the model itself, too.
    """
    values = (np.asarray(variable) for variable in [*model.variables, *optimizer.variables])
    write_zip(run, f"{BACKUP}/{name}/{ARRAYS}", lambda file: np.savez(file, *values))
    if best:
        write_model(run, f"{BACKUP}/{name}/{BEST}", model, epoch)


def write_model(run: str, name: str, model: "keras.Model", epoch: int) -> None:
    """Write the model after an epoch to a file of the run; its checksum holds under the name model.keras, too."""
    write_zip(run, name, lambda file: file.write(model_bytes(model)), _label(epoch))


def _label(epoch: int) -> str:
    return f"{MODEL} of epoch {epoch}"


def restore(run: str, state: RunState, model: "keras.Model", optimizer: "keras.Optimizer", device: "Device") -> None:
    """Set the variables to what they were after the last finished epoch; the optimizer must be built.

    Raises:
      FmaError: the backup is missing or damaged.
    """
    variables, own = [*model.variables, *optimizer.variables], len(normalization_of(model).variables)
    values = device.from_leader(lambda: _read_arrays(run, state))
    if len(values) == len(variables) - own:  # an earlier version's: the normalisation, which comes first, is not in it
        variables = variables[own:]
    if not _assign(variables, values):
        raise FmaError(f"{storage.join(run, BACKUP, state.backup, ARRAYS)} is not of this model: {_advice(run)}")


def _read_arrays(run: str, state: RunState) -> list[np.ndarray]:
    name, advice = f"{BACKUP}/{state.backup}/{ARRAYS}", _advice(run)
    with open_zip(run, name, advice) as file:
        try:
            with np.load(file, allow_pickle=False) as arrays:
                return [arrays[f"arr_{i}"] for i in range(len(arrays.files))]
        except DAMAGED_ZIP as error:
            raise FmaError(f"{storage.join(run, name)} is damaged ({error}): {advice}") from error


def _advice(run: str) -> str:
    if load_state(run).finished:  # before the first of more epochs is committed
        return "the run is as it was; for more epochs give another --run"
    return f"remove {run} and train again"


def _assign(variables: list["keras.Variable"], values: list[np.ndarray]) -> bool:
    """Set variables to values, if these have their shapes; return whether they have."""
    fit = [value.shape for value in values] == [tuple(variable.shape) for variable in variables]
    for variable, value in zip(variables, values if fit else [], strict=fit):
        variable.assign(value)
    return fit


def promote_best(run: str, state: RunState) -> None:
    """Copy a committed best model to model.keras, and remove backups that are not committed or out of date."""
    name = best_model(run, state)
    if name != MODEL:
        with open_zip(run, name, label=_label(state.best_epoch)) as file:
            storage.write_bytes(storage.join(run, MODEL), file.read())
    storage.remove_listed(run, backup_files(run, keep=state.backup))


def best_model(run: str, state: RunState) -> str:
    """Return the name of the file in the run that has the best model: not model.keras yet, right after its epoch."""
    name = f"{BACKUP}/{state.backup}/{BEST}"
    is_new = state.backup and state.best_epoch == state.epoch and storage.exists(storage.join(run, name))
    return name if is_new else MODEL


def load_best(run: str, model: "keras.Model", device: "Device") -> None:
    """Give a model of the same shape the weights of the epoch that is kept so far.

    Raises:
      FmaError: their file is missing or damaged, or has weights of other shapes.
    """
    values = device.from_leader(lambda: [np.asarray(variable) for variable in load_model(run).variables])
    if not _assign(model.variables, values):
        raise FmaError(f"{storage.join(run, MODEL)} is not of this model: {RESTORE}")


def load_model(run: str) -> "keras.Model":
    """Load the whole model of the epoch that is kept; that of a run of an earlier version gets its normalisation here.

    Raises:
      FmaError: its file is missing or damaged, or holds what none of our models does.
    """
    with _local_copy(run) as path, _translate_load_errors(run):
        model = load_keras_file(path)
    if takes_records(model):
        return model
    config = load_config(run)
    kind, settings = find_model(config.model).kind, read_settings(run, config)
    normalization = load_normalization(run, settings) if kind == "mel" else None
    with _translate_load_errors(run):
        return add_normalization(model, kind, settings, normalization)


def open_best(run: str) -> AbstractContextManager[BinaryIO]:
    """Open the .keras file of the epoch that is kept, as `open_zip` does."""
    state = load_state(run)
    return open_zip(run, best_model(run, state), label=_label(state.best_epoch))


@contextmanager
def _local_copy(run: str) -> Iterator[str]:
    """Keras reads files of this machine only."""
    with temporary.new_folder() as folder:
        path = os.path.join(folder, MODEL)
        with open_best(run) as source, open(path, "wb") as file:
            shutil.copyfileobj(source, file)
        yield path


@contextmanager
def _translate_load_errors(run: str) -> Iterator[None]:
    try:
        yield
    except KERAS_ERRORS as error:
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise FmaError(f"{storage.join(run, MODEL)} cannot be loaded ({reason}): {RESTORE}") from error


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
