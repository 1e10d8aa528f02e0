"""What the kinds with a record for each window share: samples go in, segments of whole windows become features."""

from abc import ABC, abstractmethod
from collections.abc import Iterator

import numpy as np

from transforms.config import DatasetConfig
from transforms.features.kind import Feature
from transforms.windows import Segment, WindowCutter


class WindowExtractor(ABC):
    """An `Extractor` that computes segment by segment.

    Args:
      config: the dataset's.
      context: samples that a segment needs on each side.
    """

    def __init__(self, config: DatasetConfig, context: int = 0):
        self._config = config
        self._cutter = WindowCutter(config.window_samples, config.window_hop_samples, context)

    def push(self, samples: np.ndarray) -> Iterator[Feature]:
        """See `Extractor`."""
        for segment in self._cutter.push(samples):
            yield from self._features(segment)

    def finish(self) -> Iterator[Feature]:
        """See `Extractor`."""
        for segment in self._cutter.finish():
            yield from self._features(segment)

    def _features(self, segment: Segment) -> Iterator[Feature]:
        for i, payload in enumerate(self._payloads(segment)):
            window = segment.first + i
            yield Feature(window, window * self._config.window_hop_samples, payload)

    @abstractmethod
    def _payloads(self, segment: Segment) -> Iterator[bytes]:
        """The payload of each of the segment's windows, in order."""
