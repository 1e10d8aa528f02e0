"""A small picture of a song of any length: its mel spectrogram, column by column, averaged where it gets too wide."""

import numpy as np

COLUMNS = 600
"""A picture has at least so many columns (where the song has as many frames), and less than twice as many."""

BANDS = 112


class Spectrogram:
    """Takes mel images in order, keeps a picture of bounded size.

    Args:
      hop: frames from one image's start to the next; what images share is taken once, what lies between is dark.
    """

    def __init__(self, hop: int):
        self._hop, self._frames = hop, 1
        self._kept: list[np.ndarray] = []
        self._rest = np.empty((0, 0), np.float32)

    def push(self, image: np.ndarray) -> None:
        """Adds uint8 [n_mels, frames]."""
        bands = _average(image[:, : self._hop].T, -(-len(image) // BANDS)).T
        gap = max(0, self._hop - image.shape[1])
        frames = np.pad(bands, ((0, 0), (0, gap)))
        if self._rest.size:
            frames = np.concatenate([self._rest, frames], axis=1)
        whole = frames.shape[1] // self._frames * self._frames
        self._rest = frames[:, whole:]
        if whole:
            self._kept.append(_average(frames[:, :whole], self._frames))
        while sum(part.shape[1] for part in self._kept) >= 2 * COLUMNS:
            # An odd column at the end of the pairs waits for the next one.
            columns = np.concatenate(self._kept, axis=1)
            even = columns.shape[1] // 2 * 2
            odd = np.repeat(columns[:, even:], self._frames, axis=1)
            self._rest = np.concatenate([odd, self._rest], axis=1) if odd.size else self._rest
            self._kept = [_average(columns[:, :even], 2)]
            self._frames *= 2

    @property
    def frames(self) -> int:
        """That the picture's columns stand for."""
        return self._frames * sum(part.shape[1] for part in self._kept)

    def picture(self) -> np.ndarray:
        """uint8 [bands, columns], lowest band first; [0, 0] where no image came."""
        if not self._kept:
            return np.empty((0, 0), np.uint8)
        return np.rint(np.concatenate(self._kept, axis=1)).astype(np.uint8)


def _average(values: np.ndarray, each: int) -> np.ndarray:
    """float32 [rows, columns / each]: the mean of every `each` columns, the last ones of fewer."""
    starts = np.arange(0, values.shape[1], each)
    sums = np.add.reduceat(values, starts, axis=1, dtype=np.float32)
    return sums / np.diff(np.append(starts, values.shape[1]))
