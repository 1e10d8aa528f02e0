"""stats: FMA's 518 statistics of the whole track, float32 [518], columns as in its features.csv."""

from collections.abc import Iterator

import numpy as np

from transforms.config import DatasetConfig
from transforms.features.kind import Feature, FeatureKind
from transforms.statistics import COLUMNS, Statistics


class StatsExtractor:
    """One record for each track, at its end."""

    def __init__(self, config: DatasetConfig):
        self._statistics = Statistics(config.sample_rate)

    def push(self, samples: np.ndarray) -> Iterator[Feature]:
        self._statistics.push(samples)
        yield from ()

    def finish(self) -> Iterator[Feature]:
        yield Feature(0, 0, self._statistics.finish().astype("<f4").tobytes())


KIND = FeatureKind(
    name="stats",
    per="track",
    dtype=np.dtype("<f4"),
    shape=lambda config: (len(COLUMNS),),
    extractor=StatsExtractor,
)
