"""tensorflow_transform, imported without what its import does to the rest of the process.

It sets TF_USE_LEGACY_KERAS, which would hand Keras 2 to whatever asks for tf.keras later; the product uses Keras 3.
"""

import os

__all__ = ["tft", "tft_beam"]

LEGACY_KERAS = "TF_USE_LEGACY_KERAS"

_before = os.environ.get(LEGACY_KERAS)
try:
    import tensorflow_transform as tft
    import tensorflow_transform.beam as tft_beam
finally:
    os.environ.pop(LEGACY_KERAS, None)
    if _before is not None:
        os.environ[LEGACY_KERAS] = _before
