"""The tasks of `trainers.serving.tasks` in a TensorFlow graph, for what is exported."""

import numpy as np
import tensorflow as tf

from trainers.evaluation import metrics
from trainers.serving.tasks import ManyGenres, OneLabel, Task


class OneLabelGraph:
    """See `OneLabel`."""

    def __init__(self, task: OneLabel):
        self._labels, self._temperature = task.labels, task.calibration.temperature

    def of_windows(self, logits: tf.Tensor) -> tf.Tensor:
        """Return probabilities float32 [n, genres] of logits [n, genres]."""
        return tf.nn.softmax(tf.nn.log_softmax(logits) / self._temperature)

    def of_song(self, logits: tf.Tensor) -> tf.Tensor:
        """Return a song's probabilities float32 [genres] of the logits [n, genres] of its windows, or of the whole."""
        whole = tf.reduce_mean(tf.maximum(tf.nn.log_softmax(logits), metrics.LOWEST), axis=0)
        return tf.nn.softmax(whole / self._temperature)

    def of_tree(self, probabilities: tf.Tensor) -> dict[str, tf.Tensor]:
        """Return what the answer for a song says of the tree: nothing."""
        return {}

    def decide(self, probabilities: tf.Tensor) -> dict[str, tf.Tensor]:
        """Return genre string [songs], the most likely one, for probabilities [songs, genres]."""
        return {"genre": tf.gather(tf.constant(self._labels), tf.argmax(probabilities, axis=1))}


class ManyGenresGraph:
    """See `ManyGenres`."""

    def __init__(self, task: ManyGenres):
        self._parents = [task.parents[label] for label in task.labels]
        self._thresholds = np.array(task.thresholds, np.float32)
        self._above = task.above.astype(np.float32)

    def of_windows(self, logits: tf.Tensor) -> tf.Tensor:
        """Return probabilities float32 [n, genres] of logits [n, genres]."""
        return tf.sigmoid(logits)

    def of_song(self, logits: tf.Tensor) -> tf.Tensor:
        """Return a song's probabilities float32 [genres] of the logits [n, genres] of its windows, or of the whole."""
        return tf.reduce_mean(tf.sigmoid(logits), axis=0)

    def of_tree(self, probabilities: tf.Tensor) -> dict[str, tf.Tensor]:
        """Return parents string [genres], "" at the top, thresholds float32 [genres], and predicted bool [genres]."""
        predicted = self.decide(probabilities[tf.newaxis])["predicted"][0]
        known = {"parents": tf.constant(self._parents), "thresholds": tf.constant(self._thresholds)}
        return known | {"predicted": predicted}

    def decide(self, probabilities: tf.Tensor) -> dict[str, tf.Tensor]:
        """Return predicted bool [songs, genres], ancestors included, for probabilities [songs, genres]."""
        reached = tf.cast(probabilities >= self._thresholds, tf.float32)
        return {"predicted": tf.linalg.matmul(reached, self._above) > 0}


TaskGraph = OneLabelGraph | ManyGenresGraph


def graph_of(task: Task) -> TaskGraph:
    """Return a task as it is computed in a graph."""
    return ManyGenresGraph(task) if isinstance(task, ManyGenres) else OneLabelGraph(task)
