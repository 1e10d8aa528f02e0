"""mel: log-mel images [n_mels, window_frames] in uint8 steps of `db_step` above `db_min`, lowest band first."""

from collections.abc import Iterator
from functools import lru_cache

import numpy as np

from transforms.config import DatasetConfig
from transforms.features.kind import Feature, FeatureKind
from transforms.mel import LogMel, quantize
from transforms.windows import Segment, WindowCutter


@lru_cache(maxsize=4)
def _log_mel(sample_rate: int, n_fft: int, hop_length: int, n_mels: int) -> LogMel:
    return LogMel(sample_rate, n_fft, hop_length, n_mels)


class MelExtractor:
    """Frames are those of a centred STFT of the whole track, so a window's image does not depend on how it is read."""

    def __init__(self, config: DatasetConfig):
        self._config = config
        self._cutter = WindowCutter(config.window_samples, config.window_hop_samples, config.n_fft // 2)
        self._log_mel = _log_mel(config.sample_rate, config.n_fft, config.hop_length, config.n_mels)

    def push(self, samples: np.ndarray) -> Iterator[Feature]:
        for segment in self._cutter.push(samples):
            yield from self._images(segment)

    def finish(self) -> Iterator[Feature]:
        for segment in self._cutter.finish():
            yield from self._images(segment)

    def _images(self, segment: Segment) -> Iterator[Feature]:
        config = self._config
        steps = quantize(self._log_mel(segment.samples), config.db_min, config.db_step)
        for i in range(segment.count):
            frames = steps[i * config.window_hop_frames :][: config.window_frames]
            window = segment.first + i
            yield Feature(window, window * config.window_hop_samples, frames.T.tobytes())


KIND = FeatureKind(
    name="mel",
    per="window",
    dtype=np.dtype("u1"),
    shape=lambda config: (config.n_mels, config.window_frames),
    extractor=MelExtractor,
)
