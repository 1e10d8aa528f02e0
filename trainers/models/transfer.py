"""What the transfer models have in common: pooled moments of a pretrained network, and a linear head on them."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from trainers.models.spec import ModelOptions

if TYPE_CHECKING:
    import keras


def moments(maps: Sequence["keras.KerasTensor"], axes: tuple[int, ...]) -> "keras.KerasTensor":
    """Means and then mean squares of activations over some axes, as a front's features.

    Both average over windows as they do over positions: that is why mean squares and not deviations are stored.

    Args:
      maps: activations [batch, ..., channels].
      axes: to average over.

    Returns:
      float32 [batch, 2 x the channels of all maps], also where the maps are in half precision.
    """
    from keras import ops

    maps = [ops.cast(values, "float32") for values in maps]
    means = [ops.mean(values, axis=axes) for values in maps]
    squares = [ops.mean(ops.square(values), axis=axes) for values in maps]
    return ops.concatenate([*means, *squares], axis=-1)


def attach_head(
    front: "keras.Model", classes: int, options: ModelOptions, *, name: str, dropout: float
) -> "keras.Model":
    """The whole transfer model: front, then standardised features, dropout and one dense layer.

    Args:
      front: named "front"; record batch -> moments [batch, features].
      classes: number of genres.
      options: dropout is used.
      name: of the model.
      dropout: where the options have none.

    Returns:
      record batch -> logits float32 [batch, classes], with the nested models "front" (not trainable) and "head".
    """
    import keras
    from keras import layers

    from trainers.models.layers import Standardise

    front.trainable = False
    features = keras.Input(front.output_shape[1:], name="features")
    x = Standardise(dtype="float32", name="standardise")(features)
    x = layers.Dropout(dropout if options.dropout is None else options.dropout, dtype="float32")(x)
    logits = layers.Dense(classes, kernel_initializer="zeros", dtype="float32", name="logits")(x)
    head = keras.Model(features, logits, name="head")
    return keras.Model(front.input, head(front(front.input)), name=name)
