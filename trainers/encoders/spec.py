"""The interface of an encoder: one table row that says what it reads, what it gives and how it is built."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from transforms.config import DatasetConfig
from transforms.weights.table import Weights

if TYPE_CHECKING:
    import keras


ONE_LEVEL = 2
"""The version from which on encoders of raw windows hear them at one loudness."""


@dataclass(frozen=True, slots=True)
class EncoderSpec:
    """A row of `trainers.encoders.table.ENCODERS`."""

    name: str  # on the command line, and of its records
    reads: Literal["raw", "mel"]  # feature kind of the windows that it is given
    outputs: dict[str, int]  # dimensions of each output
    weights: Weights  # as they are published
    # (settings of the dataset, path of the weights) -> network:
    #   raw  float32 [batch, samples] at the dataset's rate -> {output: [batch, positions, d]}
    #   mel  uint8 [batch, n_mels, frames] as stored                   -> the same
    # Nothing in it depends on the dataset but its settings: what a track gives must not change when others are added.
    build: Callable[[DatasetConfig, str], "keras.Model"]
    version: int = 1  # of the code around the weights; another one where it computes anything else
