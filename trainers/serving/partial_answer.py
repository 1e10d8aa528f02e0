"""The answer for a song while it is decoded: models run on its windows, and a picture of limited size grows."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

import numpy as np

from trainers.serving.answers import Answer
from trainers.serving.scorers import Scorer
from trainers.serving.tagger import Tagger, Tags

Rows = tuple[np.ndarray, ...]
Forward = Callable[[np.ndarray], Rows]  # payloads [b, ...] -> arrays [b, ...]

WINDOWS = 32  # windows of one song in a batch; a song's memory does not grow beyond them

COLUMNS = 600
"""A spectrogram has at least this many columns (if the song has as many frames), and less than twice as many."""

BANDS = 112


class _Windows(ABC):
    """Runs a model on the windows of a song while it is decoded, `WINDOWS` at a time: memory does not grow with it."""

    def __init__(self, kind: str, forward: Forward):
        self.kind, self._forward = kind, forward
        self._payloads: list[np.ndarray] = []
        self._sum: np.ndarray | float = 0.0
        self._windows = 0

    def push(self, payload: np.ndarray) -> None:
        """Add the next window."""
        self._payloads.append(payload)
        if len(self._payloads) == WINDOWS:
            self.flush()

    def flush(self) -> None:
        """Run the model on the windows that wait."""
        if self._payloads:
            rows = self._forward(np.stack(self._payloads))
            self._payloads.clear()
            self.take(*rows)

    @abstractmethod
    def take(self, *rows: np.ndarray) -> None:
        """Keep what the model found in some windows."""

    def add(self, values: np.ndarray) -> None:
        """Add values [windows, d] to those that `mean` is of."""
        self._sum = self._sum + values.sum(axis=0, dtype=np.float64)
        self._windows += len(values)

    def mean(self) -> np.ndarray:
        """Return the mean over all windows, float64 [d]."""
        return np.asarray(self._sum / self._windows)


class Scored(_Windows):
    """The logits of a song's windows of one kind, and the mean of their features."""

    def __init__(self, kind: str, forward: Forward):
        super().__init__(kind, forward)
        self._logits: list[np.ndarray] = []

    def take(self, *rows: np.ndarray) -> None:
        logits, features = rows
        self._logits.append(logits)
        self.add(features)

    def finish(self) -> tuple[np.ndarray, np.ndarray]:
        """Return logits float32 [windows, genres or 0] and features float64 [d]."""
        self.flush()
        return np.concatenate(self._logits), self.mean()


class Tagged(_Windows):
    """The mean over a song's windows of the probabilities of tags."""

    def __init__(self, tagger: Tagger, forward: Forward):
        super().__init__(tagger.kind, forward)
        self._tagger = tagger

    def take(self, *rows: np.ndarray) -> None:
        (probabilities,) = rows
        self.add(probabilities)

    def finish(self) -> Tags:
        """Return the song's tags."""
        self.flush()
        return self._tagger.tags(self.mean())


class Spectrogram:
    """Joins mel images, in order, to a picture of limited size.

    Args:
      hop: frames from one image's start to the next; overlaps are used once, gaps are dark.
    """

    def __init__(self, hop: int):
        self._hop, self._frames = hop, 1
        self._kept: list[np.ndarray] = []
        self._rest = np.empty((0, 0), np.float32)

    def push(self, image: np.ndarray) -> None:
        """Add an image uint8 [n_mels, frames]."""
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
        """Return the number of frames in the picture."""
        return self._frames * sum(part.shape[1] for part in self._kept)

    def picture(self) -> np.ndarray:
        """Return uint8 [bands, columns], lowest band first; [0, 0] without any image."""
        if not self._kept:
            return np.empty((0, 0), np.uint8)
        return np.rint(np.concatenate(self._kept, axis=1)).astype(np.uint8)


def _average(values: np.ndarray, each: int) -> np.ndarray:
    """Return the mean of every `each` columns, the last ones of fewer, float32 [rows, columns / each]."""
    starts = np.arange(0, values.shape[1], each)
    sums = np.add.reduceat(values, starts, axis=1, dtype=np.float32)
    return sums / np.diff(np.append(starts, values.shape[1]))


class PartialAnswer:
    """The answer for a song while it is decoded; `scored` are the scorer's rows of each kind that it reads."""

    def __init__(self, scorer: Scorer, scored: Sequence[Scored], tagged: Tagged | None, picture: Spectrogram | None):
        self._scorer, self._scored, self._tagged, self._picture = scorer, scored, tagged, picture

    def add(self, kind: str, payload: np.ndarray) -> None:
        if self._picture is not None and kind == "mel":
            self._picture.push(payload)
        for windows in (*self._scored, self._tagged):
            if windows is not None and kind == windows.kind:
                windows.push(payload)

    def finish(self, seconds: float, silent: bool) -> Answer:
        scorer, picture = self._scorer, self._picture
        found = {part.kind: part.finish() for part in self._scored}
        logits = np.concatenate([of_windows for of_windows, _ in found.values()])
        rows, embedding, novelty = scorer.song(logits, {kind: mean for kind, (_, mean) in found.items()})
        return Answer(
            task=scorer.task,
            probabilities=scorer.task.of_song(rows),
            windows=scorer.task.of_windows(logits) if scorer.by_window else np.empty((0, len(scorer.task.labels))),
            window_seconds=scorer.config.window_seconds,
            hop_seconds=scorer.config.window_hop_samples / scorer.config.sample_rate,
            seconds=seconds,
            silent=silent,
            embedding=embedding,
            novelty=novelty,
            spectrogram=picture.picture() if picture else np.empty((0, 0), np.uint8),
            pictured_seconds=picture.frames * scorer.config.hop_length / scorer.config.sample_rate if picture else 0.0,
            tags=self._tagged.finish() if self._tagged and not silent else None,
        )
