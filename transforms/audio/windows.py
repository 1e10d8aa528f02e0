"""Windows, cut from a stream of samples, so that a long track is never in memory whole."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True)
class Segment:
    """Some consecutive windows of a track and the samples around them."""

    first: int  # index of the first window in the track
    count: int  # number of windows, at least 1
    # float32 [context + (count - 1) * hop + window + context]; zeros where the track has no samples
    samples: np.ndarray


class WindowCutter:
    """A cutter of samples, in blocks of any length, into segments of whole windows.

    The rest at the end of the track that does not fill a window is dropped.

    Args:
      window: samples in a window.
      hop: samples from one window's start to the next.
      context: samples added on each side of a segment (half an STFT frame for a centred STFT, 0 for none).
    """

    def __init__(self, window: int, hop: int, context: int = 0):
        self._window, self._hop, self._context = window, hop, context
        # The held samples start `context` before the next window; before the track there is silence.
        self._held = [np.zeros(context, np.float32)]
        self._length = context
        self._skip = 0
        self._next = 0

    def push(self, samples: np.ndarray) -> Iterator[Segment]:
        """Add float32 [n]; yield the segments that are complete now, context included."""
        skipped = min(self._skip, len(samples))
        self._skip -= skipped
        self._add(samples[skipped:])
        yield from self._cut()

    def finish(self) -> Iterator[Segment]:
        """Yield the remaining segments, with silence after the end of the track."""
        self._add(np.zeros(self._context, np.float32))
        yield from self._cut()

    def _add(self, samples: np.ndarray) -> None:
        self._held.append(samples)
        self._length += len(samples)

    def _cut(self) -> Iterator[Segment]:
        lead = self._window + 2 * self._context
        if self._length < lead:
            return
        buffer = np.concatenate(self._held)
        while len(buffer) >= lead:
            # Windows with gaps between them are cut one by one, so that no time goes into the gaps.
            count = 1 if self._hop > self._window else (len(buffer) - lead) // self._hop + 1
            yield Segment(self._next, count, buffer[: (count - 1) * self._hop + lead])
            self._next += count
            used = count * self._hop
            self._skip += max(0, used - len(buffer))
            buffer = buffer[used:]
        self._held, self._length = [buffer], len(buffer)
