"""What a model is trained to answer, one label for each example or many genres: target, weights, loss, score.

Imports Keras.
"""

from abc import abstractmethod

import keras
import numpy as np
from keras import ops

from trainers.data.targets import Targets
from trainers.models.spec import Phase
from trainers.runs.state import ACCURACY, AVERAGE_PRECISION
from trainers.training.device_records import take

HEAVIEST = 100.0
"""The largest weight of a positive: of a genre that is rarer than about 1%, a single track would drive the step."""

LOGITS, BINS = 16.0, 512  # the average precision while training is that of logits in so many bins from -16 to 16


class Answer(keras.layers.Layer):
    """Turns the labels of a batch, int [batch], into targets float32 [batch, classes]; create it in the device's scope.

    Args:
      classes: how many the model has.
      score: name of the metric, one of `trainers.runs.state.SCORES`.
    """

    def __init__(self, classes: int, score: str):
        super().__init__(dtype="float32", name="answer")
        self.classes, self.score = classes, score
        self.built = True

    @abstractmethod
    def weigh(self, logits, target) -> dict:
        """Return logits, target and weight of a training step, for `loss` and `metric`; `target` may be mixed."""

    @abstractmethod
    def spread(self, weight):
        """Return the weight of examples, [batch], for `loss` and `metric`."""

    @abstractmethod
    def loss(self) -> keras.losses.Loss:
        """Return the loss of logits."""

    @abstractmethod
    def metric(self) -> keras.metrics.Metric:
        """Return the metric of logits that goes by the name of the score."""


class OneLabel(Answer):
    """One class for each example, of which exactly one is right: softmax, cross-entropy and accuracy.

    Args:
      weights: of an example of each class in the training loss, float32 [classes]; see `class_weights`.
      smoothing: share of each target that training spreads over all classes.
    """

    def __init__(self, weights: np.ndarray, smoothing: float):
        super().__init__(len(weights), ACCURACY)
        self.class_weights, self.smoothing = weights, smoothing

    @classmethod
    def of(cls, counts: np.ndarray, phase: Phase) -> "OneLabel":
        """Return that of a phase, for training examples by class."""
        return cls(class_weights(counts, phase.class_weights), phase.label_smoothing)

    def call(self, label):
        return ops.one_hot(label, self.classes, dtype="float32")

    def weigh(self, logits, target) -> dict:
        weight = ops.matmul(target, self.class_weights)
        return {"logits": logits, "target": smooth_labels(target, self.smoothing), "weight": weight}

    def spread(self, weight):
        return weight

    def loss(self) -> keras.losses.Loss:
        return keras.losses.CategoricalCrossentropy(from_logits=True)

    def metric(self) -> keras.metrics.Metric:
        return UnweightedAccuracy(name=self.score)


class ManyGenres(Answer):
    """Any number of genres for each example, which are its track's: a sigmoid and a binary cross-entropy for each.

    The training loss of a genre is - w y log p - (1 - y) log (1 - p), where w is its weight. It is lowest where the
    odds of p are w times those of the genre, so training adds log w to the model's logits: what the model says then are
    the genre's own odds, whatever the weight is ("Long-tail learning via logit adjustment", Menon et al., 2021).

    Args:
      truth: bool [tracks, genres]; a label is a row of it.
      weights: of a positive of each genre in the training loss, float32 [genres]; see `positive_weights`.
    """

    def __init__(self, truth: np.ndarray, weights: np.ndarray):
        super().__init__(truth.shape[1], AVERAGE_PRECISION)
        self.truth = keras.Variable(truth.astype(np.uint8), dtype="uint8", trainable=False, name="truth")
        self.weights_of_positives = weights.astype(np.float32)

    @classmethod
    def of(cls, targets: Targets, phase: Phase) -> "ManyGenres":
        """Return that of a phase."""
        return cls(targets.truth, positive_weights(targets.share("training"), phase.class_weights))

    def call(self, label):
        return ops.cast(take(self.truth, label), "float32")

    def weigh(self, logits, target) -> dict:
        # w y log p + (1 - y) log (1 - p) is `weight` times the cross-entropy of a target of w y / weight.
        positive = target * self.weights_of_positives
        weight = positive + 1 - target
        return {
            "logits": ops.cast(logits, "float32") + np.log(self.weights_of_positives),
            "target": positive / weight,
            "weight": weight,
        }

    def spread(self, weight):
        return weight[:, None]

    def loss(self) -> keras.losses.Loss:
        return GenreCrossentropy()

    def metric(self) -> keras.metrics.Metric:
        return MeanAveragePrecision(self.classes, name=self.score)


