"""Devices: TPUs, GPUs or the CPU, under TensorFlow or JAX: one interface to build, train and run models on them."""

import importlib.util
import os
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from importlib import metadata
from typing import TYPE_CHECKING, Any

import numpy as np

from trainers.data.pipeline import available_memory
from trainers.training.accelerators import find_tpu_plugin, tpu_address
from trainers.training.cluster import ALONE, Cluster
from trainers.training.jax_cluster import compute_alone, connect, infer_shares, share_layout
from transforms.errors import FmaError, UsageError
from transforms.runtime import temporary
from transforms.runtime.stderr import capture_native_stderr

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

Forward = Callable[[Any], np.ndarray]  # a batch, as an array or a tensor -> a model's output

BACKENDS = ("tensorflow", "jax")
DEVICES = ("auto", "tpu", "gpu", "cpu")
BFLOAT16_CAPABILITY = (8, 0)

LOG_LEVEL = "3"  # fatal errors only: others are raised, and the search for a GPU reports its absence as one


def import_tensorflow(backend: str = "tensorflow") -> None:
    """Import TensorFlow and Keras; what they write meanwhile is shown only where that fails, or with FMA_DEBUG=1.

    Args:
      backend: Keras' own, one of `BACKENDS`; a user's KERAS_BACKEND does not count, since predictions need TensorFlow.

    Raises:
      UsageError: it is not installed.
    """
    if backend == "jax" and not importlib.util.find_spec("jax"):
        raise UsageError("--backend jax: JAX is not installed here; install it with pip install 'fma-genres[jax]'")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", LOG_LEVEL)
    os.environ["KERAS_BACKEND"] = backend
    if backend == "tensorflow":
        find_tpu_plugin()
    if "tensorflow" in sys.modules:
        import keras
    else:
        with capture_native_stderr():
            import keras
            import tensorflow  # noqa: F401
        temporary.use_for_libraries()  # AutoGraph writes a file for each function
    assert keras.config.backend() == backend, "Keras was imported before with another backend"


class Device(ABC):
    """Where a run computes.

    Args:
      name: tpu, gpu or cpu.
      precision: Keras' name of the dtype policy, which `open_device` makes the global one.
      replicas: parts that a batch is split into, over all processes.
      cluster: the processes that compute together.
    """

    backend: str  # Keras' own, one of `BACKENDS`

    def __init__(self, name: str, precision: str, replicas: int, cluster: Cluster = ALONE):
        self.name, self.precision, self.replicas, self.cluster = name, precision, replicas, cluster

    @abstractmethod
    def scope(self) -> AbstractContextManager[Any]:
        """Return the context in which models are built and compiled."""

    @abstractmethod
    def inference(self, model: "keras.Model") -> Forward:
        """Return a model as a compiled function, [batch, ...] -> float32 [batch, n], for batches of any size.

        There is no dropout, and batch norm takes its moving averages. The model was built in the scope; each replica
        takes an equal share of a batch. In a cluster, all processes call it at the same point, each with a batch of its
        own, of equal size.
        """

    @abstractmethod
    def store(self, values: np.ndarray) -> "keras.Variable":
        """Return an array [n, ...] in the devices' memory, to be called in the scope; n is a multiple of `replicas`.

        Under TensorFlow each replica has all of it, under JAX each device has an equal share.
        """

    @abstractmethod
    def transfer(self, batch: "dict[str, tf.Tensor]") -> None:
        """Copy a batch to the devices' memory and wait for it; to measure how long that takes."""

    @abstractmethod
    def free_memory(self) -> int:
        """Return the bytes that `store` can take.

        Raises:
          UsageError: that is not known here.
        """

    def from_leader(self, make: Callable[[], Sequence[np.ndarray]]) -> list[np.ndarray]:
        """Return arrays that process 0 of the cluster makes, where it may build models of its own for it."""
        return self.cluster.broadcast_arrays(make)

    @property
    @abstractmethod
    def description(self) -> str:
        """What its maker calls the device, and how many there are where there are several."""

    @property
    def reproducible(self) -> bool:
        """Whether equal seeds are to give equal weights: on the CPU; accelerators add in an order of their own."""
        return self.name == "cpu"

    @property
    def facts(self) -> dict[str, Any]:
        """Values for a run's config.json."""
        return {
            "backend": self.backend,
            "device": self.name,
            "replicas": self.replicas,
            "precision": self.precision,
        }


