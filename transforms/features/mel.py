"""mel: log-mel images [n_mels, window_frames] in uint8 steps of `db_step` above `db_min`, lowest band first."""

from collections.abc import Iterator
from functools import lru_cache

import numpy as np

from transforms.config import DatasetConfig
from transforms.features.kind import FeatureKind
from transforms.features.windowed import WindowExtractor
from transforms.mel import LogMel, quantize
from transforms.windows import Segment


@lru_cache(maxsize=4)
def _log_mel(sample_rate: int, n_fft: int, hop_length: int, n_mels: int) -> LogMel:
    return LogMel(sample_rate, n_fft, hop_length, n_mels)


class MelExtractor(WindowExtractor):
    """Frames are those of a centred STFT of the whole track, so a window's image does not depend on how it is read."""

    def __init__(self, config: DatasetConfig):
        super().__init__(config, context=config.n_fft // 2)
        self._log_mel = _log_mel(config.sample_rate, config.n_fft, config.hop_length, config.n_mels)

    def _payloads(self, segment: Segment) -> Iterator[bytes]:
        config = self._config
        steps = quantize(self._log_mel(segment.samples), config.db_min, config.db_step)
        for i in range(segment.count):
            yield steps[i * config.window_hop_frames :][: config.window_frames].T.tobytes()


KIND = FeatureKind(
    name="mel",
    per="window",
    dtype=np.dtype("u1"),
    shape=lambda config: (config.n_mels, config.window_frames),
    extractor=MelExtractor,
)
