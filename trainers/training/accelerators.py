"""Signs of an accelerator on this machine, without TensorFlow, which takes seconds to ask."""

import importlib.util
import os
from glob import glob


def may_have_accelerator() -> bool:
    """Return whether there is a sign of a TPU or of an NVIDIA GPU, without TensorFlow, which takes seconds to ask."""
    return tpu_address() is not None or bool(glob("/dev/nvidia[0-9]*") or glob("/dev/dxg"))


def tpu_address() -> str | None:
    """Return the TPU's name or grpc:// address, "local" for the chips of this machine, or None."""
    if os.environ.get("TPU_NAME"):
        return os.environ["TPU_NAME"]
    chips = glob("/dev/accel*") or glob("/dev/vfio/[0-9]*")
    return "local" if chips and importlib.util.find_spec("libtpu") else None


def find_tpu_plugin() -> None:
    """Let TensorFlow find the TPU chips of this machine when it is imported; what the environment says stays."""
    if tpu_address() == "local":
        import libtpu

        os.environ.setdefault("PJRT_DEVICE", "TPU")
        os.environ.setdefault("NEXT_PLUGGABLE_DEVICE_USE_C_API", "true")
        os.environ.setdefault("TF_PLUGGABLE_DEVICE_LIBRARY_PATH", libtpu.get_library_path())
