"""tensorflow_transform as the product imports it."""

import time
from concurrent.futures import ThreadPoolExecutor


def test_two_threads_may_trace_a_graph_at_the_same_time():
    import tensorflow as tf

    from pipelines.statistics.tft_import import saved_transform_io_v2

    def trace(number: int) -> float:
        @tf.function(input_signature=[])
        def slowly() -> tf.Tensor:
            time.sleep(0.2)  # while it is traced
            return tf.constant(float(number))

        traced = saved_transform_io_v2.trace_and_update_module(tf.Module(), slowly, "transform_fn", False)
        return float(traced())

    with ThreadPoolExecutor(3) as threads:
        assert list(threads.map(trace, range(3))) == [0, 1, 2]
