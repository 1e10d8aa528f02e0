"""Pictures of a song: its mel spectrogram, and which genre is likely when."""

import os
import warnings
from collections.abc import Sequence

import numpy as np

from trainers.serving.answers import Answer
from trainers.serving.inputs import printable
from transforms import storage
from transforms.errors import UsageError
from transforms.runtime import console

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


MOST_SONGS = 40
ROW_INCHES = 1.7


def check_picture(path: str, songs: int) -> None:
    """Refuses what cannot be drawn before anything is judged.

    Raises:
      UsageError: there are too many songs, or the picture cannot be written where it is to go.
    """
    if songs > MOST_SONGS:
        raise UsageError(f"--timeline draws at most {MOST_SONGS} songs, and these are {songs:,}")
    shown, folder = printable(path), os.path.dirname(path) or "."
    if not storage.is_local(path):
        raise UsageError(f"--timeline {shown}: give a path on this machine")
    if os.path.isdir(path):
        raise UsageError(f"--timeline {shown} is a folder: give a file")
    if not os.path.isdir(folder):
        raise UsageError(f"--timeline {shown}: there is no folder {printable(folder)}")
    if not os.access(path if os.path.exists(path) else folder, os.W_OK):
        raise UsageError(f"--timeline {shown}: no permission to write there")


def draw_timeline(path: str, answers: Sequence[tuple[str, Answer]]) -> None:
    """Writes a PNG with a row for each song: its genres' probabilities by window, stacked to 1.

    Args:
      path: to write to, whatever its ending is.
      answers: (name, answer), at least one, with windows.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    labels = answers[0][1].labels
    colours = pyplot.get_cmap("tab20" if len(labels) > 10 else "tab10").colors  # type: ignore[attr-defined]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # letters that the font lacks are drawn as boxes
        figure, axes = pyplot.subplots(
            len(answers), 1, figsize=(9, ROW_INCHES * len(answers) + 0.7), squeeze=False, layout="constrained"
        )
        for axis, (name, answer) in zip(axes[:, 0], answers, strict=True):
            edges, values = steps(answer)
            bands = axis.stackplot(
                edges, values.T, colors=[colours[i % len(colours)] for i in range(len(labels))], step="post"
            )
            axis.set(xlim=(0, edges[-1]), ylim=(0, 1), yticks=[0, 0.5, 1])
            # Names are no mathematics, whatever stands between their dollar signs.
            axis.set_title(printable(name), fontsize=9, loc="left", parse_math=False)
        axes[-1, 0].set_xlabel("seconds")
        legend = figure.legend(bands, [printable(label) for label in labels], loc="outside right upper", fontsize=8)
        for text in legend.get_texts():
            text.set_parse_math(False)
        with console.annotate_os_errors(path):
            figure.savefig(path, dpi=110, format="png")
        pyplot.close(figure)


def steps(answer: Answer) -> tuple[np.ndarray, np.ndarray]:
    """A window stands for the time from its start to the next one's, the last for all of its own.

    Returns:
      seconds float64 [windows + 1], where each step begins and the last one ends; probabilities [windows + 1, classes].
    """
    starts = np.arange(len(answer.windows)) * answer.hop_seconds
    edges = np.append(starts, starts[-1] + answer.window_seconds)
    return edges, np.concatenate([answer.windows, answer.windows[-1:]])
