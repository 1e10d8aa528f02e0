"""The music-theory features of a stream of samples."""

import numpy as np
import soxr

from transforms.audio.windows import Segment, WindowCutter
from transforms.errors import CONVERT, TrackError
from transforms.music_theory import COLUMNS
from transforms.music_theory.dynamics import dynamics
from transforms.music_theory.frames import CONTEXT, FRAMING, Frames, analyse, join
from transforms.music_theory.harmony import harmony
from transforms.music_theory.rhythm import rhythm

BLOCK = 1024  # frames that are analysed at once, 24 s
TOUCHED = 3  # frames at each end whose spectrum, or that of the frame before, has the edge of the recording in it


class Theory:
    """The music-theory features of one track, computed from its samples block by block.

    The whole track counts: of each frame 80 bytes are kept (`Frames`), 12 MB for an hour, and tempo, beats, key and
    chords are those of all frames. The blocks in which samples are pushed do not change the result.

    Args:
      sample_rate: Hz, of the samples; they are resampled to 22,050.
    """

    def __init__(self, sample_rate: int):
        rate = FRAMING.sample_rate
        self._resampler = soxr.ResampleStream(sample_rate, rate, 1, dtype="float32") if sample_rate != rate else None
        block, context = BLOCK * FRAMING.hop_length, CONTEXT * FRAMING.hop_length
        self._cutter = WindowCutter(block, block, context)
        self._blocks: list[Frames] = []
        self._pushed = self._samples = 0  # before and after resampling
        self._peak = 0.0

    def push(self, samples: np.ndarray) -> None:
        """Add mono float32 samples [n] in [-1, 1]; they must not be written to afterwards."""
        self._pushed += len(samples)
        self._add(samples if self._resampler is None else self._resampler.resample_chunk(samples))

    def finish(self) -> np.ndarray:
        """Return the features of all samples.

        Returns:
          float32 [columns], in the order of `COLUMNS`; finite.

        Raises:
          TrackError: empty_audio or corrupt_audio.
        """
        if self._resampler is not None:
            self._add(self._resampler.resample_chunk(np.empty(0, np.float32), last=True))
        if not self._pushed:
            raise TrackError("empty_audio", "no samples to compute music theory of: get the file again")
        if not self._samples:  # fewer than one after resampling
            self._add(np.zeros(1, np.float32))
        rest = -self._samples % (BLOCK * FRAMING.hop_length)
        for segment in (*self._cutter.push(np.zeros(rest, np.float32)), *self._cutter.finish()):
            self._analyse(segment)
        frames = join(self._blocks)
        self._blocks = []
        frames.onset[:TOUCHED] = frames.onset[-TOUCHED:] = 0  # the edges of a recording are no onsets
        found = rhythm(frames.onset) | harmony(frames.chroma, frames.power) | dynamics(frames, self._peak)
        values = np.array([found[name] for name in COLUMNS], np.float32)
        if not np.isfinite(values).all():
            raise TrackError("corrupt_audio", f"samples too large for music theory: {CONVERT}")
        return values

    def _add(self, samples: np.ndarray) -> None:
        self._samples += len(samples)
        self._peak = max(self._peak, float(np.abs(samples).max(initial=0.0)))
        for segment in self._cutter.push(samples):
            self._analyse(segment)

    def _analyse(self, segment: Segment) -> None:
        """Analyse a segment's blocks one by one, so that they have the same size however the samples came."""
        hop = FRAMING.hop_length
        for i in range(segment.count):
            start = (segment.first + i) * BLOCK
            count = min(BLOCK, -(-self._samples // hop) - start)
            self._blocks.append(analyse(segment.samples[i * BLOCK * hop :][: (count + 2 * CONTEXT) * hop]))
