"""The feature kinds: what each one's payload is, and how it is computed from a stream of samples.

| kind | payload |
|---|---|
| mel | log-mel images [n_mels, window_frames] in uint8 steps of `db_step` above `db_min`, lowest band first |
| raw | the window's mono samples as int16 PCM [window_samples] |
| stats | FMA's 518 statistics of the whole track, float32 [518], columns as in its features.csv |
| theory | music theory of the whole track, float32 [84], columns as in `transforms.music_theory` |

Readers of a dataset import this module too, so scipy, soxr and librosa are imported only where features are computed.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np

from transforms.audio.windows import Segment, WindowCutter
from transforms.config import DatasetConfig
from transforms.fma_statistics import COLUMNS
from transforms.music_theory import COLUMNS as THEORY_COLUMNS

if TYPE_CHECKING:
    from transforms.audio.mel import LogMel


PCM_SCALE = 1 / 32768
"""What int16 samples are multiplied by; a power of two, so the product is exact."""


@dataclass(frozen=True, slots=True)
class Feature:
    """One payload: `window` is its index in the track, `start` its first sample at the dataset's rate."""

    window: int
    start: int
    payload: bytes


class Extractor(Protocol):
    """Computes one kind's features of one track from its samples, block by block."""

    def push(self, samples: np.ndarray) -> Iterator[Feature]:
        """Add mono float32 [n] at the dataset's sample rate; yield the features that are complete."""

    def finish(self) -> Iterator[Feature]:
        """Yield the features that need the end of the track."""


@dataclass(frozen=True, slots=True)
class FeatureKind:
    """A record family."""

    name: str  # as in `--features` and in shard paths
    per: Literal["window", "track"]  # whether there is a record for each window or one for each track
    dtype: np.dtype  # of the payload, little-endian
    shape: Callable[[DatasetConfig], tuple[int, ...]]  # payload shape for a config
    extractor: Callable[[DatasetConfig], Extractor]  # makes the object that computes the features of one track

    def payload_bytes(self, config: DatasetConfig) -> int:
        """Return the bytes of one payload."""
        return int(np.prod(self.shape(config))) * self.dtype.itemsize


class WindowExtractor(ABC):
    """An `Extractor` that computes segment by segment; `context` is the samples that it needs on each side."""

    def __init__(self, config: DatasetConfig, context: int = 0):
        self._config = config
        self._cutter = WindowCutter(config.window_samples, config.window_hop_samples, context)

    def push(self, samples: np.ndarray) -> Iterator[Feature]:
        for segment in self._cutter.push(samples):
            yield from self._features(segment)

    def finish(self) -> Iterator[Feature]:
        for segment in self._cutter.finish():
            yield from self._features(segment)

    def _features(self, segment: Segment) -> Iterator[Feature]:
        for i, payload in enumerate(self._payloads(segment)):
            window = segment.first + i
            yield Feature(window, window * self._config.window_hop_samples, payload)

    @abstractmethod
    def _payloads(self, segment: Segment) -> Iterator[bytes]:
        """Return the payload of each of the segment's windows, in order."""


@lru_cache(maxsize=4)
def _log_mel(sample_rate: int, n_fft: int, hop_length: int, n_mels: int) -> "LogMel":
    from transforms.audio.mel import LogMel

    return LogMel(sample_rate, n_fft, hop_length, n_mels)


class MelExtractor(WindowExtractor):
    """Log-mel images whose frames are those of a centred STFT of the whole track, however it is cut into blocks."""

    def __init__(self, config: DatasetConfig):
        super().__init__(config, context=config.n_fft // 2)
        self._log_mel = _log_mel(config.sample_rate, config.n_fft, config.hop_length, config.n_mels)

    def _payloads(self, segment: Segment) -> Iterator[bytes]:
        from transforms.audio.mel import quantize

        config = self._config
        steps = quantize(self._log_mel(segment.samples), config.db_min, config.db_step)
        for i in range(segment.count):
            yield steps[i * config.window_hop_frames :][: config.window_frames].T.tobytes()


def to_pcm16(samples: np.ndarray) -> np.ndarray:
    """Convert float32 in [-1, 1) to int16 in steps of 1/32768, as 16-bit files hold it, with clipping."""
    scaled = samples * np.float32(32768)
    return np.clip(np.rint(scaled, out=scaled), -32768, 32767, out=scaled).astype("<i2")


class RawExtractor(WindowExtractor):
    """Quantized samples of the same windows as those of the mel kind."""

    def _payloads(self, segment: Segment) -> Iterator[bytes]:
        config = self._config
        pcm = to_pcm16(segment.samples)
        for i in range(segment.count):
            yield pcm[i * config.window_hop_samples :][: config.window_samples].tobytes()


class Summary(Protocol):
    """Computes numbers of a whole track from its samples, block by block."""

    def push(self, samples: np.ndarray) -> None:
        """Add mono float32 [n]."""

    def finish(self) -> np.ndarray:
        """Return the numbers, float32."""


class TrackExtractor:
    """One feature of the whole track, at its end."""

    def __init__(self, summary: Summary):
        self._summary = summary

    def push(self, samples: np.ndarray) -> Iterator[Feature]:
        self._summary.push(samples)
        yield from ()

    def finish(self) -> Iterator[Feature]:
        yield Feature(0, 0, self._summary.finish().astype("<f4").tobytes())


def _statistics(config: DatasetConfig) -> Extractor:
    from transforms.fma_statistics.statistics import Statistics

    return TrackExtractor(Statistics(config.sample_rate))


def _theory(config: DatasetConfig) -> Extractor:
    from transforms.music_theory.load import load_theory

    return TrackExtractor(load_theory()(config.sample_rate))


_TABLE = (
    FeatureKind("mel", "window", np.dtype("u1"), lambda config: (config.n_mels, config.window_frames), MelExtractor),
    FeatureKind("raw", "window", np.dtype("<i2"), lambda config: (config.window_samples,), RawExtractor),
    FeatureKind("stats", "track", np.dtype("<f4"), lambda _: (len(COLUMNS),), _statistics),
    FeatureKind("theory", "track", np.dtype("<f4"), lambda _: (len(THEORY_COLUMNS),), _theory),
)
KINDS = {kind.name: kind for kind in _TABLE}  # every feature kind, by name
