"""The interface of a model: one table row that says what it reads, how it is built and how it is trained.

A network maps one batch of normalised records to logits:

    mel models  float32 [batch, n_mels, frames], normalised by the dataset's statistics -> float32 [batch, classes]
    raw models  float32 [batch, samples], int16 / 32768 at one loudness                      -> float32 [batch, classes]

Everything between (channels, resizing, crops, resampling) happens inside. `trainers.models.records` puts the
normalisation before it; that whole model is saved, and is what serving needs.
Some networks are `transfer models`: exactly two nested models, `front` (pretrained, frozen at first) and `head`:

    front   normalised records -> features, float32 [batch, features]
    head    features -> logits

The features are moments (means and mean squares), so the mean of the features of a track's windows is the feature of
the whole track. A phase with `train="head"` runs the front once over the dataset, calls `standardise(head, features)`
with the training features, and trains the head on stored features, which takes seconds. `front_of(network)` and
`head_of(network)` share their weights with the network.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from transforms.audio.features import KINDS
from transforms.config import DatasetConfig

if TYPE_CHECKING:
    import keras


@dataclass(frozen=True, slots=True)
class ModelInput:
    """The shape of one record, as the network gets it."""

    shape: tuple[int, ...]  # without the batch: (n_mels, frames) or (samples,)
    sample_rate: int = 22_050  # Hz, of the dataset

    @classmethod
    def of(cls, kind: str, config: DatasetConfig) -> "ModelInput":
        """Return that of the records of a kind in a dataset with these settings."""
        return cls(KINDS[kind].shape(config), config.sample_rate)


@dataclass(frozen=True, slots=True)
class ModelOptions:
    """The options of a model that a user may set; they are stored in the run's config."""

    # "imagenet" or "audioset" (published weights), "none" (random ones), a file, or "" for the model's own default.
    # Only models with `ModelSpec.default_weights` take any.
    weights: str = ""
    # share of units that is dropped before the last layer; None for the model's own default
    dropout: float | None = None
    width: float = 1.0  # multiplies the number of channels of the models that are trained from scratch
    image_size: int = 224  # side of the square image that mobilenet_v2 sees, in pixels
    seed: int = 0  # of random crops (weights and dropout follow keras.utils.set_random_seed, which the loop calls)
    loudness: bool = True  # whether every window is brought to the same loudness first (`trainers.models.records`)
    many: bool = False  # whether a track may have many of the classes; `trainers.models.genre_output` then ends it

    def dropout_or(self, default: float) -> float:
        """Return the dropout, or the model's own default where none is set."""
        return default if self.dropout is None else self.dropout

    def scaled(self, channels: int) -> int:
        """So many channels at width 1, at this width."""
        return max(1, round(channels * self.width))


CLASS_WEIGHTS = ("balanced", "sqrt", "none")
"""Weightings of rare genres in the training loss; see `trainers.training.objective.class_weights`."""


@dataclass(frozen=True, slots=True)
class Phase:
    """A phase of training, with a schedule of its own."""

    name: str  # in the log, the history and file names
    epochs: int  # at most; early stopping may end it before
    learning_rate: float  # peak of the cosine schedule, for AdamW
    batch_size: int = 32  # examples for each replica
    weight_decay: float = 1e-4  # AdamW's, for kernels only (biases, batch norm's scale and offset are left alone)
    label_smoothing: float = 0.1  # in [0, 1)
    class_weights: str = "balanced"  # one of `CLASS_WEIGHTS`
    warmup_epochs: float = 1.0  # linear warm-up before the cosine; may be a fraction
    patience: int = 10  # epochs without a lower validation loss after which the phase ends; its best weights are kept
    # alpha of the Beta distribution, 0 for none. In a phase that trains the head, features are mixed.
    mixup: float = 0.0
    spec_augment: bool = False  # masks bands and frames (mel kind only)
    gain: bool = False  # random gain (raw kind: factor; mel kind: offset), off where the front is run once
    # narrow bandwidth, what codecs leave out, and noise, at random; off where the front is run once
    degrade: bool = False
    # "model": records go through the whole model. "head": features of the frozen front are stored once, and only the
    # head is trained; an example is then a random half of a track's windows in training and the whole track in
    # validation where `ModelSpec.pool` is "track", else a window.
    train: Literal["model", "head"] = "model"
    # sets what is trainable before the phase starts, called in the device's scope on the network. It is safe to
    # call again on one that was resumed.
    prepare: Callable[["keras.Model"], None] | None = None


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """A row of `trainers.models.MODELS`."""

    name: str  # on the command line
    summary: str  # one line for --help
    kind: Literal["mel", "raw"]  # feature kind of the records that it reads
    # (input, number of classes, options) -> network, to be called in the device's scope and under the mixed precision
    # policy; a UsageError says which option or dataset does not fit
    build: Callable[[ModelInput, int, ModelOptions], "keras.Model"]
    phases: tuple[Phase, ...]  # of training, in order
    default_weights: str | None = None  # what `--weights ""` means, or None where the model takes no weights
    # "window": a track's log-probabilities are the mean of its windows'. "track": the head classifies the mean of the
    # features of the track's windows; its per-window figures come from the single windows' features.
    pool: Literal["window", "track"] = "window"


def front_of(network: "keras.Model") -> "keras.Model":
    """Return the pretrained part of a transfer model: normalised records -> features [batch, features]."""
    return network.get_layer("front")


def head_of(network: "keras.Model") -> "keras.Model":
    """Return the part of a transfer model that is trained on stored features: [batch, features] -> logits."""
    return network.get_layer("head")


def standardise(head: "keras.Model", features: np.ndarray) -> None:
    """Set the mean and scale of the head's first layer from the training features [examples, features].

    Call it once, before the first step of a phase that trains the head; the values are weights and are saved with it.
    """
    head.get_layer("standardise").set_from(features)


def train_head_only(network: "keras.Model") -> None:
    """Freeze the front of a transfer model; a `Phase.prepare`."""
    front_of(network).trainable = False
    head_of(network).trainable = True
