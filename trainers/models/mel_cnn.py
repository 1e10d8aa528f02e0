"""mel_cnn: a compact convolutional network on log-mel images, trained from scratch (0.6 M parameters at width 1)."""

from typing import TYPE_CHECKING

from trainers.models.spec import ModelInput, ModelOptions, ModelSpec, Phase

if TYPE_CHECKING:
    import keras

STEM = 32
BLOCKS = (32, 64, 128)
TOP = 256
DROPOUT = 0.3


def build(model_input: ModelInput, classes: int, options: ModelOptions) -> "keras.Model":
    """Build stem (half resolution), blocks of two convolutions, a learned mean over frequency, mean and max over time.

    Frequency is not averaged: the place of a pattern on the mel axis matters, its time does not. So a depthwise
    convolution as tall as the map weighs the bands of each channel, and only time is pooled.

    Of the options, width and dropout are used.
    """
    import keras
    from keras import layers

    from trainers.models.layers import batch_norm

    def convolution(x: "keras.KerasTensor", channels: int, size: int, strides: int = 1) -> "keras.KerasTensor":
        conv = layers.Conv2D(options.scaled(channels), size, strides=strides, padding="same", use_bias=False)
        return layers.ReLU()(batch_norm(conv(x)))

    inputs = keras.Input(model_input.shape, name="mel")
    x = layers.Reshape((*model_input.shape, 1))(inputs)
    x = convolution(x, STEM, 5, strides=2)
    for channels in BLOCKS:
        x = layers.MaxPooling2D(2, padding="same")(x)
        x = convolution(convolution(x, channels, 3), channels, 3)
    x = layers.MaxPooling2D(2, padding="same")(x)
    x = convolution(x, TOP, 3)
    x = layers.DepthwiseConv2D((x.shape[1], 1), use_bias=False, name="over_frequency")(x)
    x = layers.ReLU()(batch_norm(x))
    x = layers.Concatenate()([layers.GlobalAveragePooling2D()(x), layers.GlobalMaxPooling2D()(x)])
    x = layers.Dropout(options.dropout_or(DROPOUT))(x)
    return keras.Model(inputs, layers.Dense(classes, dtype="float32", name="logits")(x), name="mel_cnn")


SPEC = ModelSpec(
    name="mel_cnn",
    summary="a compact CNN on mel images, trained from scratch",
    kind="mel",
    build=build,
    phases=(
        Phase(
            "train",
            epochs=40,
            learning_rate=2e-3,
            weight_decay=1e-2,
            patience=12,
            mixup=0.2,
            spec_augment=True,
            degrade=True,
        ),
    ),
)
