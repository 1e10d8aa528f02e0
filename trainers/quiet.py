"""TensorFlow's import without its notes: it writes some to standard error whatever its log level is set to."""

import os
import sys
import tempfile

LOG_LEVEL = "3"
"""Fatal errors only: others are raised, and the search for a GPU reports its absence as one."""


def import_tensorflow() -> None:
    """Imports TensorFlow and Keras; what they write meanwhile is shown only where that fails, or with FMA_DEBUG=1."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", LOG_LEVEL)
    if "tensorflow" in sys.modules or os.environ.get("FMA_DEBUG", "0") not in ("", "0"):
        import keras

        return
    sys.stderr.flush()
    before = os.dup(2)
    with tempfile.TemporaryFile() as notes:
        os.dup2(notes.fileno(), 2)
        try:
            import keras  # noqa: F401
            import tensorflow  # noqa: F401
        except BaseException:
            notes.seek(0)
            os.write(before, notes.read())
            raise
        finally:
            os.dup2(before, 2)
            os.close(before)
