"""An encoder's folder: a SavedModel with the signature "encode", and encoder.json beside it. Imports TensorFlow."""

import json
import os

import keras
import tensorflow as tf

from transforms import storage
from transforms.encoders.facts import FILE, EncoderFacts
from transforms.encoders.networks import OWN_SIGNATURE
from transforms.runtime import temporary
from transforms.runtime.stderr import capture_native_stderr


def export_encoder(encoder: keras.Model, facts: EncoderFacts, out: str) -> int:
    """Write an encoder to a folder that is empty or not there yet, and return its bytes.

    Args:
      encoder: windows -> {output: [batch, d] or [batch, positions, d]}.
      facts: of the encoder; they are written last, so that an interrupted export has none.
    """
    (windows,) = encoder.inputs
    stored = tf.TensorSpec(windows.shape, windows.dtype, name="windows")
    module = tf.Module()
    # TensorFlow's variables: Keras', which hold them, would be stored once more.
    module.weights = [variable.value for variable in encoder.variables]
    module.encode = tf.function(lambda windows: encoder(windows, training=False), input_signature=[stored])
    total = 0
    with temporary.new_folder() as folder:
        with capture_native_stderr():
            tf.saved_model.save(module, folder, {OWN_SIGNATURE: module.encode})
        for path, size in storage.list_files(folder):
            total += size
            storage.write_bytes(storage.join(out, os.path.relpath(path, folder)), storage.read_bytes(path))
    storage.write_bytes(storage.join(out, FILE), json.dumps(facts.to_json(), indent=2).encode() + b"\n")
    return total
