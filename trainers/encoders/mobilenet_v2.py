"""mobilenet_v2: activations of MobileNetV2, trained on ImageNet, at each point of a mel image."""

from typing import TYPE_CHECKING

from trainers.encoders.spec import EncoderSpec
from trainers.models import mobilenet_v2
from transforms.audio.features import KINDS
from transforms.config import DatasetConfig
from transforms.weights.table import WEIGHTS

if TYPE_CHECKING:
    import keras

LAYERS = {"block_6": "block_6_expand_relu", "block_9": "block_9_expand_relu", "out": "out_relu"}
IMAGE_SIZE = 224  # what the weights were trained with


def build(config: DatasetConfig, weights: str) -> "keras.Model":
    """Build the encoder; see `EncoderSpec.build`, and `trainers.models.mobilenet_v2` for weights and errors."""
    import keras
    from keras import ops

    from trainers.models.layers import MelImage

    network = mobilenet_v2.load_backbone(weights, IMAGE_SIZE, tuple(LAYERS.values()))
    windows = keras.Input(KINDS["mel"].shape(config), dtype="uint8", name="windows")
    # Its contrast does not depend on the units, so the stored steps do as well as decibels.
    images = MelImage(IMAGE_SIZE, mobilenet_v2.CONTRAST, name="image")(ops.cast(windows, "float32"))
    maps = dict(zip(LAYERS, network(images), strict=True))
    by_point = {name: ops.reshape(x, (-1, x.shape[1] * x.shape[2], x.shape[3])) for name, x in maps.items()}
    return keras.Model(windows, by_point, name="mobilenet_v2")


ENCODER = EncoderSpec(
    name="mobilenet_v2",
    reads="mel",
    outputs={"block_6": 192, "block_9": 384, "out": 1280},
    weights=WEIGHTS["mobilenet_v2"],
    build=build,
)
