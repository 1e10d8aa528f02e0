"""The last layer of models that give a track many genres: it starts at the prior, and keeps the tree. Imports Keras."""

from collections.abc import Sequence

import keras
import numpy as np
from keras import layers, ops

from trainers.models.spec import front_of, head_of

NAME = "genres"  # of the layer


@keras.saving.register_keras_serializable(package="fma")
class GenreOutput(layers.Layer):
    """Turns a network's scores into the logits of genres, float32 [batch, genres].

    The log-odds of each genre's share of the training tracks are added, so that scores of 0 give that share. In
    inference a genre's logit is then the highest of its own and of those of all genres below it, by which no genre is
    less probable than one below it ("Coherent hierarchical multi-label classification networks", Giunchiglia and
    Lukasiewicz, 2020). The log-odds are weights that are not trained.

    Args:
      parents: the place of each genre's parent among the genres, or -1 at the top of a tree.
    """

    def __init__(self, parents: Sequence[int], **kwargs):
        super().__init__(**kwargs | {"dtype": "float32"})
        self.parents = list(parents)
        self.below = find_below(self.parents)

    def build(self, input_shape):
        self.prior = self.add_weight(shape=(len(self.parents),), initializer="zeros", trainable=False, name="prior")

    def call(self, scores, training=False):
        logits = ops.cast(scores, "float32") + self.prior
        if training or self.below.shape[1] == 1:
            return logits
        return ops.max(ops.take(logits, self.below, axis=1), axis=2)

    def compute_output_shape(self, input_shape):
        return input_shape

    def set_prior(self, share: np.ndarray, tracks: int) -> None:
        """Set the share [genres] of so many training tracks that have each genre; one in all tracks is not certain."""
        smallest = 1 / (2 * max(1, tracks))
        share = np.clip(share, smallest, 1 - smallest)
        self.prior.assign(np.log(share / (1 - share)).astype(np.float32))

    def get_config(self):
        return super().get_config() | {"parents": self.parents}


def find_below(parents: Sequence[int]) -> np.ndarray:
    """Return the places of each genre and of all genres below it, int32 [genres, most]; short rows repeat the genre."""
    below: list[list[int]] = [[] for _ in parents]
    for genre in range(len(parents)):
        place = genre
        while place >= 0:
            below[place].append(genre)
            place = parents[place]
    most = max(map(len, below))
    return np.array([row + [genre] * (most - len(row)) for genre, row in enumerate(below)], np.int32)


def add_genre_output(network: keras.Model, parents: Sequence[int], share: np.ndarray, tracks: int) -> keras.Model:
    """Return a network that ends with a `GenreOutput`; call it in the device's scope.

    Args:
      network: normalised values -> scores float32 [batch, genres]; of a transfer model the head ends with the layer.
      parents: see `GenreOutput`.
      share, tracks: see `GenreOutput.set_prior`.
    """
    layer = GenreOutput(parents, name=NAME)
    if any(part.name == "head" for part in network.layers):
        front, head = front_of(network), _append(head_of(network), layer)
        found = keras.Model(front.input, head(front(front.input)), name=network.name)
    else:
        found = _append(network, layer)
    layer.set_prior(share, tracks)
    return found


def _append(model: keras.Model, layer: GenreOutput) -> keras.Model:
    return keras.Model(model.inputs[0], layer(model.outputs[0]), name=model.name)
