"""The encoders that are built here, by name."""

import hashlib
from typing import TYPE_CHECKING

from trainers.encoders import mobilenet_v2, musicnn, yamnet
from trainers.encoders.spec import ONE_LEVEL, EncoderSpec
from trainers.models.pretrained import local_copy
from transforms import storage
from transforms.config import DatasetConfig
from transforms.encoders.facts import EncoderFacts
from transforms.errors import UsageError
from transforms.runtime.text import did_you_mean
from transforms.weights.cache import get_weights

if TYPE_CHECKING:
    import keras

ENCODERS = {spec.name: spec for spec in (yamnet.ENCODER, mobilenet_v2.ENCODER, *musicnn.ENCODERS)}


def find_encoder(name: str) -> EncoderSpec:
    """Return a row of `ENCODERS`.

    Raises:
      UsageError: there is none of that name.
    """
    if name not in ENCODERS:
        hint = did_you_mean(name, ENCODERS)
        raise UsageError(
            f"there is no encoder of the name {name}{hint}; there are {', '.join(ENCODERS)}, or give a .keras file"
        )
    return ENCODERS[name]


def build_encoder(
    name: str, config: DatasetConfig, weights: str = "", version: int | None = None
) -> tuple["keras.Model", EncoderFacts]:
    """Build an encoder for the windows of a dataset with these settings.

    Args:
      name: a key of `ENCODERS`.
      config: the dataset's settings.
      weights: a file with the encoder's weights; "" for the published ones, which are fetched where they are not here.
      version: of the code around the weights, see `EncoderFacts`; None: the newest.

    Returns:
      windows -> outputs, see `EncoderSpec.build`; and its facts.

    Raises:
      UsageError: there is no such encoder, or it does not fit the dataset or its weights.
      FmaError: its weights cannot be fetched.
    """
    spec = find_encoder(name)
    version = version or spec.version
    if version > spec.version:
        raise UsageError(f"{name} version {version} is not known here, where the newest is {spec.version}")
    path = weights or get_weights(spec.weights)
    with local_copy(path) as copy:
        sha256 = hashlib.sha256(storage.read_bytes(copy)).hexdigest()
    facts = EncoderFacts(
        name=spec.name,
        reads=spec.reads,
        sample_rate=config.sample_rate,
        outputs=spec.outputs,
        sha256=sha256,
        version=version,
        license=spec.weights.license,
        trained_on=spec.weights.trained_on,
    )
    network = spec.build(config, path)
    return _at_one_level(network) if spec.reads == "raw" and version >= ONE_LEVEL else network, facts


def _at_one_level(network: "keras.Model") -> "keras.Model":
    """Return an encoder of raw windows that brings each to one loudness first."""
    import keras

    from trainers.models.normalize import bring_to_level

    windows = keras.Input(network.input_shape[1:], name="windows")
    return keras.Model(windows, network(bring_to_level(windows)), name=network.name)
