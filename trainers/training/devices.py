"""Devices: TPU, one or more GPUs, or the CPU, each with its strategy and precision."""

import importlib.util
import os
import sys
from dataclasses import dataclass
from glob import glob
from typing import TYPE_CHECKING, Any

from transforms.errors import FmaError, UsageError
from transforms.runtime import temporary
from transforms.runtime.stderr import capture_native_stderr

if TYPE_CHECKING:
    import tensorflow as tf

DEVICES = ("auto", "tpu", "gpu", "cpu")
BFLOAT16_CAPABILITY = (8, 0)

LOG_LEVEL = "3"  # fatal errors only: others are raised, and the search for a GPU reports its absence as one


def import_tensorflow() -> None:
    """Import TensorFlow and Keras; what they write meanwhile is shown only where that fails, or with FMA_DEBUG=1."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", LOG_LEVEL)
    if "tensorflow" in sys.modules:
        import keras

        return
    with capture_native_stderr():
        import keras  # noqa: F401
        import tensorflow  # noqa: F401
    temporary.use_for_libraries()  # AutoGraph writes a file for each function


@dataclass(frozen=True)
class Device:
    """Where a run computes."""

    name: str  # tpu, gpu or cpu
    strategy: "tf.distribute.Strategy"  # models are built and compiled in its scope
    precision: str  # Keras' name of the dtype policy, which `open_device` has made the global one

    @property
    def replicas(self) -> int:
        """The number of parts that a batch is split into."""
        return self.strategy.num_replicas_in_sync

    @property
    def reproducible(self) -> bool:
        """Whether equal seeds are to give equal weights: on the CPU; accelerators add in an order of their own."""
        return self.name == "cpu"

    @property
    def facts(self) -> dict[str, Any]:
        """Values for a run's config.json."""
        return {"device": self.name, "replicas": self.replicas, "precision": self.precision}


def open_device(name: str = "auto") -> Device:
    """Start a device and make its precision the global dtype policy. Call it before TensorFlow has done any work.

    Args:
      name: one of `DEVICES`; auto takes a TPU before GPUs before the CPU.

    Raises:
      UsageError: there is no such device.
      FmaError: there is a TPU, but it does not answer.
    """
    import keras

    device = _OPENERS[_detect() if name == "auto" else name]()
    keras.mixed_precision.set_global_policy(device.precision)
    return device


def may_have_accelerator() -> bool:
    """Return whether there is a sign of a TPU or of an NVIDIA GPU, without TensorFlow, which takes seconds to ask."""
    return _tpu_address() is not None or bool(glob("/dev/nvidia[0-9]*") or glob("/dev/dxg"))


def _detect() -> str:
    import tensorflow as tf

    if _tpu_address():
        return "tpu"
    return "gpu" if tf.config.list_physical_devices("GPU") else "cpu"


def _tpu_address() -> str | None:
    """Return the TPU's name or grpc:// address, "local" for the chips of this machine, or None."""
    if os.environ.get("TPU_NAME"):
        return os.environ["TPU_NAME"]
    chips = glob("/dev/accel*") or glob("/dev/vfio/[0-9]*")
    return "local" if chips and importlib.util.find_spec("libtpu") else None


def _open_tpu() -> Device:
    import tensorflow as tf

    address = _tpu_address()
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
    return Device("tpu", tf.distribute.TPUStrategy(resolver), "mixed_bfloat16")


def _open_gpu() -> Device:
    import tensorflow as tf

    gpus = tf.config.list_physical_devices("GPU")
    if not gpus:
        raise UsageError("--device gpu: TensorFlow sees no GPU here; check the driver, or use --device cpu")
    details = [tf.config.experimental.get_device_details(gpu) for gpu in gpus]
    return Device("gpu", tf.distribute.MirroredStrategy(), gpu_precision(details))


def gpu_precision(details: list[dict[str, Any]]) -> str:
    """Return the dtype policy that all GPUs are good at, from TensorFlow's details of each."""
    capable = all(detail.get("compute_capability", (0, 0)) >= BFLOAT16_CAPABILITY for detail in details)
    return "mixed_bfloat16" if capable else "mixed_float16"


def _open_cpu() -> Device:
    import tensorflow as tf

    if tf.config.list_physical_devices("GPU"):
        tf.config.set_visible_devices([], "GPU")
    return Device("cpu", tf.distribute.get_strategy(), "float32")


_OPENERS = {"tpu": _open_tpu, "gpu": _open_gpu, "cpu": _open_cpu}
