"""yamnet: a head on the embeddings of YAMNet, a MobileNet that was trained on the sounds of AudioSet.

The embeddings of all patches of a track (0.96 s, half overlapping) are pooled to their mean and standard deviation, and
a linear layer classifies the track. YAMNet itself is never trained: its features are computed once.
"""

from typing import TYPE_CHECKING

from trainers.models import pretrained
from trainers.models.spec import ModelInput, ModelOptions, ModelSpec, Phase, train_head_only
from trainers.models.yamnet_h5 import CLASSES, build_network, load_h5
from transforms.errors import UsageError
from transforms.weights.cache import get_weights
from transforms.weights.table import WEIGHTS

if TYPE_CHECKING:
    import keras

AUDIOSET = "audioset"  # the published weights, in `ModelOptions.weights`
EMBEDDING, LOGITS = "embedding", "logits"
DIMENSIONS = 1024
DROPOUT = 0.5


def build(model_input: ModelInput, classes: int, options: ModelOptions) -> "keras.Model":
    """Build the model: resampling to 16 kHz, log-mel patches, YAMNet, moments over the patches, head.

    Of the options, dropout and weights are used: "audioset", a file of YAMNet (.h5 as it is published, or .keras), or
    "none" for random ones.

    Raises:
      UsageError: the weights are not YAMNet's, or the sample rate cannot be resampled.
      FmaError: the weights cannot be fetched.
    """
    import keras
    from keras import ops

    from trainers.models import layers

    inputs = keras.Input(model_input.shape, name="raw")
    patches = log_mel_patches(inputs, model_input.sample_rate)
    network = load_yamnet(options.weights)
    embeddings = network(ops.reshape(patches, (-1, layers.PATCH, layers.BANDS)))
    by_window = ops.reshape(embeddings, (-1, patches.shape[1], DIMENSIONS))
    front = keras.Model(inputs, layers.pool_moments([by_window], (1,)), name="front")
    return layers.attach_head(front, classes, options, name="yamnet", dropout=DROPOUT)


def log_mel_patches(windows: "keras.KerasTensor", rate: int) -> "keras.KerasTensor":
    """Return YAMNet's input for windows [batch, samples] at `rate` Hz: float32 [batch, patches, 96, 64].

    Raises:
      UsageError: the sample rate cannot be resampled.
    """
    from trainers.models import layers

    return layers.LogMelPatches(name="patches")(layers.resample(windows, rate, layers.YAMNET_RATE, "yamnet"))


def load_yamnet(weights: str, *, logits: bool = False) -> "keras.Model":
    """Load YAMNet up to its embedding: log-mel patches [batch, 96, 64] -> float32 [batch, 1024].

    Args:
      weights: as in `build`.
      logits: give {"embedding": as above, "logits": of the classes of AudioSet, float32 [batch, 521]}.

    Raises:
      UsageError: the file is not YAMNet's.
      FmaError: the published weights cannot be fetched.
    """
    import keras

    from trainers.models.layers import BANDS, PATCH

    path = get_weights(WEIGHTS["yamnet"]) if weights in ("", AUDIOSET) else weights
    network = _load(path)
    shapes = {layer.name: layer.output.shape for layer in network.layers}
    if network.input_shape != (None, PATCH, BANDS) or shapes.get(EMBEDDING) != (None, DIMENSIONS):
        raise UsageError(
            f"--weights {path} is not YAMNet: it must map patches [96, 64] to a layer {EMBEDDING} of {DIMENSIONS}"
        )
    embedding = network.get_layer(EMBEDDING).output
    if not logits:
        return keras.Model(network.inputs, embedding, name="yamnet_embedding")
    # A file may have the sigmoid in its last layer, so that layer is built again without.
    last = network.layers[-1]
    if not isinstance(last, keras.layers.Dense) or last.kernel.shape != (DIMENSIONS, CLASSES):
        raise UsageError(f"--weights {path}: its last layer must give the {CLASSES} scores of YAMNet")
    linear = keras.layers.Dense(CLASSES, name=LOGITS)
    outputs = {EMBEDDING: embedding, LOGITS: linear(embedding)}
    linear.set_weights(last.get_weights())
    return keras.Model(network.inputs[0], outputs, name="yamnet")


def _load(path: str) -> "keras.Model":
    if path == "none":
        return build_network()
    return load_h5(path) if path.endswith(".h5") else pretrained.load_network(path, "YAMNet")


SPEC = ModelSpec(
    name="yamnet",
    summary="a head on YAMNet's embeddings of the whole track",
    kind="raw",
    build=build,
    phases=(Phase("head", epochs=40, learning_rate=3e-4, weight_decay=1e-2, train="head", prepare=train_head_only),),
    default_weights=AUDIOSET,
    pool="track",
)
