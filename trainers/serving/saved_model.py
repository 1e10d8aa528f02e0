"""The exported model's folder: from a waveform to genre probabilities in one TensorFlow graph. Imports TensorFlow."""

import hashlib
import os
from typing import Any

import numpy as np
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter

from trainers.runs.directory import RunConfig, versions
from trainers.runs.files import write_json
from trainers.serving.lite import FACTS, FACTS_VERSION, TFLITE
from trainers.serving.scorers import Scorer
from trainers.serving.task_graphs import graph_of
from trainers.serving.tflite import Graph, convert, record_signatures
from transforms import storage
from transforms.audio.features import KINDS
from transforms.audio.mel import AMIN, hann, mel_filters
from transforms.config import DatasetConfig
from transforms.errors import FmaError
from transforms.runtime import temporary
from transforms.runtime.stderr import capture_native_stderr
from transforms.runtime.text import printable

WAVEFORM = tf.TensorSpec([None], tf.float32, name="waveform")
WINDOWS = 16  # in a batch: memory does not grow with the waveform beyond them

LABELS = "labels.txt"
SAVED_MODEL, GRAPH = "SavedModel", "saved_model.pb"
SIGNATURES = ("serving_default", "pcm16")
DEVICE = "serving_default"  # the TFLite model's signature for a waveform has the default name of TFLite

TOLERANCE, HALF_PRECISION, OTHER_PRECISION = 1e-3, 1e-2, 5e-2
"""Of the check after an export: for a network that computes in float32; for the SavedModel of one that computes in half
precision, where the order of sums matters; and for its TFLite model, which computes in float32."""


def export_network(scorer: Scorer, network: Graph, out: str, config: RunConfig, *, tflite: bool) -> dict[str, Any]:
    """Export a run's model, with `tflite` for devices, too, and compare it with the pipeline on a synthetic song.

    `network` is the scorer's; the folder `out` is empty or not there yet.

    Returns:
      export.json's content, and `bytes` of both models.

    Raises:
      FmaError: the result does not agree with the pipeline.
    """
    with temporary.new_folder() as folder:
        labels = os.path.join(folder, LABELS)
        with open(labels, "w", encoding="utf-8") as file:
            lines = (f"{printable(genre)}\n" for genre in scorer.task.labels)  # one each, whatever its name
            file.write("".join(lines))
        module, in_float32 = WaveformModel(scorer, labels, network), network.in_float32()
        full = in_float32 is network
        saved, note = os.path.join(folder, "saved"), ""
        tolerances = {SAVED_MODEL: TOLERANCE if full else HALF_PRECISION}
        with capture_native_stderr():
            tf.saved_model.save(module, saved, {name: getattr(module, name) for name in SIGNATURES})
            if tflite:
                note = _convert(WaveformModel(scorer, labels, in_float32), os.path.join(saved, TFLITE))
                if not note:
                    tolerances[TFLITE] = TOLERANCE if full else OTHER_PRECISION
            agreement = _compare(scorer, saved, tolerances)
        sha256 = _sha256(os.path.join(saved, TFLITE)) if TFLITE in tolerances else ""
        facts = _describe(scorer, config) | {"agreement": agreement, "tflite": note, "sha256": sha256}
        sizes = _publish(saved, out)
        write_json(out, FACTS, facts)
    return facts | {"bytes": sizes}


