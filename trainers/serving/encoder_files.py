"""The encoders of a run's features as files: anybody's networks, and folders of `fma export --encoder`."""

import os
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from trainers.training.devices import import_tensorflow
from transforms.config import DatasetConfig
from transforms.dataset.embed import to_input
from transforms.encoders.encoder import inspect_encoder, open_encoder, read_facts
from transforms.encoders.facts import EncoderFacts

Moments = Callable[[np.ndarray], np.ndarray]
"""Windows [b, ...] as they are stored -> float64 [b, 2 d]: means and then mean squares of an encoder's outputs."""


def find_file(files: Sequence[str], facts: EncoderFacts, config: DatasetConfig) -> str:
    """Return which of some files of encoders is the one with these facts, or ""."""
    for path in files:
        found = read_facts(path) or inspect_encoder(path, config, facts.name, facts.sample_rate)
        if replace(found, name=facts.name) == facts:
            return path
    return ""


def open_file(path: str, facts: EncoderFacts, config: DatasetConfig) -> Moments:
    """Open the file of an encoder.

    Raises:
      UsageError: it does not take the windows of a dataset with these settings.
      FmaError: it is damaged.
    """
    if os.path.isdir(path):  # a SavedModel: what TensorFlow writes when it is imported is not for users
        import_tensorflow()
    encoder = open_encoder(path, facts, config)

    def moments(windows: np.ndarray) -> np.ndarray:
        found = encoder.encode(to_input(windows))
        maps = [found[name].reshape(len(windows), -1, size).astype(np.float64) for name, size in facts.outputs.items()]
        return np.concatenate([values.mean(axis=1) for values in (*maps, *map(np.square, maps))], axis=1)

    return moments
