"""The encoders that are built here, by name."""

import hashlib
from typing import TYPE_CHECKING

from trainers.encoders import mobilenet_v2, musicnn, yamnet
from trainers.encoders.spec import EncoderSpec
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


def build_encoder(name: str, config: DatasetConfig, weights: str = "") -> tuple["keras.Model", EncoderFacts]:
    """Build an encoder for the windows of a dataset with these settings.

    Args:
      name: a key of `ENCODERS`.
      config: the dataset's settings.
      weights: a file with the encoder's weights; "" for the published ones, which are fetched where they are not here.

    Returns:
      windows -> outputs, see `EncoderSpec.build`; and its facts.

    Raises:
      UsageError: there is no such encoder, or it does not fit the dataset or its weights.
      FmaError: its weights cannot be fetched.
    """
    spec = find_encoder(name)
    path = weights or get_weights(spec.weights)
    with local_copy(path) as copy:
        sha256 = hashlib.sha256(storage.read_bytes(copy)).hexdigest()
    facts = EncoderFacts(
        name=spec.name,
        reads=spec.reads,
        sample_rate=config.sample_rate,
        outputs=spec.outputs,
        sha256=sha256,
        version=spec.version,
        license=spec.weights.license,
        trained_on=spec.weights.trained_on,
    )
    return spec.build(config, path), facts
