"""The accuracy that is shown while a model trains. This module imports Keras."""

import keras
from keras import ops


class EachOnce(keras.metrics.CategoricalAccuracy):
    """The share of right answers, in which every example counts the same whatever it weighs in the loss.

    Otherwise training accuracy, under class weights, would not be the same measure as validation accuracy. Only what
    fills up a batch, of weight 0, does not count.
    """

    def update_state(self, y_true, y_pred, sample_weight=None):
        if sample_weight is not None:
            sample_weight = ops.cast(ops.greater(sample_weight, 0), self.dtype)
        return super().update_state(y_true, y_pred, sample_weight)
