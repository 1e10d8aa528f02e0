"""The training step: normalisation, augmentation, network, targets and loss, all on the device. Imports Keras."""

import keras
from keras import ops

from trainers.models.spec import Phase
from trainers.training.answers import Answer
from trainers.training.augment import GAIN_DB, Augment
from trainers.training.degrade import choose_degradation
from trainers.training.device_records import DeviceRecords


class TrainedPart(keras.Model):
    """A network, or a transfer model's head, as `fit` and `evaluate` see it; weights are shared, it is never saved.

    Its input is a batch as the pipeline gives it: a dict of `row`, numbers of records in `stored`, int64 [batch], or of

    - input: records as they are stored, or features of a frozen front;
    - label: int64 [batch], what `answer` takes;
    - weight: float32 [batch], in evaluation: 0 for padding; 1 where it is left out.

    Weights, label smoothing and augmentation are applied in training only. Validation losses are then plain
    cross-entropies, which can be compared between phases and runs.

    Args:
      part: input -> logits, or normalised values -> logits where `normalize` is given.
      phase: of training.
      answer: what the part is trained to answer.
      seed: of the augmentation.
      normalize: the layer that normalises records.
      stored: the training records, where the device holds them.
      sample_rate: Hz, of the sound that records are of; for phases that degrade it.
    """

    def __init__(
        self,
        part: keras.Model,
        phase: Phase,
        answer: Answer,
        seed: int,
        normalize: keras.layers.Layer | None = None,
        *,
        stored: DeviceRecords | None = None,
        sample_rate: int = 0,
    ):
        super().__init__(name=part.name, dtype="float32")
        self.part, self.normalize, self.stored, self.answer = part, normalize, stored, answer
        deviation = getattr(normalize, "deviation", None)  # of mel
        self.augment = Augment(
            seed,
            gain_db=GAIN_DB if phase.gain and normalize else 0.0,
            mixup=phase.mixup,
            spec_augment=phase.spec_augment and normalize is not None,
            units_per_db=() if deviation is None else 1 / ops.convert_to_numpy(deviation),
            degrade=choose_degradation(normalize, sample_rate) if phase.degrade and normalize else None,
        )
        self.built = True

    def call(self, batch, training=False):
        """Return a dict of logits and target, float32 [batch, classes], and their weight: see `Answer.weigh`."""
        if self.stored is not None and "row" in batch:
            batch = self.stored(batch["row"])
        values = batch["input"] if self.normalize is None else self.normalize(batch["input"])
        target = self.answer(batch["label"])
        if training:
            values, target = self.augment(values, target)
            return self.answer.weigh(self.part(values, training=True), target)
        weight = batch.get("weight", ops.ones_like(target[:, 0]))
        return {"logits": self.part(values, training=False), "target": target, "weight": self.answer.spread(weight)}

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        """Pass what `call` has made on to Keras."""
        return super().compute_loss(x, y_pred["target"], y_pred["logits"], y_pred["weight"], training)

    def compute_metrics(self, x, y, y_pred, sample_weight=None):
        """Pass what `call` has made on to Keras."""
        return super().compute_metrics(x, y_pred["target"], y_pred["logits"], y_pred["weight"])
