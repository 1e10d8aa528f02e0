"""From a song's payloads to its row of the table that classical models are fitted on: statistics and embeddings."""

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import numpy as np

from trainers.classical.features import columns_of, encoder_name
from transforms.encoders.facts import EncoderFacts

Moments = Callable[[np.ndarray], np.ndarray]
"""Windows [b, ...] as they are stored -> float64 [b, 2 d]: means and then mean squares of an encoder's outputs."""


class OpenEncoders(Protocol):
    """What opens encoders, when they are needed."""

    def __call__(self, encoders: Sequence[EncoderFacts]) -> Mapping[str, Moments]:
        """Return them by name."""


class TrackFeatures:
    """Computes a song's features.

    Args:
      features: kinds of records, as `trainers.classical.features` has them.
      encoders: facts of the encoders among them, by name.
      open_encoders: called for them, if there are any.
    """

    def __init__(
        self, features: Sequence[str], encoders: Mapping[str, EncoderFacts], open_encoders: OpenEncoders
    ) -> None:
        self.features, self.encoders = tuple(features), encoders
        self.columns = columns_of(features, encoders)
        self.kinds = tuple(dict.fromkeys(self._kind_of(feature) for feature in features))
        self._moments = open_encoders(list(encoders.values())) if encoders else {}

    def _kind_of(self, feature: str) -> str:
        name = encoder_name(feature)
        return self.encoders[name].reads if name else feature

    def of_payloads(self, kind: str, payloads: np.ndarray) -> np.ndarray:
        """Return what is averaged over a song's payloads [b, ...] of a kind, float64 [b, d]."""
        parts = [
            self._moments[name](payloads) if (name := encoder_name(feature)) else payloads.astype(np.float64)
            for feature in self.features
            if self._kind_of(feature) == kind
        ]
        return np.concatenate(parts, axis=1)

    def row(self, means: Mapping[str, np.ndarray]) -> np.ndarray:
        """Return a song's row, float32 [1, columns], of the means of `of_payloads` by kind."""
        parts, used = [], dict.fromkeys(means, 0)
        for feature in self.features:
            kind, name = self._kind_of(feature), encoder_name(feature)
            width = 2 * self.encoders[name].dimensions if name else len(means[kind])
            values = means[kind][used[kind] : used[kind] + width]
            used[kind] += width
            parts.append(to_deviations(values) if name else values)
        return np.concatenate(parts).astype(np.float32)[None]


def to_deviations(moments: np.ndarray) -> np.ndarray:
    """Return means and then deviations, float64 [2 d], of means and then mean squares."""
    mean, square = np.split(moments, 2)
    return np.concatenate([mean, np.sqrt(np.maximum(square - np.square(mean), 0))])
