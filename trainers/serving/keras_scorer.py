"""The model of an `fma train` run as a `Scorer`. Imports TensorFlow."""

import json
import re
from collections.abc import Mapping

import keras
import numpy as np
import tensorflow as tf

from trainers.models import find_model
from trainers.models.genre_output import GenreOutput
from trainers.models.layers import MultiCrop
from trainers.models.records import network_of, normalization_of
from trainers.models.spec import ModelSpec, front_of, head_of
from trainers.runs.directory import RunConfig, read_settings
from trainers.runs.files import CONFIG
from trainers.runs.novelty import novelty_of, read_novelty
from trainers.runs.state import load_state
from trainers.serving.tasks import task_of
from trainers.training.checkpoint import best_model, load_model
from transforms import storage
from transforms.audio.features import KINDS
from transforms.errors import FmaError


class Network:
    """A trained model, split so that it gives features as well as logits."""

    def __init__(self, spec: ModelSpec, model: keras.Model):
        self._spec, self._model = spec, model
        self._normalize, network = normalization_of(model), network_of(model)
        self.pooled = spec.pool == "track"  # a song's logits are the head's for the mean of its windows' features
        self.classes: int = model.outputs[0].shape[-1]  # number of its outputs
        self.variables: list[tf.Variable] = [variable.value for variable in model.variables]  # all weights
        self._transfer = any(layer.name == "front" for layer in network.layers)
        self._crops = next((layer for layer in network.layers if isinstance(layer, MultiCrop)), None)
        # of many genres for each track, or nothing
        self._genres = next((layer for layer in network.layers if isinstance(layer, GenreOutput)), tf.identity)
        if self._transfer:
            self._front, self._head = front_of(network), head_of(network)
            self._standardise = self._head.get_layer("standardise")
        elif self._crops:
            crop = self._crops.network
            self._twin = keras.Model(crop.inputs, [crop.outputs[0], crop.layers[-1].input])
        else:
            self._twin = keras.Model(network.inputs, [network.outputs[0], network.get_layer("logits").input])
        self.width: int = (self._head.inputs if self._transfer else self._twin.outputs)[-1].shape[-1]  # d, of features

    def in_float32(self) -> "Network":
        """Return itself or, if it computes in half precision, which some devices lack, a copy that uses float32."""
        text = json.dumps(keras.saving.serialize_keras_object(self._model))
        plain = re.sub(r'"mixed_b?float16"', '"float32"', text)
        if plain == text:
            return self
        copy = keras.saving.deserialize_keras_object(json.loads(plain))
        copy.set_weights(self._model.get_weights())
        return Network(self._spec, copy)

    def windows(self, records: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Return logits float32 [b, classes] and features float32 [b, d] for records [b, ...] as they are stored."""
        values = self._normalize(records)
        if self._transfer:
            features = tf.cast(self._front(values, training=False), tf.float32)
            return self.head(features), features
        if self._crops:
            logits, features = self._twin(self._crops.fixed_crops(values), training=False)
            return self._genres(self._crops.combine(logits)), self._crops.mean(tf.cast(features, tf.float32))
        logits, features = self._twin(values, training=False)
        return tf.cast(logits, tf.float32), tf.cast(features, tf.float32)

    def of_kinds(self, payloads: Mapping[str, tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor]:
        """Return what `windows` does, for records of which each kind has those of the same windows."""
        return self.windows(payloads[self._spec.kind])

    def of_kind(self, kind: str, records: tf.Tensor) -> dict[str, tf.Tensor]:
        """Return `logits` and `features` of `windows` for records of the kind that it reads."""
        logits, features = self.windows(records)
        return {"logits": logits, "features": features}

    def head(self, features: tf.Tensor) -> tf.Tensor:
        """Return a transfer model's logits float32 [b, classes] for features float32 [b, d], of windows or of songs."""
        return tf.cast(self._head(features, training=False), tf.float32)

    def embedding(self, features: tf.Tensor) -> tf.Tensor:
        """Return what songs are compared by, float32 [b, e], for the mean features of songs, float32 [b, d]."""
        return self._standardise(features) if self._transfer else features


class KerasScorer:
    """A `Scorer` of a run of `fma train`; `config` is the run's config.json."""

    by_window = True

    def __init__(self, run: str, config: RunConfig):
        spec = find_model(config.model)
        self.name = spec.name
        self.kinds: tuple[str, ...] = (spec.kind,)
        path = storage.join(run, CONFIG)
        self.config = read_settings(run, config)
        self.task = task_of(run, config, spec.name)
        self.weights = storage.join(run, best_model(run, load_state(run)))
        self.network, self.novelty = Network(spec, load_model(run)), read_novelty(run, spec.name)
        count, outputs = len(config.labels), self.network.classes
        if count != outputs:
            raise FmaError(f"{path} is damaged: it has {count} labels, and the network has {outputs} outputs")
        kind = KINDS[spec.kind]
        record = tf.TensorSpec([None, *kind.shape(self.config)], tf.as_dtype(kind.dtype))
        # One graph for every size of a batch, where Keras would trace one for each.
        self._rows = tf.function(self.network.windows, input_signature=[record])

    def rows(self, kind: str, payloads: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """See `Scorer`."""
        logits, features = self._rows(tf.constant(payloads))
        return logits.numpy(), features.numpy()

    def song(self, logits: np.ndarray, means: Mapping[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray, float | None]:
        """See `Scorer`."""
        mean = tf.constant(means[self.kinds[0]][None], tf.float32)
        embedding = self.network.embedding(mean).numpy()[0]
        logits = self.network.head(mean).numpy() if self.network.pooled else logits
        return logits, embedding, novelty_of(self.novelty, embedding)
