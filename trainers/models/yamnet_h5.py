"""YAMNet's layers, and their weights from the file in which its authors publish them, yamnet.h5 in Keras 2's layout.

Each convolution there is followed by a batch norm without a scale, which becomes part of the convolution here. (Source:
yamnet.py in tensorflow/models, research/audioset/yamnet.)
"""

from typing import TYPE_CHECKING

import numpy as np

from trainers.models import pretrained
from trainers.models.keras_file import KERAS_ERRORS
from transforms.errors import UsageError

if TYPE_CHECKING:
    import h5py
    import keras

LAYERS = (
    (2, 32),
    (1, 64),
    (2, 128),
    (1, 128),
    (2, 256),
    (1, 256),
    (2, 512),
    (1, 512),
    (1, 512),
    (1, 512),
    (1, 512),
    (1, 512),
    (2, 1024),
    (1, 1024),
)
"""Stride and filters: of a convolution, then of a depthwise convolution with a pointwise one behind it each time."""

EPSILON = 1e-4  # of the batch norms
CLASSES = 521


def load_h5(path: str) -> "keras.Model":
    """Return YAMNet with the weights of a yamnet.h5; see `build_network`.

    Raises:
      UsageError: there is no such file, or it is not YAMNet's.
    """
    import h5py

    network = build_network()
    with pretrained.local_copy(path) as copy:
        try:
            with h5py.File(copy, "r") as file:
                for layer, weights in _read(file).items():
                    network.get_layer(layer).set_weights(weights)
        except KERAS_ERRORS as error:
            raise UsageError(f"--weights {path} is not YAMNet's: {pretrained.first_line(error)}") from error
    return network


def build_network() -> "keras.Model":
    """Build YAMNet with random weights, without the sigmoid behind its logits.

    Returns:
      log-mel patches float32 [batch, 96, 64] -> embedding [batch, 1024], logits [batch, 521].
    """
    import keras

    from trainers.models.layers import BANDS, PATCH

    inputs = keras.Input((PATCH, BANDS), name="log_mel")
    values = keras.layers.Reshape((PATCH, BANDS, 1))(inputs)
    for number, (stride, filters) in enumerate(LAYERS, 1):
        if number == 1:
            values = keras.layers.Conv2D(filters, 3, stride, padding="same", name="layer1_conv")(values)
        else:
            name = f"layer{number}_depthwise_conv"
            values = keras.layers.DepthwiseConv2D(3, stride, padding="same", name=name)(values)
            values = keras.layers.ReLU()(values)
            values = keras.layers.Conv2D(filters, 1, name=f"layer{number}_pointwise_conv")(values)
        values = keras.layers.ReLU()(values)
    embedding = keras.layers.GlobalAveragePooling2D(name="embedding")(values)
    logits = keras.layers.Dense(CLASSES, name="logits")(embedding)
    return keras.Model(inputs, [embedding, logits], name="yamnet")


def _read(file: "h5py.File") -> dict[str, list[np.ndarray]]:
    """Return the weights of each layer of `build_network`."""
    root = file.get("model_weights", file)
    found = {}
    for number in range(1, len(LAYERS) + 1):
        for kind in ("conv",) if number == 1 else ("depthwise_conv", "pointwise_conv"):
            (kernel,), norm = (_arrays(root, f"layer{number}/{kind}{end}") for end in ("", "/bn"))
            beta, mean, variance = norm
            scale = 1 / np.sqrt(variance + EPSILON)
            # The channels that come out are the third axis of a depthwise kernel, and the fourth of any other.
            by_channel = scale[:, None] if kind == "depthwise_conv" else scale
            found[f"layer{number}_{kind}"] = [kernel * by_channel, beta - mean * scale]
    names = [name.decode() if isinstance(name, bytes) else name for name in root.attrs["layer_names"]]
    # The last layer's name depends on the version of yamnet.py; it alone has a kernel and a bias.
    (found["logits"],) = (arrays for name in names if len(arrays := _arrays(root, name)) == 2)
    return found


def _arrays(root: "h5py.Group", layer: str) -> list[np.ndarray]:
    if layer not in root:
        raise ValueError(f"it has no layer {layer}")
    group = root[layer]
    return [np.asarray(group[name]) for name in group.attrs["weight_names"]]
