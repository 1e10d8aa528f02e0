"""A trained network taken apart: its logits, and the features that its last layer sees. Imports Keras."""

import json
import re

import keras
import tensorflow as tf
from keras import ops

from trainers.models.layers import OverCrops
from trainers.models.spec import ModelSpec, front_of, head_of


class Network:
    """Calls a model.

    Args:
      spec: the model's row.
      model: trained.

    Attributes:
      pooled: whether a song's logits are the head's for the mean of its windows' features.
      width: of the features, d.
      classes: outputs that it has.
      variables: all weights, as TensorFlow's own variables.
    """

    def __init__(self, spec: ModelSpec, model: keras.Model):
        self.pooled = spec.pool == "track"
        self.classes: int = model.outputs[0].shape[-1]
        self._spec, self._model = spec, model
        self.variables: list[tf.Variable] = [variable.value for variable in model.variables]
        self._transfer = any(layer.name == "front" for layer in model.layers)
        self._crops = next((layer for layer in model.layers if isinstance(layer, OverCrops)), None)
        if self._transfer:
            self._head = head_of(model)
            self._standardise = self._head.get_layer("standardise")
        elif self._crops:
            network = self._crops.network
            self._twin = keras.Model(network.inputs, [network.outputs[0], network.layers[-1].input])
        else:
            self._twin = keras.Model(model.inputs, [model.outputs[0], model.get_layer("logits").input])
        self.width: int = (self._head.inputs if self._transfer else self._twin.outputs)[-1].shape[-1]

    def in_float32(self) -> "Network":
        """The network for devices that have no half precision: itself, or a copy that computes in float32."""
        text = json.dumps(keras.saving.serialize_keras_object(self._model))
        plain = re.sub(r'"mixed_b?float16"', '"float32"', text)
        if plain == text:
            return self
        copy = keras.saving.deserialize_keras_object(json.loads(plain))
        copy.set_weights(self._model.get_weights())
        return Network(self._spec, copy)

    def windows(self, values: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Normalised records float32 [b, ...] -> logits float32 [b, classes] and features float32 [b, d]."""
        if self._transfer:
            features = tf.cast(front_of(self._model)(values, training=False), tf.float32)
            return self.head(features), features
        if self._crops:
            logits, features = self._twin(self._crops.fixed_crops(values), training=False)
            log_probabilities = ops.log_softmax(tf.cast(logits, tf.float32))
            return tuple(self._crops.mean(tf.cast(part, tf.float32)) for part in (log_probabilities, features))
        logits, features = self._twin(values, training=False)
        return tf.cast(logits, tf.float32), tf.cast(features, tf.float32)

    def head(self, features: tf.Tensor) -> tf.Tensor:
        """A transfer model's logits float32 [b, classes] for features float32 [b, d], of windows or of songs."""
        return tf.cast(self._head(features, training=False), tf.float32)

    def embedding(self, features: tf.Tensor) -> tf.Tensor:
        """What songs are compared by: float32 [b, e] for the mean features of songs, float32 [b, d]."""
        return self._standardise(features) if self._transfer else features
