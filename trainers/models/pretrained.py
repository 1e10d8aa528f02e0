"""Pretrained weights: files are found and loaded, with errors that a user can act on."""

import os
import shutil
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from trainers.models.keras_file import KERAS_ERRORS, load_keras_file
from transforms import storage
from transforms.errors import UsageError
from transforms.runtime import temporary

if TYPE_CHECKING:
    import keras


@contextmanager
def local_copy(path: str, option: str = "--weights") -> Iterator[str]:
    """Yield a local path to read the file from, under its own name.

    Raises:
      UsageError: there is no such file.
    """
    with temporary.new_folder() as folder:
        copy = os.path.join(folder, os.path.basename(path))
        try:
            with storage.open_read(path) as source, open(copy, "wb") as target:
                shutil.copyfileobj(source, target)
        except (FileNotFoundError, storage.NotAFileError, NotADirectoryError, PermissionError) as error:
            raise UsageError(f"{option} {path}: there is no such file that can be read") from error
        yield copy


def load_into(network: "keras.Model", path: str, what: str) -> None:
    """Load a weights file, .h5 or .weights.h5, into a network, which messages call `what`.

    Raises:
      UsageError: the file is missing, is no weights file, or is of another network.
    """
    problem = f"--weights {path} does not hold weights of {what}"
    # Keras warns of each layer that it finds nothing for, by the hundred, before it gives up.
    with local_copy(path) as copy, warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        try:
            network.load_weights(copy)
        except KERAS_ERRORS as error:
            raise UsageError(f"{problem}: {first_line(error)}") from error
    missing = [warning.message for warning in warned if warning.category is UserWarning]
    if missing:
        raise UsageError(f"{problem}: {first_line(missing[0])}")


def load_network(path: str, what: str) -> "keras.Model":
    """Load a whole saved network (.keras).

    Raises:
      UsageError: the file is missing, is no saved network, or names what none of our models has.
    """
    with local_copy(path) as copy:
        try:
            return load_keras_file(copy)
        except KERAS_ERRORS as error:
            raise UsageError(f"--weights {path} is not {what} as a .keras file: {first_line(error)}") from error


def first_line(error: Exception | str) -> str:
    """Return an error's message, cut to one short line."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 160 else f"{text[:157]}..."
