"""Pretrained weights: files are found, fetched and loaded, with errors that a user can act on."""

import http.client
import os
import shutil
import urllib.request
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from trainers.models.keras_file import KERAS_ERRORS, load_keras_file
from transforms import storage
from transforms.errors import UsageError
from transforms.runtime import console, temporary

if TYPE_CHECKING:
    import keras

IMAGENET_URL = (
    "https://storage.googleapis.com/tensorflow/keras-applications/mobilenet_v2/"
    "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_224_no_top.h5"
)
TIMEOUT_S = 30


@contextmanager
def local_copy(path: str) -> Iterator[str]:
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
            raise UsageError(f"--weights {path}: there is no such file that can be read") from error
        yield copy


def imagenet_file() -> str:
    """Return the path of Keras' ImageNet weights for MobileNetV2 without its top; fetch them to Keras' own folder.

    Raises:
      UsageError: they cannot be fetched.
    """
    home = os.environ.get("KERAS_HOME") or os.path.join(os.path.expanduser("~"), ".keras")
    path = os.path.join(home, "models", os.path.basename(IMAGENET_URL))
    if not os.path.exists(path):
        console.log(f"fetching {IMAGENET_URL}")
        staged = storage.staging_path(path)
        try:
            _fetch(IMAGENET_URL, staged)
        except (OSError, http.client.HTTPException) as error:
            if os.path.exists(staged):
                os.unlink(staged)
            raise UsageError(
                f"the ImageNet weights cannot be fetched ({error}): download {IMAGENET_URL} elsewhere and give it as "
                "--weights FILE, or train without them: --weights none"
            ) from error
        storage.publish(staged, path)
    return path


def _fetch(url: str, path: str) -> None:
    """Download a file; OSError or HTTPException where it does not arrive as a whole."""
    with urllib.request.urlopen(url, timeout=TIMEOUT_S) as source, open(path, "wb") as target:
        shutil.copyfileobj(source, target)
        # http.client takes a connection that closes early for the end of the file. Keras knows no hash of this file.
        expected, found = source.headers["Content-Length"], target.tell()
    if expected is not None and int(expected) != found:
        raise OSError(f"{found:,} of {int(expected):,} bytes arrived")


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
