"""The model of an `fma train` run as a `Scorer`. Imports TensorFlow."""

import numpy as np
import tensorflow as tf

from trainers import metrics
from trainers.backup import load_model
from trainers.inputs import Inputs, open_inputs
from trainers.models import find
from trainers.predictions import log_softmax
from trainers.runs import CONFIG, MODEL, RunConfig
from trainers.serving.calibration import calibrate
from trainers.serving.damage import check_labels, reading
from trainers.serving.network import Network
from transforms import storage
from transforms.audio.features import KINDS
from transforms.config import DatasetConfig
from transforms.dataset.manifest import Manifest


class KerasScorer:
    """A `Scorer`.

    Args:
      run: of fma train.
      config: its config.json.

    Attributes:
      inputs: what normalises its records; of no dataset.
      network: the model, taken apart.
    """

    by_window = True

    def __init__(self, run: str, config: RunConfig):
        spec = find(config.model)
        self.name, self.labels = spec.name, config.labels
        self.kind: str = spec.kind
        path = storage.join(run, CONFIG)
        with reading(path):
            self.config = DatasetConfig.from_json(config.dataset["config"])
        self.calibration = calibrate(run, spec.name)
        self.inputs: Inputs = open_inputs("", Manifest(self.config), spec.kind, run)
        self.weights = storage.join(run, MODEL)
        self.network = Network(spec, load_model(run))
        check_labels(path, self.labels, self.network.classes)
        kind = KINDS[spec.kind]
        record = tf.TensorSpec([None, *kind.shape(self.config)], tf.as_dtype(kind.dtype))
        # One graph for every size of a batch, where Keras would trace one for each.
        self._rows = tf.function(self._windows, input_signature=[record])

    def _windows(self, payloads: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return self.network.windows(self.inputs.normalize({self.kind: payloads}))

    def rows(self, payloads: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """See `Scorer`."""
        logits, features = self._rows(tf.constant(payloads))
        return logits.numpy(), features.numpy()

    def song(self, logits: np.ndarray, features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """See `Scorer`; combined as in evaluation."""
        mean = tf.constant(features[None], tf.float32)
        embedding = self.network.embedding(mean).numpy()[0]
        rows = self.network.head(mean).numpy() if self.network.pooled else logits
        nothing = np.zeros(len(rows), np.int64)
        values = metrics.checked(log_softmax(rows), nothing, len(self.labels))
        return metrics.by_track(values, nothing, nothing).log_probabilities[0], embedding
