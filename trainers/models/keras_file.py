"""Saved Keras models, checked before Keras reads them: a .keras file names the Python classes that loading it creates.

Our models consist of the classes below. Any other is refused, `Lambda` and whatever else brings code or reads other
files included, however the file came here: as the model of a run, or as --weights.
"""

import json
import zipfile
import zlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import keras

MEMBERS = {"config.json", "metadata.json", "model.weights.h5"}
LARGEST_CONFIG = 16 << 20  # bytes; that of our largest model has 170 KB

LAYERS = (
    "Activation Add Average AveragePooling1D AveragePooling2D BatchNormalization Concatenate Conv1D Conv2D Dense "
    "DepthwiseConv1D DepthwiseConv2D Dropout Flatten GlobalAveragePooling1D GlobalAveragePooling2D GlobalMaxPooling1D "
    "GlobalMaxPooling2D InputLayer LayerNormalization LeakyReLU MaxPooling1D MaxPooling2D Maximum Minimum Multiply "
    "Normalization Permute ReLU RepeatVector Rescaling Reshape SeparableConv1D SeparableConv2D Softmax "
    "SpatialDropout1D SpatialDropout2D Subtract UpSampling1D UpSampling2D ZeroPadding1D ZeroPadding2D"
)
INITIALIZERS = (
    "Constant GlorotNormal GlorotUniform HeNormal HeUniform LecunNormal LecunUniform Ones Orthogonal RandomNormal "
    "RandomUniform TruncatedNormal VarianceScaling Zeros"
)
OPERATIONS = (
    "Absolute Add Concatenate Divide Exp ExpandDims GetItem Log Max Maximum Mean Min Minimum Multiply Pad Power "
    "Reshape Sqrt Square Squeeze Subtract Sum Transpose"
)
CLASSES = {
    "keras": {"DTypePolicy", "Functional", "Sequential"},
    "keras.layers": set(LAYERS.split()),
    "keras.initializers": set(INITIALIZERS.split()),
    "keras.regularizers": {"L1", "L1L2", "L2"},
    "keras.src.models.functional": {"Functional"},
    "keras.src.ops.core": {"Cast"},
    "keras.src.ops.nn": {"Relu", "Relu6", "Sigmoid", "Softmax"},
    "keras.src.ops.numpy": set(OPERATIONS.split()),
}
"""By module, the classes of Keras that a file may name."""

OURS = "fma>"  # what the registered names of our layers begin with
TENSOR = {"module": None, "class_name": "__keras_tensor__", "registered_name": None}

KERAS_ERRORS = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    EOFError,
    LookupError,
    MemoryError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
    zipfile.BadZipFile,
    zlib.error,
)
"""What Keras, h5py, NumPy and zipfile raise for a file that is damaged, or of another network."""


def load_keras_file(path: str) -> "keras.Model":
    """Load a .keras file of a folder for temporary files, after a check of what it consists of.

    Raises:
      KERAS_ERRORS: it is damaged, no such file, or names what none of our models has.
    """
    import keras
    import tensorflow as tf

    import trainers.models.genre_output
    import trainers.models.layers
    import trainers.models.normalize  # noqa: F401 - they register layers that Keras looks for

    check_keras_file(path, set(keras.saving.get_custom_objects()))
    if keras.config.backend() != "tensorflow":
        path = _without_synchronized(path)
    try:
        return keras.saving.load_model(path, compile=False)
    except tf.errors.OpError as error:
        raise ValueError(error.message) from error


def _without_synchronized(path: str) -> str:
    """Write a copy of a file beside it that other backends than TensorFlow read too, and return its path.

    They know no synchronized batch norm, which works over several devices in training, and as any other in inference.
    """
    copy = f"{path.removesuffix('.keras')}.plain.keras"
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(copy, "w") as target:
        for name in source.namelist():
            data = source.read(name)
            if name == "config.json":
                data = data.replace(b'"synchronized": true', b'"synchronized": false')
            target.writestr(name, data)
    return copy


def check_keras_file(path: str, registered: set[str]) -> None:
    """Refuse a .keras file that is damaged or names a class that our models do not have.

    Args:
      registered: names of the layers that Keras knows from us, such as fma>Standardise.

    Raises:
      ValueError: a class is not one of those that are allowed.
      KERAS_ERRORS: it is damaged.
    """
    with zipfile.ZipFile(path) as file:
        if damaged := file.testzip():
            raise ValueError(f"its {damaged} is damaged")
        names = file.namelist()
        if set(names) != MEMBERS or len(names) != len(MEMBERS):
            raise ValueError(f"it holds {', '.join(sorted(names)[:5])}")
        if file.getinfo("config.json").file_size > LARGEST_CONFIG:
            raise ValueError("its config.json is too large")
        config = json.loads(file.read("config.json"))
    config.pop("compile_config", None)  # Keras ignores it, too, when a model is loaded with compile=False
    _check(config, registered)


def _check(values: Any, registered: set[str]) -> None:
    if isinstance(values, dict):
        if not {"class_name", "registered_name"}.isdisjoint(values) and not _is_known(values, registered):
            raise ValueError(
                f"it names {values.get('module')}.{values.get('class_name')}, which our models do not have"
            )
        values = list(values.values())
    if isinstance(values, list):
        for value in values:
            _check(value, registered)


def _is_known(values: dict[str, Any], registered: set[str]) -> bool:
    module, name, known_as = (values.get(key) for key in TENSOR)
    if not all(isinstance(value, str | None) for value in (module, name, known_as)):
        return False
    if known_as is not None and known_as.startswith(OURS):  # Keras then overlooks the module, which may have moved
        return known_as == f"{OURS}{name}" and known_as in registered
    if module is None:
        return name == TENSOR["class_name"] and known_as is None
    return name in CLASSES.get(module, ()) and known_as in (None, name)
