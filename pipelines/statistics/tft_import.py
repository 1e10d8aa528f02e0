"""tensorflow_transform, imported without its side effects on the rest of the process.

Its import sets TF_USE_LEGACY_KERAS, which would give Keras 2 to whatever asks for tf.keras later; the product uses
Keras 3.
"""

import functools
import os
import threading
from collections.abc import Callable
from typing import Any

__all__ = ["DatasetCache", "DatasetKey", "get_analysis_cache_entry_keys", "tft", "tft_beam"]

LEGACY_KERAS = "TF_USE_LEGACY_KERAS"

_before = os.environ.get(LEGACY_KERAS)
try:
    import tensorflow_transform as tft
    import tensorflow_transform.beam as tft_beam
    from tensorflow_transform.beam.analysis_graph_builder import get_analysis_cache_entry_keys
    from tensorflow_transform.beam.analyzer_cache import DatasetCache, DatasetKey
    from tensorflow_transform.saved import saved_transform_io_v2
finally:
    os.environ.pop(LEGACY_KERAS, None)
    if _before is not None:
        os.environ[LEGACY_KERAS] = _before


def _one_at_a_time(function: Callable[..., Any]) -> Callable[..., Any]:
    lock = threading.Lock()

    @functools.wraps(function)
    def locked(*args: Any, **kwargs: Any) -> Any:
        with lock:
            return function(*args, **kwargs)

    return locked


# TFT traces a graph with global variables, and the threads of Prism's and Flink's workers would trace the graphs of two
# kinds at once.
saved_transform_io_v2.trace_and_update_module = _one_at_a_time(saved_transform_io_v2.trace_and_update_module)
