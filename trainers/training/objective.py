"""The objective of training: learning rate schedule, optimizer, and the loss and score of what is to be answered."""

from collections import Counter
from typing import Literal

import keras
import numpy as np

from trainers.models.spec import Phase
from trainers.training.answers import Answer
from trainers.training.device_records import DeviceRecords
from trainers.training.step import TrainedPart
from transforms.audio.features import KINDS
from transforms.dataset.ledger import read_tracks
from transforms.dataset.manifest import Manifest

Jit = Literal["auto", "on", "off"]


def count_by_label(dataset: str, manifest: Manifest, kind: str, split: str = "training") -> np.ndarray:
    """Count records of a kind by label, int64 [classes], from the dataset's ledgers: no record is read."""
    counts: Counter[str] = Counter()
    for track in read_tracks(dataset, manifest):
        if track.split == split:
            counts[track.genre] += track.windows if KINDS[kind].per == "window" else 1
    return np.array([counts[genre] for genre in manifest.labels], np.int64)


def cosine_schedule(phase: Phase, steps_per_epoch: int) -> keras.optimizers.schedules.LearningRateSchedule:
    """Return a schedule: linearly from 0 to the phase's learning rate, then along a half cosine to 0 at its end."""
    total = phase.epochs * steps_per_epoch
    warmup = min(round(phase.warmup_epochs * steps_per_epoch), total - 1)
    return keras.optimizers.schedules.CosineDecay(
        initial_learning_rate=0.0 if warmup else phase.learning_rate,
        decay_steps=total - warmup,
        warmup_target=phase.learning_rate if warmup else None,
        warmup_steps=warmup,
    )


def compile_part(
    part: keras.Model,
    phase: Phase,
    answer: Answer,
    steps_per_epoch: int,
    *,
    seed: int = 0,
    jit: Jit = "auto",
    normalize: keras.layers.Layer | None = None,
    stored: DeviceRecords | None = None,
    sample_rate: int = 0,
) -> TrainedPart:
    """Return a network or a head with its optimizer, loss and score; `part` itself is then saved without them.

    The optimizer is AdamW, whose decay leaves out biases and batch norm's scale and offset. Call this in the device's
    scope.

    Args:
      steps_per_epoch: for the schedule.
      jit: whether XLA compiles the training step; "auto" leaves it to Keras.
      part, phase, answer, seed, normalize, stored, sample_rate: see `TrainedPart`.
    """
    optimizer = keras.optimizers.AdamW(cosine_schedule(phase, steps_per_epoch), weight_decay=phase.weight_decay)
    optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    trained = TrainedPart(part, phase, answer, seed, normalize, stored=stored, sample_rate=sample_rate)
    trained.compile(
        optimizer=optimizer,
        loss=answer.loss(),
        weighted_metrics=[answer.metric()],
        jit_compile={"auto": "auto", "on": True, "off": False}[jit],
    )
    trained.optimizer.build(trained.trainable_variables)
    return trained