class TensorFlowDevice(Device):
    """A device of a tf.distribute strategy."""

    backend = "tensorflow"

    def __init__(self, name: str, strategy: "tf.distribute.Strategy", precision: str):
        super().__init__(name, precision, strategy.num_replicas_in_sync)
        self._strategy = strategy

    def scope(self) -> AbstractContextManager[Any]:
        """See `Device`."""
        return self._strategy.scope()

    def inference(self, model: "keras.Model") -> Forward:
        """See `Device`."""
        import tensorflow as tf

        strategy, replicas = self._strategy, self.replicas

        def one(values: tf.Tensor) -> tf.Tensor:
            return tf.cast(model(values, training=False), tf.float32)

        if replicas == 1 and not isinstance(strategy, tf.distribute.TPUStrategy):
            graph = tf.function(one)
            return lambda values: graph(values).numpy()
        step = tf.function(lambda shares: strategy.run(one, args=(shares,)))

        def forward(values: tf.Tensor) -> np.ndarray:
            with tf.device("CPU:0"):
                count, short = len(values), -len(values) % replicas
                filled = tf.pad(values, [[0, short]] + [[0, 0]] * (len(values.shape) - 1))
                parts = tf.split(filled, replicas)
            shares = strategy.experimental_distribute_values_from_function(
                lambda context: parts[context.replica_id_in_sync_group]
            )
            outputs = strategy.experimental_local_results(step(shares))
            return np.concatenate([output.numpy() for output in outputs])[:count]

        return forward

    def store(self, values: np.ndarray) -> "keras.Variable":
        """See `Device`."""
        import keras

        return keras.Variable(values, dtype=values.dtype.name, trainable=False)

    @property
    def description(self) -> str:
        """See `Device`."""
        import tensorflow as tf

        if self.name != "gpu":
            return self.name
        (gpu, *_) = gpus = tf.config.list_physical_devices("GPU")
        name = tf.config.experimental.get_device_details(gpu).get("device_name", "gpu")
        return name if len(gpus) == 1 else f"{len(gpus)} {name}"

    def transfer(self, batch: "dict[str, tf.Tensor]") -> None:
        """See `Device`; with several, to the first."""
        import tensorflow as tf

        with tf.device(f"{self.name.upper()}:0"):
            copies = [tf.identity(value) for value in batch.values()]
        tf.test.experimental.sync_devices()
        del copies

    def free_memory(self) -> int:
        """See `Device`."""
        import tensorflow as tf
        from tensorflow.python.client import device_lib  # where else TensorFlow tells its share of a GPU?

        if self.name == "cpu":
            return available_memory()
        if self.name == "tpu":
            raise UsageError("--cache device: TensorFlow does not say what a TPU has free: use --backend jax")
        limits = [device.memory_limit for device in device_lib.list_local_devices() if device.device_type == "GPU"]
        used = [tf.config.experimental.get_memory_info(f"GPU:{i}")["current"] for i in range(len(limits))]
        return min(limit - taken for limit, taken in zip(limits, used, strict=True))


