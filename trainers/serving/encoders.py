"""The encoders of a run's features in TensorFlow's graphs: windows in, moments out. Imports TensorFlow."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import keras
import tensorflow as tf

from trainers.encoders.table import ENCODERS, build_encoder
from trainers.serving.encoder_files import Moments, find_file
from transforms import storage
from transforms.audio.features import KINDS, PCM_SCALE
from transforms.config import DatasetConfig
from transforms.encoders.facts import FILE, EncoderFacts
from transforms.encoders.networks import OWN_SIGNATURE
from transforms.errors import UsageError

OPTION = "--encoder FILE"


@dataclass(frozen=True, eq=False)
class GraphEncoder:
    """An encoder that is part of a graph."""

    facts: EncoderFacts
    encode: Callable[[tf.Tensor], Mapping[str, tf.Tensor]]  # windows -> outputs [b, d] or [b, positions, d]
    variables: Sequence[tf.Variable]
    owner: object = None  # of the variables, which live as long as it

    def moments(self, windows: tf.Tensor, dtype: tf.DType) -> tf.Tensor:
        """Return means and then mean squares [b, 2 d] over the positions of windows [b, ...] as they are stored."""
        values = tf.cast(windows, tf.float32) * PCM_SCALE if self.facts.reads == "raw" else windows
        found, batch = self.encode(values), tf.shape(windows)[0]
        maps = [tf.cast(tf.reshape(found[name], [batch, -1, size]), dtype) for name, size in self.facts.outputs.items()]
        means = [tf.reduce_mean(values, axis=1) for values in maps]
        squares = [tf.reduce_mean(tf.square(values), axis=1) for values in maps]
        return tf.concat([*means, *squares], axis=1)


def open_published(run: str, facts: EncoderFacts, config: DatasetConfig) -> Moments:
    """Open the encoder whose embeddings a run was fitted on, with its published weights.

    Args:
      run: its path, for messages.
      facts: of the encoder, as the run has them.
      config: of the run's dataset.

    Raises:
      UsageError: the encoder here is another one, or its weights are not here.
    """
    return compile_moments(build_published(run, facts, config), config)


def as_graph(model: keras.Model, facts: EncoderFacts) -> GraphEncoder:
    """Return an encoder that was built here as part of a graph."""
    variables = [variable.value for variable in model.variables]
    return GraphEncoder(facts, lambda windows: model(windows, training=False), variables)


def compile_moments(encoder: GraphEncoder, config: DatasetConfig) -> Moments:
    """Return the moments of an encoder as a function of NumPy's arrays, for any number of windows."""
    kind = KINDS[encoder.facts.reads]
    stored = tf.TensorSpec([None, *kind.shape(config)], tf.as_dtype(kind.dtype))
    moments = tf.function(lambda windows: encoder.moments(windows, tf.float64), input_signature=[stored])
    return lambda windows: moments(tf.constant(windows)).numpy()


def build_published(run: str, facts: EncoderFacts, config: DatasetConfig) -> GraphEncoder:
    """Build an encoder of this program; see `open_published`."""
    needs = f"{run} was fitted on embeddings of {facts.name} ({facts.sha256[:12]}, version {facts.version})"
    if facts.name not in ENCODERS:
        raise UsageError(f"{needs}: give its file with {OPTION}")
    model, found = build_encoder(facts.name, config, version=facts.version)
    if found != facts:
        raise UsageError(
            f"{needs}, the one here is another ({found.sha256[:12]}, version {found.version}): give its folder of fma "
            f"export with {OPTION}"
        )
    return as_graph(model, facts)


def build(run: str, facts: EncoderFacts, config: DatasetConfig, files: Sequence[str]) -> GraphEncoder:
    """Build an encoder for a graph: of one of some folders of `fma export --encoder`, or of this program.

    Raises:
      UsageError: as `open_published`, or it is a file of another form.
    """
    path = find_file(files, facts, config)
    if not path:
        return build_published(run, facts, config)
    if not storage.exists(storage.join(path, FILE)):
        raise UsageError(f"{OPTION.replace('FILE', path)} cannot be part of an export: it is no folder of fma export")
    loaded = tf.saved_model.load(path)
    encode = loaded.signatures[OWN_SIGNATURE]
    return GraphEncoder(facts, lambda windows: encode(windows=windows), encode.variables, loaded)
