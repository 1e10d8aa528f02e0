"""Tags of a song by a network that was trained elsewhere: what `--tags` shows beside the genres of a run."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from trainers.encoders.musicnn import TAGS
from trainers.encoders.table import build_encoder
from trainers.training.devices import import_tensorflow, open_device
from transforms.audio.features import PCM_SCALE
from transforms.config import DatasetConfig


@dataclass(frozen=True)
class Tags:
    """How likely each of an encoder's tags is for a song; any number of them may fit."""

    encoder: str
    names: Sequence[str]
    probabilities: np.ndarray  # float64 [tags], the mean over the song's patches

    def likeliest(self, most: int | None = None) -> Iterator[tuple[str, float]]:
        """Yield tags with their probabilities, the likeliest first; at most so many."""
        for at in np.argsort(-self.probabilities, kind="stable")[:most]:
            yield self.names[at], float(self.probabilities[at])


class Tagger:
    """An encoder of `trainers.encoders.musicnn.TAGS` on the windows of the raw kind."""

    kind = "raw"

    def __init__(self, encoder: str, config: DatasetConfig, device: str = "auto"):
        """Load it; FmaError where its weights are not here and cannot be fetched."""
        import_tensorflow()
        import tensorflow as tf

        if device == "cpu":
            open_device(device)
        self.encoder, self.names = encoder, TAGS[encoder]
        model, _ = build_encoder(encoder, config)

        def tag(pcm: tf.Tensor) -> tf.Tensor:
            logits = model(tf.cast(pcm, tf.float32) * PCM_SCALE, training=False)["tags"]
            return tf.reduce_mean(tf.sigmoid(logits), axis=1)

        # One graph for every size of a batch.
        self._tag = tf.function(tag, input_signature=[tf.TensorSpec([None, config.window_samples], tf.int16)])

    def rows(self, payloads: np.ndarray) -> tuple[np.ndarray]:
        """Return the probabilities of the tags float32 [b, tags] for windows int16 [b, samples], as one array."""
        return (self._tag(payloads).numpy(),)

    def tags(self, probabilities: np.ndarray) -> Tags:
        """Return those of a song."""
        return Tags(self.encoder, self.names, probabilities)
