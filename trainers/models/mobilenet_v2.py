"""mobilenet_v2: MobileNetV2 of Sandler et al. (2018), trained on ImageNet, on mel images.

Phase 1 trains a head on the features of the frozen network, which are computed once. Phase 2 fine-tunes the blocks from
`FIRST_TUNED` on with the head, with augmentation and a low learning rate; batch norm keeps ImageNet's statistics.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from trainers.models import pretrained
from trainers.models.spec import ModelInput, ModelOptions, ModelSpec, Phase, front_of, train_head_only
from transforms.errors import UsageError
from transforms.weights.cache import get_weights
from transforms.weights.table import WEIGHTS

if TYPE_CHECKING:
    import keras

DEPTHS = ("block_9_expand_relu", "block_14_expand_relu", "out_relu")
"""Layers whose pooled activations are the features: middle layers respond to textures, which mel images consist of."""

FIRST_TUNED = "block_13_expand"
CONTRAST = 2.0
SMALLEST = 32
DROPOUT = 0.5


def build(model_input: ModelInput, classes: int, options: ModelOptions) -> "keras.Model":
    """Build the model: an image of fixed contrast in all three colours, MobileNetV2, moments, head.

    Of the options, dropout, image_size and weights are used: "imagenet", a file, or "none" for random ones, a control
    that shows what the weights are worth.

    Raises:
      UsageError: the weights do not fit, or the image is too small.
      FmaError: the weights cannot be fetched.
    """
    import keras

    from trainers.models.layers import MelImage, attach_head, pool_moments

    if options.image_size < SMALLEST:
        raise UsageError(f"--image-size {options.image_size}: mobilenet_v2 needs at least {SMALLEST}")
    inputs = keras.Input(model_input.shape, name="mel")
    backbone = load_backbone(options.weights, options.image_size, DEPTHS)
    images = MelImage(options.image_size, CONTRAST, name="image")(inputs)
    front = keras.Model(inputs, pool_moments(backbone(images), (1, 2)), name="front")
    return attach_head(front, classes, options, name="mobilenet_v2", dropout=DROPOUT)


def load_backbone(weights: str, image_size: int, depths: Sequence[str]) -> "keras.Model":
    """Load MobileNetV2 up to its pooling: images [batch, size, size, 3] -> the activations of the layers `depths`.

    `weights` and errors are as in `build`.
    """
    import keras

    shape = (image_size, image_size, 3)
    network = keras.applications.MobileNetV2(input_shape=shape, include_top=False, weights=None)
    if weights != "none":
        path = get_weights(WEIGHTS["mobilenet_v2"]) if weights in ("", "imagenet") else weights
        pretrained.load_into(network, path, "MobileNetV2 1.0 without top")
    return keras.Model(network.inputs, [network.get_layer(name).output for name in depths], name="backbone")


def fine_tune(network: "keras.Model") -> None:
    """Thaw the blocks from `FIRST_TUNED` on. A frozen batch norm works as in inference, in training too."""
    import keras

    train_head_only(network)
    front_of(network).trainable = True
    tuned = False
    for layer in front_of(network).get_layer("backbone").layers:
        tuned = tuned or layer.name == FIRST_TUNED
        layer.trainable = tuned and not isinstance(layer, keras.layers.BatchNormalization)


SPEC = ModelSpec(
    name="mobilenet_v2",
    summary="transfer learning from ImageNet: MobileNetV2 on mel images, head first, then its top blocks",
    kind="mel",
    build=build,
    phases=(
        Phase("head", epochs=30, learning_rate=1e-4, weight_decay=1e-2, train="head", prepare=train_head_only),
        Phase(
            "fine_tune",
            epochs=8,
            learning_rate=3e-5,
            batch_size=16,
            weight_decay=1e-2,
            patience=3,
            mixup=0.2,
            spec_augment=True,
            prepare=fine_tune,
        ),
    ),
    default_weights="imagenet",
)
