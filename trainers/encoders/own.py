"""Anybody's own encoder as a .keras file: float32 [batch, samples] -> outputs [batch, d] or [batch, time, d]."""

import hashlib
from typing import TYPE_CHECKING

from trainers.models.keras_file import KERAS_ERRORS, load_keras_file
from trainers.models.pretrained import first_line, local_copy
from transforms import storage
from transforms.encoders.facts import EncoderFacts, name_of_file
from transforms.errors import UsageError

if TYPE_CHECKING:
    import keras

ONLY = "embedding"  # the name of the output of a network with one


def load_own(path: str, sample_rate: int) -> tuple["keras.Model", EncoderFacts]:
    """Load a .keras file as an encoder.

    Args:
      path: of the file, whose name becomes the encoder's.
      sample_rate: Hz of the waveform that it hears.

    Returns:
      float32 [batch, samples] -> {output: [batch, d] or [batch, time, d]}, and its facts. `samples` is None where it
      hears any number of them.

    Raises:
      UsageError: it is no such network, or consists of what none of our models has.
    """
    import keras

    with local_copy(path, "--encoder") as copy:
        sha256 = hashlib.sha256(storage.read_bytes(copy)).hexdigest()
        try:
            network = load_keras_file(copy)
        except KERAS_ERRORS as error:
            raise UsageError(
                f"--encoder {path} cannot be loaded ({first_line(error)}): save it as a SavedModel instead"
            ) from error
    shape, tensors = network.input_shape, network.output
    if isinstance(tensors, dict):
        outputs = dict(tensors)
    elif isinstance(tensors, list | tuple):
        outputs = dict(zip(network.output_names, tensors, strict=True))
    else:
        outputs = {ONLY: tensors}
    if not isinstance(shape, tuple) or len(shape) != 2:
        raise UsageError(f"--encoder {path} must take a waveform [batch, samples], and takes {shape}")
    for name, tensor in outputs.items():
        if len(tensor.shape) not in (2, 3) or tensor.shape[-1] is None:
            raise UsageError(f"--encoder {path} must give [batch, d] or [batch, time, d]; {name} is {tensor.shape}")
    facts = EncoderFacts(
        name=name_of_file(path),
        reads="raw",
        sample_rate=sample_rate,
        outputs={name: int(tensor.shape[-1]) for name, tensor in outputs.items()},
        sha256=sha256,
    )
    return keras.Model(network.inputs[0], outputs, name="encoder"), facts
