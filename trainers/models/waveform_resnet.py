"""waveform_resnet: a residual 1D network on the whole raw window, of the SampleCNN family (Lee et al. 2017, 2018).

Short filters (3 samples) all the way, with pooling by 3 after each block, learn their own front end; residual blocks
follow ResNet v1. Two strided convolutions at the start make the blocks nine times cheaper, so it also trains on a CPU.
"""

from typing import TYPE_CHECKING

from trainers.models.spec import ModelInput, ModelOptions, ModelSpec, Phase

if TYPE_CHECKING:
    import keras

STEM = (32, 48)
BLOCKS = (48, 64, 128, 128, 256, 256)
DROPOUT = 0.3


def build(model_input: ModelInput, classes: int, options: ModelOptions) -> "keras.Model":
    """Build stem, residual blocks, mean and max over time; of the options, width and dropout are used."""
    import keras
    from keras import layers

    from trainers.models.layers import batch_norm

    def convolution(x: "keras.KerasTensor", channels: int, size: int = 3, strides: int = 1) -> "keras.KerasTensor":
        return batch_norm(layers.Conv1D(channels, size, strides=strides, padding="same", use_bias=False)(x))

    def block(x: "keras.KerasTensor", channels: int) -> "keras.KerasTensor":
        shortcut = x if x.shape[-1] == channels else convolution(x, channels, size=1)
        x = layers.ReLU()(convolution(x, channels))
        x = layers.ReLU()(layers.Add()([convolution(x, channels), shortcut]))
        return layers.MaxPooling1D(3, padding="same")(x)

    inputs = keras.Input(model_input.shape, name="raw")
    x = layers.Reshape((*model_input.shape, 1))(inputs)
    for channels in STEM:
        x = layers.ReLU()(convolution(x, options.scaled(channels), strides=3))
    for channels in BLOCKS:
        x = block(x, options.scaled(channels))
    x = layers.Concatenate()([layers.GlobalAveragePooling1D()(x), layers.GlobalMaxPooling1D()(x)])
    x = layers.Dropout(options.dropout_or(DROPOUT))(x)
    return keras.Model(inputs, layers.Dense(classes, dtype="float32", name="logits")(x), name="waveform_resnet")


SPEC = ModelSpec(
    name="waveform_resnet",
    summary="a residual 1D CNN of the SampleCNN family on the whole raw window",
    kind="raw",
    build=build,
    phases=(Phase("train", epochs=40, learning_rate=2e-3, batch_size=16, weight_decay=1e-2, patience=12, mixup=0.2),),
)
