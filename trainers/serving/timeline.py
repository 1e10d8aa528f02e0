"""`fma predict --timeline`: which genre is likely when, song by song, as one picture."""

import os
import warnings
from collections.abc import Sequence

import numpy as np

from trainers.serving.answers import Answer
from trainers.serving.names import printable
from transforms import storage
from transforms.errors import UsageError
from transforms.runtime import console

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
        with console.naming(path):
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