def smooth_labels(labels, smoothing: float):
    """Spread a share of each target [batch, classes] evenly over all classes."""
    return labels * (1 - smoothing) + smoothing / labels.shape[-1]


def class_weights(counts: np.ndarray, weighting: str) -> np.ndarray:
    """Return the weight of an example of each class in the training loss, 1 on average.

    Args:
      counts: examples by class, [classes].
      weighting: "balanced": each class counts the same, n / (k n_c) for n examples and k classes that have any; "sqrt":
        in proportion to the square roots of those; "none": each example counts the same.

    Returns:
      float32 [classes]; 0 for a class without examples.
    """
    present = counts > 0
    balanced = counts.sum() / (present.sum() * np.maximum(counts, 1))
    weights = np.where(present, balanced ** POWERS[weighting], 0)
    return (weights * (counts.sum() / (counts * weights).sum())).astype(np.float32)


POWERS = {"balanced": 1.0, "sqrt": 0.5, "none": 0.0}
"""By weighting, the power of the weights that let each class, or the positives of each genre, count the same."""


def positive_weights(share: np.ndarray, weighting: str) -> np.ndarray:
    """Return the weight of a positive of each genre in the training loss, where a negative weighs 1.

    Args:
      share: of the training tracks that have each genre, [genres].
      weighting: "balanced": the positives of a genre count as much as its negatives, (1 - share) / share; "sqrt": the
        square root of that; "none": each counts the same.

    Returns:
      float32 [genres], from 1 to `HEAVIEST`.
    """
    odds = (1 - share) / np.maximum(share, 1e-9)
    return np.clip(odds ** POWERS[weighting], 1, HEAVIEST).astype(np.float32)


class UnweightedAccuracy(keras.metrics.CategoricalAccuracy):
    """The share of right predictions, in which every example counts the same whatever it weighs in the loss.

    Otherwise training accuracy, under class weights, would not be the same measure as validation accuracy. Only
    padding, of weight 0, does not count.
    """

    def update_state(self, y_true, y_pred, sample_weight=None):
        if sample_weight is not None:
            sample_weight = ops.cast(ops.greater(sample_weight, 0), self.dtype)
        return super().update_state(y_true, y_pred, sample_weight)


class GenreCrossentropy(keras.losses.Loss):
    """The binary cross-entropy of each example and genre, from logits; weights are [batch, genres] or [batch, 1]."""

    def call(self, y_true, y_pred):
        return ops.binary_crossentropy(y_true, y_pred, from_logits=True)


class MeanAveragePrecision(keras.metrics.Metric):
    """The mean of the average precisions of the genres that an example has; only padding, of weight 0, does not count.

    Logits are sorted into bins, whose members count as equal; each genre's are counted in its own row.
    """

    def __init__(self, genres: int, **kwargs):
        super().__init__(**kwargs)
        self.genres = genres
        self.right, self.wrong = (self.add_variable((genres, BINS), "zeros", name=name) for name in ("right", "wrong"))

    def update_state(self, y_true, y_pred, sample_weight=None):
        counts = ops.ones_like(y_pred)
        if sample_weight is not None:
            counts = counts * ops.cast(ops.greater(sample_weight, 0), self.dtype)
        bins = ops.clip(ops.floor((y_pred + LOGITS) * (BINS / (2 * LOGITS))), 0, BINS - 1)
        places = ops.reshape(ops.cast(bins, "int32") + BINS * ops.arange(self.genres, dtype="int32"), (-1,))
        for total, values in ((self.right, y_true), (self.wrong, 1 - y_true)):
            added = ops.segment_sum(ops.reshape(values * counts, (-1,)), places, num_segments=self.genres * BINS)
            total.assign_add(ops.reshape(added, (self.genres, BINS)))

    def result(self):
        gained = ops.flip(self.right, axis=1)
        right, wrong = ops.cumsum(gained, axis=1), ops.cumsum(ops.flip(self.wrong, axis=1), axis=1)
        summed = ops.sum(gained * right / ops.maximum(right + wrong, 1e-9), axis=1)
        known = ops.cast(right[:, -1] > 0, self.dtype)
        by_genre = summed / ops.maximum(right[:, -1], 1e-9)
        return ops.sum(by_genre * known) / ops.maximum(ops.sum(known), 1)
