"""trainers/training/devices.py: which device is taken, and what is said where it is absent."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import keras
import pytest
import tensorflow as tf

from trainers.training.devices import TensorFlowDevice, gpu_precision, open_device
from transforms.errors import FmaError, UsageError

ROOT = Path(__file__).resolve().parents[3]
HAS_GPU = bool(tf.config.list_physical_devices("GPU"))


@pytest.fixture(autouse=True)
def plain_surroundings(monkeypatch):
    monkeypatch.delenv("TPU_NAME", raising=False)
    policy = keras.config.dtype_policy()
    yield
    keras.config.set_dtype_policy(policy)


def test_cpu_is_one_replica_in_full_precision():
    keras.mixed_precision.set_global_policy("mixed_bfloat16")
    device = open_device("cpu")
    assert device.facts == {"backend": "tensorflow", "device": "cpu", "replicas": 1, "precision": "float32"}
    assert device.reproducible
    assert keras.config.dtype_policy().name == "float32"
    with device.scope():
        assert keras.layers.Dense(1).compute_dtype == "float32"


@pytest.mark.skipif(HAS_GPU, reason="there is a GPU")
def test_auto_without_accelerators_is_the_cpu():
    assert open_device("auto").name == "cpu"


@pytest.mark.skipif(HAS_GPU, reason="there is a GPU")
def test_an_absent_gpu_is_refused():
    with pytest.raises(UsageError, match="--device gpu"):
        open_device("gpu")


def test_an_absent_tpu_is_refused():
    with pytest.raises(UsageError, match=r"--device tpu.*TPU_NAME"):
        open_device("tpu")


def test_a_tpu_that_does_not_answer_is_one_line(monkeypatch):
    monkeypatch.setenv("TPU_NAME", "local")
    with pytest.raises(FmaError, match="the TPU local does not answer") as raised:
        open_device("auto")
    assert "\n" not in str(raised.value)
    assert raised.value.exit_code == 1


@pytest.mark.parametrize(
    ("capabilities", "policy"),
    [
        ([(9, 0)], "mixed_bfloat16"),
        ([(8, 0), (8, 6)], "mixed_bfloat16"),
        ([(7, 5)], "mixed_float16"),
        ([(9, 0), (7, 0)], "mixed_float16"),
        ([None], "mixed_float16"),
    ],
)
def test_precision_is_what_every_gpu_is_good_at(capabilities, policy):
    assert gpu_precision([{"compute_capability": c} if c else {} for c in capabilities]) == policy


def test_accelerators_promise_no_equal_bits():
    assert not TensorFlowDevice("gpu", tf.distribute.get_strategy(), "mixed_bfloat16").reproducible


def test_tensorflow_finds_the_chips_of_a_tpu_vm_by_variables_that_a_user_may_set(tmp_path):
    (tmp_path / "libtpu.py").write_text("def get_library_path():\n    return '/there/libtpu.so'\n")
    code = (
        "import os; from trainers.training.accelerators import find_tpu_plugin; find_tpu_plugin(); "
        "print({name: value for name, value in os.environ.items() if 'PLUGGABLE' in name or 'PJRT' in name})"
    )
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": f"{tmp_path}:{ROOT}"}

    def variables(**more: str) -> dict[str, str]:
        command = [sys.executable, "-c", code]
        return ast.literal_eval(subprocess.check_output(command, env=environment | more, text=True))

    found = {
        "PJRT_DEVICE": "TPU",
        "NEXT_PLUGGABLE_DEVICE_USE_C_API": "true",
        "TF_PLUGGABLE_DEVICE_LIBRARY_PATH": "/there/libtpu.so",
    }
    assert variables(TPU_NAME="local") == found
    mine = {"TF_PLUGGABLE_DEVICE_LIBRARY_PATH": "/mine.so"}
    assert variables(TPU_NAME="local", **mine) == found | mine
    assert variables() == {}
