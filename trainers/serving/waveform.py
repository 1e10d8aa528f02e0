"""From a waveform to genre probabilities, all of it in one TensorFlow graph: what `fma export` writes.

The same steps as ingestion, training and evaluation take, with the pipeline's own mel matrix; only the decoder and the
resampler stay outside. Float rounding may move a mel value by one of its steps now and then.
"""

import numpy as np
import tensorflow as tf

from trainers import metrics
from trainers.serving.keras_scorer import KerasScorer
from trainers.serving.network import Network
from transforms.audio.mel import AMIN, mel_filters
from transforms.config import DatasetConfig

WAVEFORM = tf.TensorSpec([None], tf.float32, name="waveform")
WINDOWS = 16
"""That go through the model at once: memory does not grow with the waveform beyond them."""

SIGNATURES = ("serving_default", "pcm16")


class WaveformModel(tf.Module):
    """A run's model from the waveform on.

    Args:
      scorer: the run's model.
      labels_file: a local text file with a genre on each line; it becomes an asset.
      network: instead of the run's own.
    """

    def __init__(self, scorer: KerasScorer, labels_file: str, network: Network | None = None):
        super().__init__(name="fma")
        self._scorer, self._config = scorer, scorer.config
        self.network = network or scorer.network
        # Keras' variables must not be tracked: what restores them fills copies that the graph does not read, and TF
        # Serving and TFLite, which know nothing of Keras, then find no weights.
        self.weights = self.network.variables
        self.labels_file = tf.saved_model.Asset(labels_file)
        self._labels = list(scorer.labels)
        self._temperature = scorer.calibration.temperature
        self._context = scorer.config.n_fft // 2 if scorer.kind == "mel" else 0
        self._payloads = MelImages(scorer.config) if scorer.kind == "mel" else _pcm

    @tf.function(input_signature=[WAVEFORM])
    def serving_default(self, waveform: tf.Tensor) -> dict[str, tf.Tensor]:
        """One song.

        Args:
          waveform: float32 [n], mono in [-1, 1) at the dataset's sample rate, at least one window long.

        Returns:
          probabilities float32 [classes]; window_probabilities float32 [windows, classes]; window_start_seconds float32
          [windows]; labels string [classes].
        """
        count = self._count(waveform)
        checks = [
            tf.debugging.assert_greater_equal(
                count, 1, f"the waveform is shorter than one window, {self._config.window_samples} samples"
            ),
            tf.debugging.assert_all_finite(waveform, "the waveform has a sample that is not a number"),
        ]
        with tf.control_dependencies([check for check in checks if check is not None]):
            logits, features = self._in_chunks(waveform, count)
        hop = self._config.window_hop_samples / self._config.sample_rate
        return self._answer(logits, features) | {
            "window_start_seconds": tf.range(tf.cast(count, tf.float32)) * hop,
            "labels": tf.constant(self._labels),
        }

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="pcm16")])
    def pcm16(self, pcm16: tf.Tensor) -> dict[str, tf.Tensor]:
        """Some songs as bytes, which travel better than numbers in JSON.

        Args:
          pcm16: string [batch], each a song as little-endian 16-bit samples, mono at the dataset's sample rate.

        Returns:
          probabilities float32 [batch, classes]; genre string [batch], the most likely one.
        """

        def one(data: tf.Tensor) -> tf.Tensor:
            samples = tf.cast(tf.io.decode_raw(data, tf.int16), tf.float32) / 32768
            return self.serving_default(samples)["probabilities"]

        probabilities = tf.map_fn(one, pcm16, fn_output_signature=tf.TensorSpec([len(self._labels)], tf.float32))
        return {
            "probabilities": probabilities,
            "genre": tf.gather(tf.constant(self._labels), tf.argmax(probabilities, axis=1)),
        }

    def device(self, waveform: tf.Tensor) -> dict[str, tf.Tensor]:
        """`serving_default` for TFLite: without checks, text and loops, so all windows are in memory at once. Not a
        tf.function, so that the SavedModel has no part in it.

        Returns:
          probabilities float32 [classes]; window_probabilities float32 [windows, classes].
        """
        logits, features = self._windows(self._padded(waveform), tf.range(self._count(waveform)))
        return self._answer(logits, tf.reduce_mean(features, axis=0))

    def _count(self, waveform: tf.Tensor) -> tf.Tensor:
        """As `DatasetConfig.count_windows`."""
        config = self._config
        return tf.maximum(0, (tf.size(waveform) - config.window_samples) // config.window_hop_samples + 1)

    def _padded(self, waveform: tf.Tensor) -> tf.Tensor:
        return tf.pad(waveform, [[self._context, self._context]])

    def _windows(self, padded: tf.Tensor, windows: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Logits [b, classes] and features [b, d] of the windows with these numbers, int32 [b]."""
        length = self._config.window_samples
        if self._context:
            length += self._config.n_fft - self._config.hop_length
        starts = windows * self._config.window_hop_samples
        samples = tf.gather(padded, starts[:, tf.newaxis] + tf.range(length))
        return self.network.windows(self._scorer.inputs.normalize({self._scorer.kind: self._payloads(samples)}))

    def _in_chunks(self, waveform: tf.Tensor, count: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Logits [windows, classes] of all windows, and their features' mean [d]."""
        padded, classes = self._padded(waveform), len(self._labels)
        width = self.network.width
        kept = tf.TensorArray(tf.float32, 0, dynamic_size=True, infer_shape=False, element_shape=[None, classes])

        def chunk(step, logits, total):
            numbers = tf.range(step * WINDOWS, tf.minimum((step + 1) * WINDOWS, count))
            some, features = self._windows(padded, numbers)
            return step + 1, logits.write(step, some), total + tf.reduce_sum(features, axis=0)

        _, logits, total = tf.while_loop(
            lambda step, *_: step * WINDOWS < count, chunk, (0, kept, tf.zeros([width])), parallel_iterations=1
        )
        return tf.ensure_shape(logits.concat(), [None, classes]), total / tf.cast(count, tf.float32)

    def _answer(self, logits: tf.Tensor, features: tf.Tensor) -> dict[str, tf.Tensor]:
        by_window = tf.nn.log_softmax(logits)
        if self.network.pooled:
            whole = tf.nn.log_softmax(self.network.head(features[tf.newaxis]))[0]
        else:
            whole = tf.reduce_mean(tf.maximum(by_window, metrics.LOWEST), axis=0)
        return {
            "probabilities": tf.nn.softmax(whole / self._temperature),
            "window_probabilities": tf.nn.softmax(by_window / self._temperature),
        }


class MelImages:
    """`transforms.audio.features` in a graph.

    Args:
      config: of the dataset.
    """

    def __init__(self, config: DatasetConfig):
        self._config = config
        self._filters = mel_filters(config.sample_rate, config.n_fft, config.n_mels).T
        n = np.arange(config.n_fft)
        self._hann = (0.5 - 0.5 * np.cos(2 * np.pi * n / config.n_fft)).astype(np.float32)

    def __call__(self, samples: tf.Tensor) -> tf.Tensor:
        """float32 [b, (frames - 1) * hop + n_fft] -> uint8 [b, n_mels, frames]."""
        config = self._config
        frames = tf.signal.frame(samples, config.n_fft, config.hop_length)
        spectrum = tf.signal.rfft(frames * self._hann)
        power = tf.square(tf.math.real(spectrum)) + tf.square(tf.math.imag(spectrum))
        mel = tf.maximum(tf.linalg.matmul(power, self._filters), AMIN)
        decibels = tf.math.log(mel) * np.float32(10 / np.log(10))
        steps = tf.round((decibels - config.db_min) * np.float32(1 / config.db_step))
        image = tf.transpose(tf.clip_by_value(steps, 0, 255), [0, 2, 1])
        return tf.reshape(tf.cast(image, tf.uint8), [-1, config.n_mels, config.window_frames])


def _pcm(samples: tf.Tensor) -> tf.Tensor:
    """`transforms.audio.features` in a graph: float32 [b, samples] -> int16 [b, samples]."""
    return tf.cast(tf.clip_by_value(tf.round(samples * 32768), -32768, 32767), tf.int16)
