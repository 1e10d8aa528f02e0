"""From a song's payloads to its row of the table that classical models are fitted on: statistics and embeddings."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from trainers.classical.features import columns_of, encoder_name
from trainers.serving.encoder_files import Moments, find_file, open_file
from trainers.training.devices import import_tensorflow, open_device
from transforms.config import DatasetConfig
from transforms.encoders.facts import EncoderFacts


@dataclass(frozen=True)
class Opening:
    """How the encoders of a run are opened."""

    device: str = "auto"  # one of `trainers.training.devices.DEVICES`
    files: Sequence[str] = ()  # of encoders, in the place of those of this program and their published weights


ANYWHERE = Opening()


class TrackFeatures:
    """Computes a song's features.

    Args:
      run: for messages.
      features: kinds of records, as `trainers.classical.features` has them.
      encoders: facts of the encoders among them, by name.
      config: of the run's dataset.
      opening: of the encoders.

    Raises:
      UsageError: an encoder is not here, or another one.
    """

    def __init__(
        self,
        run: str,
        features: Sequence[str],
        encoders: Mapping[str, EncoderFacts],
        config: DatasetConfig,
        opening: Opening,
    ) -> None:
        self.features, self.encoders, self.opening = tuple(features), encoders, opening
        self.columns = columns_of(features, encoders)
        self.kinds = tuple(dict.fromkeys(self._kind_of(feature) for feature in features))
        self._moments = {
            name: open_file(path, facts, config)
            if (path := find_file(opening.files, facts, config))
            else _open_published(run, facts, config, opening.device)
            for name, facts in encoders.items()
        }

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


def _open_published(run: str, facts: EncoderFacts, config: DatasetConfig, device: str) -> Moments:
    import_tensorflow()
    from trainers.serving.encoders import open_published

    open_device(device)
    return open_published(run, facts, config)
