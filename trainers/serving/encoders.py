"""The encoders of a run's features, as serving calls them: windows in, moments out. Imports TensorFlow."""

from collections.abc import Mapping

import keras
import numpy as np
import tensorflow as tf

from trainers.encoders.table import build_encoder
from trainers.models.records import PCM_SCALE
from trainers.serving.track_features import Moments
from transforms.audio.features import KINDS
from transforms.config import DatasetConfig
from transforms.encoders.facts import EncoderFacts
from transforms.errors import UsageError


def open_encoder(run: str, facts: EncoderFacts, config: DatasetConfig) -> Moments:
    """Open the encoder whose embeddings a run was fitted on.

    Args:
      run: its path, for messages.
      facts: of the encoder, as the run has them.
      config: of the run's dataset.

    Raises:
      UsageError: the encoder here is another one, or its weights are not here.
    """
    encoder = build(run, facts, config)
    kind = KINDS[facts.reads]
    stored = tf.TensorSpec([None, *kind.shape(config)], tf.as_dtype(kind.dtype))

    @tf.function(input_signature=[stored])
    def moments(windows: tf.Tensor) -> tf.Tensor:
        return moments_of(encoder, facts, windows, tf.float64)

    def of_windows(windows: np.ndarray) -> np.ndarray:
        return moments(tf.constant(windows)).numpy()

    return of_windows


def build(run: str, facts: EncoderFacts, config: DatasetConfig) -> keras.Model:
    """Build the encoder: windows -> {output: float32 [b, d] or [b, positions, d]}; see `open_encoder`."""
    encoder, found = build_encoder(facts.name, config)
    if found != facts:
        raise UsageError(
            f"{run} was fitted on embeddings of another {facts.name} ({facts.sha256[:12]}, version {facts.version}) "
            f"than the one here ({found.sha256[:12]}, version {found.version})"
        )
    return encoder


def moments_of(encoder: keras.Model, facts: EncoderFacts, windows: tf.Tensor, dtype: tf.DType) -> tf.Tensor:
    """Return means and then mean squares [b, 2 d] over the positions of windows [b, ...] as they are stored."""
    values = tf.cast(windows, tf.float32) * PCM_SCALE if facts.reads == "raw" else windows
    found: Mapping[str, tf.Tensor] = encoder(values, training=False)
    batch, outputs = tf.shape(windows)[0], facts.outputs.items()
    maps = [tf.cast(tf.reshape(found[name], [batch, -1, size]), dtype) for name, size in outputs]
    means = [tf.reduce_mean(values, axis=1) for values in maps]
    squares = [tf.reduce_mean(tf.square(values), axis=1) for values in maps]
    return tf.concat([*means, *squares], axis=1)
