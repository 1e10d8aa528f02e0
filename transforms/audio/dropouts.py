"""Dropouts: stretches of exact zeros inside a track, as lost frames leave them."""

import numpy as np

SHORTEST_SECONDS = 0.02
"""Shorter stretches of zeros do not count: a frame of mp3 has 24 ms or more, and a zero crossing may hit zero."""


class DropoutDetector:
    """A counter of samples in stretches of exact zeros inside a track, as lost frames leave them.

    Attributes:
      samples: counted so far; a stretch counts once the sound after it has begun.
    """

    def __init__(self, sample_rate: int):
        self.samples = 0
        self._shortest = max(2, round(SHORTEST_SECONDS * sample_rate))
        self._heard = False
        self._open = 0  # length of the stretch that the last block ended in

    def push(self, block: np.ndarray) -> None:
        """Add the next block of the signal, [n] with n > 0; the count does not depend on how it is cut."""
        lengths = self._ended_in(block)
        self.samples += int(lengths[lengths >= self._shortest].sum())

    def _ended_in(self, block: np.ndarray) -> np.ndarray:
        """Return the lengths of the stretches that end in the block; short ones inside it may be left out."""
        lengths = np.array([self._open])
        if not self._heard:
            sounds = block != 0
            self._heard = bool(sounds.any())
            block = block[sounds.argmax() :] if self._heard else block[:0]
        # A stretch that counts covers one of these samples, or an end of the block.
        if not len(block) or (block[0] and block[-1] and block[:: self._shortest].all()):
            self._open = 0
            return lengths
        zero = block == 0
        edges = np.flatnonzero(np.diff(zero, prepend=False, append=False))
        lengths = np.concatenate((lengths, edges[1::2] - edges[::2]))
        if zero[0]:  # the open stretch goes on
            lengths[1] += lengths[0]
            lengths[0] = 0
        self._open = int(lengths[-1]) if zero[-1] else 0
        return lengths[:-1] if zero[-1] else lengths