class JaxDevice(Device):
    """The devices that JAX sees; with several, each takes a share of a batch, and the program is one over them all."""

    backend = "jax"

    @property
    def facts(self) -> dict[str, Any]:
        """See `Device`."""
        return super().facts | {"processes": self.cluster.processes, "jax": metadata.version("jax")}

    def scope(self) -> AbstractContextManager[Any]:
        """See `Device`."""
        return nullcontext()

    def inference(self, model: "keras.Model") -> Forward:
        """See `Device`."""
        if self.cluster.processes > 1:
            return infer_shares(model, self.replicas // self.cluster.processes)

        def forward(values: Any) -> np.ndarray:
            values = np.asarray(values)
            short = -len(values) % self.replicas
            filled = np.concatenate([values, np.repeat(values[:1], short, axis=0)]) if short else values
            return np.asarray(model.predict_on_batch(filled), np.float32)[: len(values)]

        return forward

    def store(self, values: np.ndarray) -> "keras.Variable":
        """See `Device`."""
        import jax
        import keras

        layout = share_layout(values.ndim)
        placed = jax.device_put(values, layout and layout.backend_layout)
        return keras.Variable(placed, dtype=values.dtype.name, trainable=False, layout=layout)

    @property
    def description(self) -> str:
        """See `Device`."""
        import jax

        (device, *_) = devices = jax.devices()
        return device.device_kind if len(devices) == 1 else f"{len(devices)} {device.device_kind}"

    def transfer(self, batch: "dict[str, tf.Tensor]") -> None:
        """See `Device`."""
        import jax

        for value in map(np.asarray, batch.values()):
            layout = share_layout(value.ndim)
            jax.block_until_ready(jax.device_put(value, layout and layout.backend_layout))

    def free_memory(self) -> int:
        """See `Device`."""
        import jax

        if self.name == "cpu":
            return available_memory()
        known = [device.memory_stats() for device in jax.local_devices()]
        return len(known) * min(stats["bytes_limit"] - stats["bytes_in_use"] for stats in known)

    def from_leader(self, make: Callable[[], Sequence[np.ndarray]]) -> list[np.ndarray]:
        """See `Device`."""
        return self.cluster.broadcast_arrays(make if self.cluster.processes == 1 else lambda: compute_alone(make))


def open_device(name: str = "auto", backend: str = "tensorflow", cluster: Cluster = ALONE) -> Device:
    """Start a device and make its precision the global dtype policy. Call it before TensorFlow has done any work.

    Args:
      name: one of `DEVICES`; auto takes a TPU before GPUs before the CPU.
      backend: that `import_tensorflow` was called with.
      cluster: the processes that compute together, with JAX.

    Raises:
      UsageError: there is no such device.
      FmaError: there is a TPU, but it does not answer.
    """
    import keras

    if backend == "jax":
        device: Device = _open_jax(name, cluster)
    else:
        device = _OPENERS[_detect() if name == "auto" else name]()
    keras.mixed_precision.set_global_policy(device.precision)
    return device


def _open_jax(name: str, cluster: Cluster) -> JaxDevice:
    import jax
    import keras
    import tensorflow as tf

    for kind in ("GPU", "TPU"):  # TensorFlow reads the records, on the CPU, and must not take what JAX computes on
        if tf.config.list_physical_devices(kind):
            tf.config.set_visible_devices([], kind)
    if name == "cpu":
        jax.config.update("jax_platforms", "cpu")
    if cluster.processes > 1:
        connect(cluster)
    try:
        devices = jax.devices()
    except RuntimeError as error:
        reason = str(error).partition("\n")[0]
        raise FmaError(f"JAX finds no device ({reason}): check the driver, or use --device cpu") from error
    found = devices[0].platform
    if name not in ("auto", found):
        raise UsageError(
            f"--device {name}: JAX sees only a {found} here; install JAX for it ('fma-genres[jax-cuda]' or "
            "'fma-genres[jax-tpu]'), or use --device auto"
        )
    if len(devices) != jax.local_device_count() * cluster.processes:
        raise FmaError(
            f"process {cluster.process} has {jax.local_device_count()} of {len(devices)} devices: each of the "
            f"{cluster.processes} processes needs as many"
        )
    if len(devices) > 1:
        # Each process reads its own records: Keras is not to divide them once more.
        keras.distribution.set_distribution(keras.distribution.DataParallel(auto_shard_dataset=False))
    return JaxDevice(found, _jax_precision(devices), len(devices), cluster)


def _jax_precision(devices: list[Any]) -> str:
    if devices[0].platform == "cpu":
        return "float32"
    if devices[0].platform == "tpu":
        return "mixed_bfloat16"
    versions = [tuple(map(int, device.compute_capability.split("."))) for device in devices]
    return gpu_precision([{"compute_capability": version} for version in versions])


def _detect() -> str:
    import tensorflow as tf

    if tpu_address():
        return "tpu"
    return "gpu" if tf.config.list_physical_devices("GPU") else "cpu"


def _open_tpu() -> Device:
    import tensorflow as tf

    address = tpu_address()
    if address is None:
        raise UsageError(
            "--device tpu: there is no TPU here; run on a TPU VM with TensorFlow for TPUs (tensorflow-tpu), "
            "or set TPU_NAME to a TPU's name or grpc:// address"
        )
    try:
        resolver = tf.distribute.cluster_resolver.TPUClusterResolver(address)
        tf.config.experimental_connect_to_cluster(resolver)
        tf.tpu.experimental.initialize_tpu_system(resolver)
    except (ValueError, OSError, RuntimeError, tf.errors.OpError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise FmaError(f"the TPU {address} does not answer ({reason}): check TPU_NAME, or use --device cpu") from error
    return TensorFlowDevice("tpu", tf.distribute.TPUStrategy(resolver), "mixed_bfloat16")


def _open_gpu() -> Device:
    import tensorflow as tf

    gpus = tf.config.list_physical_devices("GPU")
    if not gpus:
        raise UsageError("--device gpu: TensorFlow sees no GPU here; check the driver, or use --device cpu")
    details = [tf.config.experimental.get_device_details(gpu) for gpu in gpus]
    # Keras compiles no step by XLA under a strategy of tf.distribute.
    strategy = tf.distribute.MirroredStrategy() if len(gpus) > 1 else tf.distribute.get_strategy()
    return TensorFlowDevice("gpu", strategy, gpu_precision(details))


def gpu_precision(details: list[dict[str, Any]]) -> str:
    """Return the dtype policy that all GPUs are good at, from TensorFlow's details of each."""
    capable = all(detail.get("compute_capability", (0, 0)) >= BFLOAT16_CAPABILITY for detail in details)
    return "mixed_bfloat16" if capable else "mixed_float16"


def _open_cpu() -> Device:
    import tensorflow as tf

    if tf.config.list_physical_devices("GPU"):
        tf.config.set_visible_devices([], "GPU")
    # Operations that run side by side add up in any order, and equal seeds gave other weights. TensorFlow reads this
    # with its first computation.
    os.environ.setdefault("TF_NUM_INTEROP_THREADS", "1")
    return TensorFlowDevice("cpu", tf.distribute.get_strategy(), "float32")


_OPENERS = {"tpu": _open_tpu, "gpu": _open_gpu, "cpu": _open_cpu}
