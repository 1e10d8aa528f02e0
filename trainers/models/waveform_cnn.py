"""waveform_cnn: the small 1D network on raw audio of many articles on FMA, kept as the reference.

It sees 10,000 samples (0.45 s) at a time: a random crop of the window in training, several fixed crops in evaluation,
whose log-probabilities are averaged. Two thirds of a track are never seen, and nearly all of its 16 million
parameters are in the first dense layer; waveform_resnet is the better choice.
"""

from typing import TYPE_CHECKING

from trainers.models.spec import ModelInput, ModelOptions, ModelSpec, Phase

if TYPE_CHECKING:
    import keras

CROP = 10_000
CROPS = 5
DROPOUT = 0.5


def build(model_input: ModelInput, classes: int, options: ModelOptions) -> "keras.Model":
    """Build the network over crops; a window shorter than a crop is taken whole.

    Of the options, width, dropout, seed and many are used.
    """
    import keras

    from trainers.models.layers import MultiCrop

    (samples,) = model_input.shape
    size = min(CROP, samples)
    inputs = keras.Input((samples,), name="raw")
    network = crop_network(size, classes, options)
    multi_crop = MultiCrop(network, size, CROPS, options.seed, many=options.many, name="over_crops")
    outputs = keras.layers.Activation("linear", dtype="float32", name="logits")(multi_crop(inputs))
    return keras.Model(inputs, outputs, name="waveform_cnn")


def crop_network(size: int, classes: int, options: ModelOptions) -> "keras.Model":
    """Build two convolutions and three dense layers: [batch, size, 1] -> logits float32 [batch, classes]."""
    import keras
    from keras import layers

    dropout = options.dropout_or(DROPOUT)
    stack = [
        keras.Input((size, 1), name="crop"),
        layers.Conv1D(options.scaled(128), 3, activation="relu"),
        layers.MaxPooling1D(2),
        layers.Conv1D(options.scaled(64), 3, activation="relu"),
        layers.MaxPooling1D(2),
        layers.Flatten(),
        layers.Dense(options.scaled(100), activation="relu"),
        layers.Dropout(dropout),
        layers.Dense(options.scaled(20), activation="relu"),
        layers.Dropout(dropout),
        layers.Dense(classes, dtype="float32"),
    ]
    return keras.Sequential(stack, name="crop_network")


SPEC = ModelSpec(
    name="waveform_cnn",
    summary="the small 1D CNN on 10,000 raw samples: the reference",
    kind="raw",
    build=build,
    phases=(Phase("train", epochs=40, learning_rate=3e-4, weight_decay=1e-4, label_smoothing=0.0, patience=10),),
)
