"""A normalisation graph that is loaded: callable on batches in eager code, in tf.data and in an exported model."""

import tensorflow as tf


class TransformGraph(tf.Module):
    """Calls a SavedModel that tensorflow_transform wrote. As a tf.Module it is exported along with what holds it.

    Args:
      path: of the SavedModel.

    Attributes:
      inputs: name to tf.TensorSpec of what it takes; the batch dimension is free.
      outputs: name to tf.TensorSpec of what it gives.

    Raises:
      OSError, tf.errors.OpError: the SavedModel cannot be read.
    """

    def __init__(self, path: str):
        super().__init__(name="transform")
        self._saved_model = tf.saved_model.load(path)  # kept: the statistics are captured by the function
        self._function = self._saved_model.transform_fn
        (inputs,), _ = self._function.structured_input_signature
        self.inputs: dict[str, tf.TensorSpec] = dict(inputs)
        self.outputs: dict[str, tf.TensorSpec] = dict(self._function.structured_outputs)

    def __call__(self, features: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """Normalises a batch.

        Args:
          features: at least `inputs`; anything else in it is left alone.

        Returns:
          `outputs`, with the batch size of the input where that is static.
        """
        batch = {name: features[name] for name in self.inputs}
        size = next(iter(batch.values())).shape[:1]
        found = self._function(batch)
        return {name: tf.ensure_shape(found[name], size + spec.shape[1:]) for name, spec in self.outputs.items()}
