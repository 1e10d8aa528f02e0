"""yamnet: a head on the embeddings of YAMNet, a MobileNet that was trained on the sounds of AudioSet.

The embeddings of all patches of a track (0.96 s, half overlapping) are pooled to their mean and standard deviation, and
a linear layer classifies the track. YAMNet itself is never trained: its features are computed once.
"""

from typing import TYPE_CHECKING

from trainers.models import pretrained
from trainers.models.spec import ModelInput, ModelOptions, ModelSpec, Phase, train_head_only
from transforms.errors import UsageError

if TYPE_CHECKING:
    import keras

EMBEDDING = "embedding"
DIMENSIONS = 1024
DROPOUT = 0.5
LARGEST_KERNEL = 1 << 24


def build(model_input: ModelInput, classes: int, options: ModelOptions) -> "keras.Model":
    """Build the model: resampling to 16 kHz, log-mel patches, YAMNet, moments over the patches, head.

    Of the options, weights (a .keras file of YAMNet) and dropout are used.

    Raises:
      UsageError: no weights are given, they are not YAMNet's, or the sample rate cannot be resampled.
    """
    import keras
    from keras import ops

    from trainers.models import layers

    rate = model_input.sample_rate
    if layers.resampling_size(rate, layers.YAMNET_RATE) > LARGEST_KERNEL:
        raise UsageError(f"yamnet cannot resample from {rate} Hz: ingest with --sample-rate 22050, 16000 or 44100")
    network = load_yamnet(options.weights)
    inputs = keras.Input(model_input.shape, name="raw")
    patches = layers.LogMelPatches(name="patches")(layers.Resample(rate, name="resample")(inputs))
    embeddings = network(ops.reshape(patches, (-1, layers.PATCH, layers.BANDS)))
    by_window = ops.reshape(embeddings, (-1, patches.shape[1], DIMENSIONS))
    front = keras.Model(inputs, layers.pool_moments([by_window], (1,)), name="front")
    return layers.attach_head(front, classes, options, name="yamnet", dropout=DROPOUT)


def load_yamnet(path: str) -> "keras.Model":
    """Load YAMNet up to its embedding: log-mel patches [batch, 96, 64] -> float32 [batch, 1024].

    Raises:
      UsageError: no file is given, or it is not YAMNet's.
    """
    import keras

    from trainers.models.layers import BANDS, PATCH

    if path in ("", "none", "imagenet"):
        raise UsageError("yamnet needs the network's weights: --weights FILE, YAMNet as a .keras file")
    network = pretrained.load_network(path, "YAMNet")
    shapes = {layer.name: layer.output.shape for layer in network.layers}
    if network.input_shape != (None, PATCH, BANDS) or shapes.get(EMBEDDING) != (None, DIMENSIONS):
        raise UsageError(
            f"--weights {path} is not YAMNet: it must map patches [96, 64] to a layer {EMBEDDING} of {DIMENSIONS}"
        )
    return keras.Model(network.inputs, network.get_layer(EMBEDDING).output, name="yamnet_embedding")


SPEC = ModelSpec(
    name="yamnet",
    summary="a head on YAMNet's embeddings of the whole track; --weights FILE",
    kind="raw",
    build=build,
    phases=(Phase("head", epochs=40, learning_rate=3e-4, weight_decay=1e-2, train="head", prepare=train_head_only),),
    default_weights="",
    pool="track",
)
