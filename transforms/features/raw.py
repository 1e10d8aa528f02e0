"""raw: the window's mono samples as int16 PCM [window_samples]."""

from collections.abc import Iterator

import numpy as np

from transforms.config import DatasetConfig
from transforms.features.kind import Feature, FeatureKind
from transforms.windows import Segment, WindowCutter


def to_pcm16(samples: np.ndarray) -> np.ndarray:
    """float32 in [-1, 1) to int16 in steps of 1/32768, as 16-bit files hold it; what lies outside is clipped."""
    scaled = samples * np.float32(32768)
    return np.clip(np.rint(scaled, out=scaled), -32768, 32767, out=scaled).astype("<i2")


class RawExtractor:
    """Cuts and quantizes; the same windows as the mel kind."""

    def __init__(self, config: DatasetConfig):
        self._config = config
        self._cutter = WindowCutter(config.window_samples, config.window_hop_samples)

    def push(self, samples: np.ndarray) -> Iterator[Feature]:
        for segment in self._cutter.push(samples):
            yield from self._clips(segment)

    def finish(self) -> Iterator[Feature]:
        for segment in self._cutter.finish():
            yield from self._clips(segment)

    def _clips(self, segment: Segment) -> Iterator[Feature]:
        config = self._config
        pcm = to_pcm16(segment.samples)
        for i in range(segment.count):
            start = i * config.window_hop_samples
            window = segment.first + i
            payload = pcm[start : start + config.window_samples].tobytes()
            yield Feature(window, window * config.window_hop_samples, payload)


KIND = FeatureKind(
    name="raw",
    per="window",
    dtype=np.dtype("<i2"),
    shape=lambda config: (config.window_samples,),
    extractor=RawExtractor,
)
