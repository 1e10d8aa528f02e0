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
        zero = block == 0
        if not self._heard:
            if zero.all():
                return
            self._heard = True
            zero = zero[zero.argmin() :]
        edges = np.flatnonzero(np.diff(zero, prepend=False, append=False))
        lengths = np.concatenate(([self._open], edges[1::2] - edges[::2]))
        if zero[0]:  # the open stretch goes on
            lengths[1] += lengths[0]
            lengths[0] = 0
        self._open = int(lengths[-1]) if zero[-1] else 0
        ended = lengths[:-1] if zero[-1] else lengths
        self.samples += int(ended[ended >= self._shortest].sum())
