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
          `outputs`; shapes are static in a graph where those of the inputs are.
        """
        return dict(self._function({name: features[name] for name in self.inputs}))
