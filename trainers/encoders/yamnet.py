"""yamnet: for each patch of 0.96 s, half overlapping, YAMNet's embedding and its logits of the sounds of AudioSet."""

from typing import TYPE_CHECKING

from trainers.encoders.spec import ONE_LEVEL, EncoderSpec
from trainers.models import yamnet
from transforms.audio.features import KINDS
from transforms.config import DatasetConfig
from transforms.weights.table import WEIGHTS

if TYPE_CHECKING:
    import keras


def build(config: DatasetConfig, weights: str) -> "keras.Model":
    """Build the encoder; see `EncoderSpec.build`, and `trainers.models.yamnet` for weights and errors."""
    import keras
    from keras import ops

    from trainers.models.layers import BANDS, PATCH

    network = yamnet.load_yamnet(weights, logits=True)
    windows = keras.Input(KINDS["raw"].shape(config), name="windows")
    patches = yamnet.log_mel_patches(windows, config.sample_rate)
    found = network(ops.reshape(patches, (-1, PATCH, BANDS)))
    by_window = {name: ops.reshape(values, (-1, patches.shape[1], values.shape[-1])) for name, values in found.items()}
    return keras.Model(windows, by_window, name="yamnet")


ENCODER = EncoderSpec(
    name="yamnet",
    reads="raw",
    outputs={yamnet.EMBEDDING: yamnet.DIMENSIONS, yamnet.LOGITS: yamnet.CLASSES},
    weights=WEIGHTS["yamnet"],
    build=build,
    version=ONE_LEVEL,
)
