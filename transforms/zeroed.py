"""Stretches of exact zeros inside a signal: what a decoder puts where frames of a file are lost.

libmpg123 does not stop at a damaged frame: it notes it, plays zeros and goes on. Measured on 176 real clips: none has
such a stretch of 5 ms or more (their fades go below one step of 16 bits, but not to zero), while one lost frame of
1,152 samples leaves 1,249 zeros. A pause that was cut to silence before encoding looks the same, so this is a remark
and no reason to leave a track out. Zeros before the first sound and after the last are the encoder's: not counted.
"""

import numpy as np

SHORTEST_SECONDS = 0.02
"""Shorter stretches do not count: a frame of mp3 is 24 ms or longer, and a zero crossing may hit zero by chance."""


class ZeroedStretches:
    """Counts the samples of a stream that lie in such stretches.

    Args:
      sample_rate: Hz.

    Attributes:
      samples: counted so far; a stretch counts when the sound behind it has begun.
    """

    def __init__(self, sample_rate: int):
        self.samples = 0
        self._shortest = max(2, round(SHORTEST_SECONDS * sample_rate))
        self._heard = False
        self._open = 0  # length of the stretch that the last block ended in

    def push(self, block: np.ndarray) -> None:
        """Takes the next piece of the signal, [n] with n > 0; the count does not depend on how it is cut."""
        lengths = self._ended_in(block)
        self.samples += int(lengths[lengths >= self._shortest].sum())

    def _ended_in(self, block: np.ndarray) -> np.ndarray:
        """Lengths of the stretches that end in the block; of those that lie inside it, the short ones may be absent."""
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
