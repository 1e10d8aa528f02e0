"""What JAX needs where several processes compute together, each with devices of its own."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from trainers.training.cluster import Cluster

if TYPE_CHECKING:
    import keras


def connect(cluster: Cluster) -> None:
    """Make the devices of all processes known to each; call it before JAX has looked for devices."""
    import jax

    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    jax.distributed.initialize(
        cluster.jax_address(), cluster.processes, cluster.process, cluster_detection_method="deactivate"
    )


def infer_shares(model: "keras.Model", local: int) -> Callable[[Any], np.ndarray]:
    """Return a model as a compiled function of this process's share of a batch, to its outputs, float32 [share, n].

    All processes call it at the same point, with shares of equal size. Keras' own makes an array of the whole batch's
    outputs, of which a process has only a part.

    Args:
      local: devices of this process.
    """
    import jax
    import keras

    distribution = keras.distribution.distribution()
    layout = distribution.get_data_layout((None, None)).backend_layout
    batch = jax.sharding.NamedSharding(layout.mesh, jax.sharding.PartitionSpec(distribution.batch_dim_name))

    def call(weights: tuple[list[Any], list[Any]], values: Any) -> Any:
        return model.stateless_call(*weights, values, training=False)[0]

    compiled = jax.jit(call, out_shardings=batch)

    def forward(values: Any) -> np.ndarray:
        values = np.asarray(values)
        short = -len(values) % local
        filled = np.concatenate([values, np.repeat(values[:1], short, axis=0)]) if short else values
        weights = [
            [weight.value for weight in group] for group in (model.trainable_variables, model.non_trainable_variables)
        ]
        outputs = compiled(weights, jax.make_array_from_process_local_data(batch, filled))
        parts = sorted(outputs.addressable_shards, key=lambda shard: shard.index[0].start or 0)
        return np.concatenate([np.asarray(part.data, np.float32) for part in parts])[: len(values)]

    return forward


def compute_alone(make: Callable[[], Sequence[np.ndarray]]) -> Sequence[np.ndarray]:
    """Return what a function makes, which may build models: on all devices, all processes would have to build them."""
    import keras

    distribution = keras.distribution.distribution()
    keras.distribution.set_distribution(None)
    try:
        return make()
    finally:
        keras.distribution.set_distribution(distribution)


def share_layout(rank: int) -> "keras.distribution.TensorLayout | None":
    """Return the layout in which several devices share an array by its first axis; None with one device."""
    import keras

    distribution = keras.distribution.distribution()
    if distribution is None:
        return None
    axes = [distribution.batch_dim_name] + [None] * (rank - 1)
    return keras.distribution.TensorLayout(axes, distribution.device_mesh)