class WaveformModel(tf.Module):
    """A run's model whose input is a waveform.

    Args:
      scorer: the run's model.
      labels_file: a local text file with a genre on each line; it becomes an asset.
      network: of the run, or a copy of it.
    """

    def __init__(self, scorer: Scorer, labels_file: str, network: Graph):
        super().__init__(name="fma")
        self.scorer, self._config = scorer, scorer.config
        self.network = network
        # Keras' variables must not be tracked: restoring them fills copies that the graph does not read, and TF
        # Serving and TFLite, which do not know Keras, then find no weights.
        self.weights = self.network.variables
        self.labels_file = tf.saved_model.Asset(labels_file)
        self._labels = list(scorer.task.labels)
        self._task = graph_of(scorer.task)
        self._context = scorer.config.n_fft // 2 if "mel" in scorer.kinds else 0
        self._payloads = {kind: MelImages(scorer.config) if kind == "mel" else _pcm for kind in scorer.kinds}

    @tf.function(input_signature=[WAVEFORM])
    def serving_default(self, waveform: tf.Tensor) -> dict[str, tf.Tensor]:
        """Predict a song.

        Args:
          waveform: float32 [n], mono in [-1, 1) at the dataset's sample rate, at least one window long.

        Returns:
          probabilities float32 [genres]; window_probabilities float32 [windows, genres]; window_start_seconds float32
          [windows]; labels string [genres]; with many genres for each track also parents string [genres], thresholds
          float32 [genres] and predicted bool [genres], as in `trainers.serving.task_graphs`.
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
        found = self._answer(logits, features)
        return (
            found
            | self._task.of_tree(found["probabilities"])
            | {"window_start_seconds": tf.range(tf.cast(count, tf.float32)) * hop, "labels": tf.constant(self._labels)}
        )

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="pcm16")])
    def pcm16(self, pcm16: tf.Tensor) -> dict[str, tf.Tensor]:
        """Predict songs that come as bytes, which are smaller than numbers in JSON.

        Args:
          pcm16: string [batch], each a song as little-endian 16-bit samples, mono at the dataset's sample rate.

        Returns:
          probabilities float32 [batch, genres]; genre string [batch], the most likely one, or predicted bool [batch,
          genres] with many genres for each track.
        """

        def one(data: tf.Tensor) -> tf.Tensor:
            samples = tf.cast(tf.io.decode_raw(data, tf.int16), tf.float32) / 32768
            return self.serving_default(samples)["probabilities"]

        probabilities = tf.map_fn(one, pcm16, fn_output_signature=tf.TensorSpec([len(self._labels)], tf.float32))
        return {"probabilities": probabilities} | self._task.decide(probabilities)

    def device(self, waveform: tf.Tensor) -> dict[str, tf.Tensor]:
        """Predict a song on TFLite: without checks, text and loops, so all windows are in memory at once.

        It is not a tf.function, so that the SavedModel does not include it.

        Returns:
          probabilities float32 [genres]; window_probabilities float32 [windows, genres].
        """
        logits, features = self._windows(self._padded(waveform), tf.range(self._count(waveform)))
        return self._answer(logits, tf.reduce_mean(features, axis=0))

    def _count(self, waveform: tf.Tensor) -> tf.Tensor:
        """Compute `DatasetConfig.count_windows`."""
        config = self._config
        return tf.maximum(0, (tf.size(waveform) - config.window_samples) // config.window_hop_samples + 1)

    def _padded(self, waveform: tf.Tensor) -> tf.Tensor:
        return tf.pad(waveform, [[self._context, self._context]])

    def _windows(self, padded: tf.Tensor, windows: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Return logits [b, genres] and features [b, d] of the windows with these numbers, int32 [b]."""
        config, starts = self._config, windows * self._config.window_hop_samples
        # Only the frames of mel reach beyond the window, on both sides.
        inside = tf.range(self._context, self._context + config.window_samples)
        samples = {"mel": tf.range(config.window_samples + config.n_fft - config.hop_length), "raw": inside}
        payloads = {
            kind: payloads(tf.gather(padded, starts[:, tf.newaxis] + samples[kind]))
            for kind, payloads in self._payloads.items()
        }
        return self.network.of_kinds(payloads)

    def _in_chunks(self, waveform: tf.Tensor, count: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Return logits [windows, genres] of all windows, and their features' mean [d]."""
        padded, classes = self._padded(waveform), len(self._labels)
        kept = tf.TensorArray(tf.float32, 0, dynamic_size=True, infer_shape=False, element_shape=[None, classes])

        def chunk(step, logits, total):
            numbers = tf.range(step * WINDOWS, tf.minimum((step + 1) * WINDOWS, count))
            some, features = self._windows(padded, numbers)
            return step + 1, logits.write(step, some), total + tf.reduce_sum(features, axis=0)

        _, logits, total = tf.while_loop(
            lambda step, *_: step * WINDOWS < count,
            chunk,
            (0, kept, tf.zeros([self.network.width])),
            parallel_iterations=1,
        )
        return tf.ensure_shape(logits.concat(), [None, classes]), total / tf.cast(count, tf.float32)

    def _answer(self, logits: tf.Tensor, features: tf.Tensor) -> dict[str, tf.Tensor]:
        rows = self.network.head(features[tf.newaxis]) if self.network.pooled else logits
        return {"probabilities": self._task.of_song(rows), "window_probabilities": self._task.of_windows(logits)}


class MelImages:
    """Log-mel images as those of `transforms.audio.features`, computed in a graph."""

    def __init__(self, config: DatasetConfig):
        self._config = config
        self._filters = mel_filters(config.sample_rate, config.n_fft, config.n_mels).T
        self._hann = hann(config.n_fft)

    def __call__(self, samples: tf.Tensor) -> tf.Tensor:
        """Return images uint8 [b, n_mels, frames] of samples float32 [b, (frames - 1) * hop + n_fft]."""
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
    """Return samples as those of `transforms.audio.features`: float32 [b, samples] -> int16 [b, samples]."""
    return tf.cast(tf.clip_by_value(tf.round(samples * 32768), -32768, 32767), tf.int16)


def _convert(module: WaveformModel, path: str) -> str:
    """Write the module's TFLite model; see `convert`."""
    device = tf.function(module.device, input_signature=[WAVEFORM])
    return convert(module, {DEVICE: device} | record_signatures(module.scorer, module.network), path)


def _sha256(path: str) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _compare(scorer: Scorer, saved: str, tolerances: dict[str, float]) -> dict[str, float]:
    """Return the largest difference of a probability, by model, on the synthetic song.

    Raises:
      FmaError: one is larger than its tolerance.
    """
    song = _synthetic_song(scorer.config)
    expected = pipeline_probabilities(scorer, song)
    signature = tf.saved_model.load(saved).signatures["serving_default"]
    found = {SAVED_MODEL: signature(waveform=tf.constant(song))["probabilities"].numpy()}
    if TFLITE in tolerances:
        found[TFLITE] = run_tflite(os.path.join(saved, TFLITE), song)["probabilities"]
    agreement = {name: float(np.abs(values - expected).max()) for name, values in found.items()}
    for name, difference in agreement.items():
        if not difference <= tolerances[name]:
            raise FmaError(f"the exported {name} differs from the pipeline by {difference:.3f} in a probability")
    return agreement


def run_tflite(path: str, song: np.ndarray) -> dict[str, np.ndarray]:
    """Return the output of a TFLite model for a waveform float32 [n]."""
    return Interpreter(path).get_signature_runner(DEVICE)(waveform=song)


def pipeline_probabilities(scorer: Scorer, song: np.ndarray) -> np.ndarray:
    """Return probabilities float64 [genres] of a waveform, by ingestion's features and the run's model."""
    parts, means = [], {}
    for kind in scorer.kinds:
        extractor, stored = KINDS[kind].extractor(scorer.config), KINDS[kind]
        features = [*extractor.push(song), *extractor.finish()]
        payloads = np.stack([np.frombuffer(feature.payload, stored.dtype) for feature in features])
        logits, values = scorer.rows(kind, payloads.reshape(-1, *stored.shape(scorer.config)))
        parts.append(logits)
        means[kind] = values.mean(axis=0)
    rows, *_ = scorer.song(np.concatenate(parts), means)
    return scorer.task.of_song(rows)


def _synthetic_song(config: DatasetConfig) -> np.ndarray:
    """Return a rising tone over noise that comes and goes, a bit longer than three windows, float32 [n]."""
    t = np.arange(round(3.3 * max(config.window_samples, config.window_hop_samples))) / config.sample_rate
    noise = 0.1 * np.random.default_rng(0).standard_normal(len(t)) * np.sin(3 * t) ** 2
    return (0.3 * np.sin(2 * np.pi * (110 * t + 60 * t**2)) + noise).astype(np.float32)


def _describe(scorer: Scorer, config: RunConfig) -> dict[str, Any]:
    settings = scorer.config
    return {
        "format_version": FACTS_VERSION,
        "model": scorer.name,
        "kinds": list(scorer.kinds),
        **scorer.task.to_json(),
        "sample_rate": settings.sample_rate,
        "window_samples": settings.window_samples,
        "window_hop_samples": settings.window_hop_samples,
        "dataset_digest": config.dataset["digest"],
        "config": settings.to_json(),
        "made_with": versions(),
    }


def _publish(source: str, out: str) -> dict[str, int]:
    """Copy a folder, `GRAPH` last, so that an interrupted export has none. Returns the bytes of both models."""
    prefix = source + os.sep
    files = {path.removeprefix(prefix): size for path, size in storage.list_files(source)}
    for name in sorted(files, key=lambda name: name == GRAPH):
        storage.write_bytes(storage.join(out, name), storage.read_bytes(os.path.join(source, name)))
    return {TFLITE: files.pop(TFLITE, 0), SAVED_MODEL: sum(files.values())}
