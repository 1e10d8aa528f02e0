"""The project's models at sizes that build and train in seconds, and a stand-in for YAMNet's weights."""

from pathlib import Path

import keras
import numpy as np

from trainers.models import MODELS
from trainers.models.spec import ModelInput, ModelOptions, front_of, head_of, standardise

CLASSES = 3
INPUTS = {"mel": ModelInput((32, 20), 16_000), "raw": ModelInput((4_000,), 22_050)}
OPTIONS = {"width": 0.125, "image_size": 32}
DROPOUT_FREE = {"dropout": 0.0}
"""Random numbers may differ between two ways to run a step; all else must not."""


def fake_yamnet(path: Path) -> Path:
    """Writes a network with YAMNet's input and embedding, and one small layer between them."""
    keras.utils.set_random_seed(0)
    patches = keras.Input((96, 64), name="log_mel")
    x = keras.layers.Reshape((96, 64, 1))(patches)
    x = keras.layers.Conv2D(1024, 16, strides=16, activation="relu")(x)
    x = keras.layers.GlobalAveragePooling2D(name="embedding")(x)
    keras.Model(patches, [x, keras.layers.Dense(5, name="scores")(x)]).save(path)
    return path


def build(name: str, yamnet_file: Path, given: dict | None = None) -> keras.Model:
    """A small model; mobilenet_v2 without weights."""
    weights = {"yamnet": str(yamnet_file), "mobilenet_v2": "none"}.get(name, "")
    options = ModelOptions(weights=weights, **OPTIONS | (given or {}))
    return MODELS[name].build(INPUTS[MODELS[name].kind], CLASSES, options)


def batch_of(name: str, size: int = 8) -> tuple[np.ndarray, np.ndarray]:
    """Records and one-hot labels."""
    kind = MODELS[name].kind
    rng = np.random.default_rng(1)
    scale = 0.1 if kind == "raw" else 1.0
    values = (scale * rng.standard_normal((size, *INPUTS[kind].shape))).astype("float32")
    return values, np.eye(CLASSES, dtype="float32")[np.arange(size) % CLASSES]


def ready(name: str, model: keras.Model) -> keras.Model:
    """The model as its last phase finds it: a standardised head, and what that phase trains set to be trainable."""
    if any(phase.train == "head" for phase in MODELS[name].phases):
        standardise(head_of(model), np.asarray(front_of(model)(batch_of(name)[0])))
    for phase in MODELS[name].phases:
        if phase.prepare:
            phase.prepare(model)
    return model
