"""Files of frozen networks, each as a function: one waveform or image in, named outputs out.

Each computes on one thread, so that what it gives does not depend on the machine's cores, and so that workers on all
cores do not take them from each other.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Protocol

import numpy as np

from transforms import storage
from transforms.errors import FmaError, UsageError
from transforms.runtime.stderr import capture_native_stderr

Shape = tuple[int | None, ...]
"""With None for a size that may be any."""

OWN_SIGNATURE = "encode"
"""Of a SavedModel that this program has written; it takes `windows`."""

ONE_THREAD = {"TF_NUM_INTRAOP_THREADS": "1", "TF_NUM_INTEROP_THREADS": "1", "TF_CPP_MIN_LOG_LEVEL": "3"}
"""Variables that TensorFlow reads when it is imported and when it first computes."""


class Network(Protocol):
    """A network that is loaded."""

    shape: Shape  # of its input

    def __call__(self, values: np.ndarray) -> Mapping[str, np.ndarray]:
        """Return its outputs by name."""


class SavedModel:
    """A SavedModel of TensorFlow."""

    def __init__(self, path: str):
        for variable, value in ONE_THREAD.items():
            os.environ.setdefault(variable, value)
        with capture_native_stderr():  # it names what it does not find, such as a GPU
            import tensorflow as tf

        with _refusals(path, "a SavedModel", (OSError, ValueError, KeyError, tf.errors.OpError)):
            self._loaded = tf.saved_model.load(path)  # it owns the variables
        signatures = self._loaded.signatures
        name = next((name for name in (OWN_SIGNATURE, "serving_default") if name in signatures), None)
        if name is None and len(signatures) == 1:
            name = next(iter(signatures))
        if name is None:
            has = f"the signatures {', '.join(signatures)}" if signatures else "no signature"
            raise UsageError(f"{path} has {has}: save it with one of the name serving_default")
        self._function, self._constant = signatures[name], tf.constant
        inputs = self._function.structured_input_signature[1]
        self._input, spec = next(iter(inputs.items()))
        self._dtype = spec.dtype
        _check_inputs(path, len(inputs), spec.dtype.name)
        self.shape: Shape = tuple(spec.shape.as_list() if spec.shape.rank is not None else (None, None))

    def __call__(self, values: np.ndarray) -> Mapping[str, np.ndarray]:
        """See `Network`."""
        found = self._function(**{self._input: self._constant(values, self._dtype)})
        return {name: tensor.numpy() for name, tensor in found.items()}


class TFLite:
    """A file of TensorFlow Lite."""

    def __init__(self, path: str):
        from ai_edge_litert.interpreter import Interpreter

        with _refusals(path, "TFLite", (ValueError, RuntimeError)), capture_native_stderr():  # it names its engines
            self._interpreter = Interpreter(model_content=storage.read_bytes(path), num_threads=1)
            self._interpreter.allocate_tensors()
        inputs = self._interpreter.get_input_details()
        _check_inputs(path, len(inputs), np.dtype(inputs[0]["dtype"]).name)
        self._input: int = inputs[0]["index"]
        self.shape: Shape = tuple(None if size < 0 else int(size) for size in inputs[0]["shape_signature"])
        self._sized: tuple[int, ...] = tuple(inputs[0]["shape"])
        self._names = self._name_outputs()

    def _name_outputs(self) -> dict[str, int]:
        signatures = self._interpreter.get_signature_list()
        if len(signatures) == 1:
            details = self._interpreter.get_signature_runner(next(iter(signatures))).get_output_details()
            return {name: found["index"] for name, found in details.items()}
        return {f"output_{i}": found["index"] for i, found in enumerate(self._interpreter.get_output_details())}

    def __call__(self, values: np.ndarray) -> Mapping[str, np.ndarray]:
        """See `Network`."""
        if values.shape != self._sized:
            self._interpreter.resize_tensor_input(self._input, values.shape)
            self._interpreter.allocate_tensors()
            self._sized = values.shape
        self._interpreter.set_tensor(self._input, values)
        self._interpreter.invoke()
        return {name: self._interpreter.get_tensor(index) for name, index in self._names.items()}


class Onnx:
    """An ONNX file."""

    def __init__(self, path: str):
        try:
            import onnxruntime
        except ImportError as error:
            raise UsageError(f"{path} needs ONNX Runtime: pip install 'fma-genres[onnx]'") from error

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 4
        with _refusals(path, "ONNX", (Exception,)):  # its errors have no class of their own above them
            self._session = onnxruntime.InferenceSession(
                storage.read_bytes(path), options, providers=["CPUExecutionProvider"]
            )
        inputs = self._session.get_inputs()
        _check_inputs(path, len(inputs), inputs[0].type.removeprefix("tensor(").replace("float)", "float32"))
        self._input: str = inputs[0].name
        self.shape: Shape = tuple(size if isinstance(size, int) else None for size in inputs[0].shape)
        self._outputs = [output.name for output in self._session.get_outputs()]

    def __call__(self, values: np.ndarray) -> Mapping[str, np.ndarray]:
        """See `Network`."""
        return dict(zip(self._outputs, self._session.run(self._outputs, {self._input: values}), strict=True))


FORMATS: Mapping[str, Any] = {".tflite": TFLite, ".onnx": Onnx}
"""By the ending of a file; a folder is a SavedModel."""


def open_network(path: str) -> Network:
    """Load a network from a local file or folder.

    Raises:
      UsageError: it has another form, or takes something else than one tensor of numbers.
      FmaError: it is damaged.
    """
    if os.path.isdir(path):
        return SavedModel(path)
    found = FORMATS.get(os.path.splitext(path)[1].lower())
    if found is None:
        raise UsageError(f"{path} is no encoder: give a folder with a SavedModel, or a file .tflite or .onnx")
    return found(path)


def _check_inputs(path: str, count: int, dtype: str) -> None:
    if count != 1 or dtype not in ("float32", "uint8"):
        raise UsageError(f"{path} takes {count} inputs, the first of {dtype}: an encoder takes one waveform, float32")


@contextmanager
def _refusals(path: str, form: str, errors: tuple[type[Exception], ...]) -> Iterator[None]:
    try:
        yield
    except errors as error:
        raise FmaError(f"{path} cannot be loaded as {form} ({first_line(error)})") from error


def first_line(error: Exception) -> str:
    """Return the first line of what a library says."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)[:200]
