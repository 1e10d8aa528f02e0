"""TensorFlow's import without its notes: it writes some to standard error whatever its log level is set to."""

import os
import sys

from transforms.runtime.stderr import notes_kept_back

LOG_LEVEL = "3"
"""Fatal errors only: others are raised, and the search for a GPU reports its absence as one."""


def import_tensorflow() -> None:
    """Imports TensorFlow and Keras; what they write meanwhile is shown only where that fails, or with FMA_DEBUG=1."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", LOG_LEVEL)
    if "tensorflow" in sys.modules:
        import keras

        return
    with notes_kept_back():
        import keras  # noqa: F401
        import tensorflow  # noqa: F401
