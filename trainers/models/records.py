"""The whole model: it takes records as they are stored, normalises them, and passes them to the network.

The network is what `ModelSpec.build` returns, and what training augments the input of; the whole model is what a run
stores. Versions before it stored the network alone (`takes_records`).
"""

from typing import TYPE_CHECKING

import numpy as np

from transforms.audio.features import KINDS, PCM_SCALE
from transforms.config import DatasetConfig
from transforms.dataset.normalization import Normalization

if TYPE_CHECKING:
    import keras

NORMALIZE = "normalize"  # name of the layer
RANGE_DB = 60.0  # dB below a window's loudness that a model of mel tells apart, where loudness is normalised


def add_normalization(
    network: "keras.Model",
    kind: str,
    config: DatasetConfig,
    normalization: Normalization | None,
    *,
    loudness: bool = False,
) -> "keras.Model":
    """Return the whole model of a network, to be called in the device's scope.

    Args:
      network: normalised values -> logits; its weights are the whole model's, too.
      kind: of the records, mel or raw.
      config: of their dataset.
      normalization: of mel.
      loudness: whether every window is brought to the same loudness.

    Returns:
      uint8 [batch, n_mels, frames] or int16 [batch, samples] -> logits float32 [batch, classes].
    """
    import keras

    from trainers.models.normalize import NormalizeMel, NormalizeRaw

    stored = KINDS[kind]
    records = keras.Input(stored.shape(config), dtype=stored.dtype.name, name="records")
    if kind == "raw" and loudness:
        return _chain(records, NormalizeRaw(name=NORMALIZE), network)
    if kind == "raw":
        return _chain(records, keras.layers.Rescaling(PCM_SCALE, dtype="float32", name=NORMALIZE), network)
    layer = NormalizeMel(config.db_step, config.db_min, RANGE_DB if loudness else None, name=NORMALIZE)
    model = _chain(records, layer, network)
    assert normalization is not None
    layer.set_from(normalization)
    return model


def _chain(records: "keras.KerasTensor", layer: "keras.Layer", network: "keras.Model") -> "keras.Model":
    import keras

    return keras.Model(records, network(layer(records)), name=network.name)


def takes_records(model: "keras.Model") -> bool:
    """Return whether a saved model takes records as they are stored, not normalised values."""
    return np.dtype(model.inputs[0].dtype).kind in "iu"


def network_of(model: "keras.Model") -> "keras.Model":
    """Return the network of a whole model: normalised values -> logits."""
    return model.get_layer(model.name)


def normalization_of(model: "keras.Model") -> "keras.Layer":
    """Return the first layer of a whole model: records -> normalised values, float32."""
    return model.get_layer(NORMALIZE)
