"""raw: the window's mono samples as int16 PCM [window_samples]."""

from collections.abc import Iterator

import numpy as np

from transforms.features.kind import FeatureKind
from transforms.features.windowed import WindowExtractor
from transforms.windows import Segment


def to_pcm16(samples: np.ndarray) -> np.ndarray:
    """float32 in [-1, 1) to int16 in steps of 1/32768, as 16-bit files hold it; what lies outside is clipped."""
    scaled = samples * np.float32(32768)
    return np.clip(np.rint(scaled, out=scaled), -32768, 32767, out=scaled).astype("<i2")


class RawExtractor(WindowExtractor):
    """Cuts and quantizes; the same windows as the mel kind."""

    def _payloads(self, segment: Segment) -> Iterator[bytes]:
        config = self._config
        pcm = to_pcm16(segment.samples)
        for i in range(segment.count):
            yield pcm[i * config.window_hop_samples :][: config.window_samples].tobytes()


KIND = FeatureKind(
    name="raw",
    per="window",
    dtype=np.dtype("<i2"),
    shape=lambda config: (config.window_samples,),
    extractor=RawExtractor,
)
