"""YAMNet as its authors' yamnet.py builds it, batch norms and all, and its weights as their yamnet.h5 holds them."""

from pathlib import Path

import h5py
import keras
import numpy as np

EPSILON = 1e-4
SEPARABLE = (64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *5 * ((512, 1),), (1024, 2), (1024, 1)
"""Filters and stride of layers 2 to 14."""


def published_yamnet(random: np.random.Generator) -> keras.Model:
    """Log-mel patches [batch, 96, 64] -> embedding [batch, 1024], logits [batch, 521]; random batch norms.

    Layers have the published names, with - for /.
    """
    layers = keras.layers
    inputs = keras.Input((96, 64))
    x = layers.Reshape((96, 64, 1))(inputs)
    x = layers.Conv2D(32, 3, 2, padding="same", use_bias=False, name="layer1-conv")(x)
    x = _normalise(x, "layer1-conv", random)
    for number, (filters, stride) in enumerate(SEPARABLE, 2):
        name = f"layer{number}-depthwise_conv"
        x = layers.DepthwiseConv2D(3, stride, padding="same", use_bias=False, name=name)(x)
        x = _normalise(x, name, random)
        name = f"layer{number}-pointwise_conv"
        x = layers.Conv2D(filters, 1, padding="same", use_bias=False, name=name)(x)
        x = _normalise(x, name, random)
    embedding = layers.GlobalAveragePooling2D()(x)
    network = keras.Model(inputs, [embedding, layers.Dense(521, name="dense")(embedding)])
    randomise(network, random)
    return network


def randomise(network: keras.Model, random: np.random.Generator) -> None:
    """Gives a network's convolutions random kernels through which signals neither fade nor grow.

    Keras' own fade, above all those of depthwise convolutions: whatever goes in, the same comes out of many layers.
    """
    for layer in network.layers:
        depthwise = isinstance(layer, keras.layers.DepthwiseConv2D)
        if depthwise or isinstance(layer, keras.layers.Conv2D):
            shape = layer.kernel.shape
            fan_in = shape[0] * shape[1] * (1 if depthwise else shape[2])
            layer.kernel.assign(np.sqrt(2 / fan_in) * random.standard_normal(shape))


def _normalise(x: keras.KerasTensor, name: str, random: np.random.Generator) -> keras.KerasTensor:
    norm = keras.layers.BatchNormalization(scale=False, epsilon=EPSILON, name=f"{name}-bn")
    x = norm(x)
    beta, mean = 0.2 * random.standard_normal((2, x.shape[-1]))
    norm.set_weights([beta, mean, random.uniform(0.7, 1.4, x.shape[-1])])
    return keras.layers.ReLU()(x)


def write_h5(network: keras.Model, path: Path) -> Path:
    """Writes the weights as Keras 2 did: a group for each layer, the names of its arrays in an attribute."""
    with h5py.File(path, "w") as file:
        names = [layer.name.replace("-", "/") for layer in network.layers]
        file.attrs["layer_names"] = [name.encode() for name in names]
        for layer, name in zip(network.layers, names, strict=True):
            group = file.require_group(name)
            arrays = {f"{name}/{weight.name}:0": np.asarray(weight) for weight in layer.weights}
            group.attrs["weight_names"] = [array.encode() for array in arrays]
            for array, values in arrays.items():
                group[array] = values
    return path
