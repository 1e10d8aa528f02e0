"""Small encoders as files: SavedModels that TensorFlow writes in a second, with a little of everything in them."""

import json
from pathlib import Path

import numpy as np

from transforms.config import DatasetConfig
from transforms.encoders.facts import FILE, EncoderFacts

POSITIONS = 4
OUTPUTS = {"embedding": 6, "logits": 3}


def reference(windows: np.ndarray, seed: int = 0) -> dict[str, np.ndarray]:
    """What `write_encoder`'s gives, by NumPy in float64: at each quarter of a window, and for it as a whole."""
    rng = np.random.default_rng(seed)
    parts = windows.reshape(len(windows), POSITIONS, -1).astype(np.float64)
    features = np.stack([parts.mean(-1), np.abs(parts).mean(-1), (parts**2).mean(-1)], axis=-1)
    weights = rng.standard_normal((3, OUTPUTS["embedding"])).astype(np.float32)
    embedding = np.tanh(features @ weights)
    return {"embedding": embedding, "logits": embedding.mean(1) @ rng.standard_normal((6, 3)).astype(np.float32)}


def write_encoder(
    folder: Path,
    config: DatasetConfig,
    name: str = "tiny",
    *,
    reads: str = "raw",
    seed: int = 0,
    rounds: int = 0,
    scale: float = 1.0,
) -> Path:
    """Writes an encoder's folder as `fma export --encoder` does.

    Args:
      seed: of its weights.
      rounds: of work that takes time and changes nothing, some 10 ms each for a batch.
      scale: of what it gives.
    """
    import tensorflow as tf

    rng = np.random.default_rng(seed)
    weights, head = rng.standard_normal((3, 6)).astype(np.float32), rng.standard_normal((6, 3)).astype(np.float32)
    shape, dtype = (
        ((config.window_samples,), tf.float32) if reads == "raw" else ((config.n_mels, config.window_frames), tf.uint8)
    )

    class Tiny(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([None, *shape], dtype, name="windows")])
        def encode(self, windows):
            values = tf.reshape(tf.cast(windows, tf.float32), [tf.shape(windows)[0], POSITIONS, -1])
            features = [tf.reduce_mean(part, -1) for part in (values, tf.abs(values), values**2)]
            busy = tf.ones([400, 400])
            for _ in tf.range(rounds):
                busy = busy @ tf.ones([400, 400]) / 400.0
            embedding = scale * tf.tanh(tf.stack(features, -1) @ weights) * busy[0, 0]
            return {"embedding": embedding, "logits": tf.reduce_mean(embedding, 1) @ head}

    module = Tiny()
    tf.saved_model.save(module, str(folder), {"encode": module.encode})
    facts = EncoderFacts(name, reads, config.sample_rate, OUTPUTS, f"{seed:064x}", license="CC0-1.0")
    (folder / FILE).write_text(json.dumps(facts.to_json()))
    return folder


def write_waveform_network(folder: Path, shape: list[int | None], *, positions: int = 0, scale: float = 1.0) -> Path:
    """Writes somebody else's SavedModel: the level of a waveform, whole (positions 0) or at each of some positions.

    Args:
      shape: of its input: [None, None], [None, samples], [1, samples], [None] or [samples].
      scale: of what it gives.
    """
    import tensorflow as tf

    class Level(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec(shape, tf.float32, name="waveform")])
        def __call__(self, waveform):
            values = waveform if len(shape) == 2 else waveform[None]
            samples = tf.shape(values)[1]
            size = samples // max(1, positions)
            parts = tf.reshape(values[:, : size * max(1, positions)], [tf.shape(values)[0], max(1, positions), -1])
            levels = scale * tf.stack([tf.reduce_mean(parts**2, -1), tf.reduce_mean(parts, -1)], -1)
            levels = levels if positions else levels[:, 0]
            return {"level": levels if len(shape) == 2 else levels[0]}

    module = Level()
    tf.saved_model.save(module, str(folder), {"serving_default": module.__call__})
    return folder


def to_tflite(folder: Path, path: Path) -> Path:
    """Converts a SavedModel."""
    import tensorflow as tf

    path.write_bytes(tf.lite.TFLiteConverter.from_saved_model(str(folder), ["serving_default"]).convert())
    return path
