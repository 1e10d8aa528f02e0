"""A wheel like musicnn's, with random weights."""

import zipfile
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from trainers.encoders.musicnn import CHECKPOINTS
from trainers.encoders.musicnn_network import build_network

METADATA = "Metadata-Version: 2.1\nName: musicnn\nVersion: 0.1.0\n"
KIND = "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n"


def random_network(seed: int) -> keras.Model:
    """musicnn untrained, with the moments of its batch norms at random, too."""
    keras.utils.set_random_seed(seed)
    network, rng = build_network(), np.random.default_rng(seed)
    for layer in network.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.set_weights([rng.uniform(0.5, 1.5, weight.shape) for weight in layer.weights])
    return network


def write_wheel(folder: Path) -> tuple[Path, dict[str, keras.Model]]:
    """Writes a wheel that pip takes, and returns its networks, too."""
    wheel, networks = folder / "musicnn-0.1.0-py3-none-any.whl", {}
    with zipfile.ZipFile(wheel, "w") as archive:
        for name, text in (("METADATA", METADATA), ("WHEEL", KIND), ("RECORD", "")):
            archive.writestr(f"musicnn-0.1.0.dist-info/{name}", text)
        for seed, (name, checkpoint) in enumerate(CHECKPOINTS.items()):
            networks[name] = random_network(seed)
            _save(networks[name], folder / checkpoint)
            for ending in (".index", ".data-00000-of-00001"):
                archive.write(folder / f"{checkpoint}{ending}", f"musicnn/{checkpoint}/{ending}")
    return wheel, networks


def _save(network: keras.Model, path: Path) -> None:
    """Writes a checkpoint with TensorFlow 1's names and shapes, where all convolutions have two axes."""
    values = {}
    for layer in network.layers:
        for weight in layer.weights:
            value = np.asarray(weight)
            values[f"{layer.name}/{weight.name}"] = value[:, :, None] if value.ndim == 3 else value
    tf.raw_ops.SaveV2(
        prefix=str(path), tensor_names=list(values), shape_and_slices=[""] * len(values), tensors=list(values.values())
    )
