"""The genres of songs over their time, as a picture."""

import os
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from trainers.serving.answers import SHOWN, Answer, Named
from trainers.serving.tasks import ManyGenres
from transforms import storage
from transforms.errors import UsageError
from transforms.runtime.figures import load_pyplot, save_png
from transforms.runtime.text import printable

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_SONGS = 40
ROW_INCHES = 1.7  # of a song
LINE_INCHES = 0.24  # of a genre, where a song has many
INDENT = "    "


def check_picture(path: str) -> None:
    """Check, before any song is read, that the timeline can be drawn.

    Raises:
      UsageError: the picture cannot be written to that path.
    """
    folder = os.path.dirname(path) or "."
    if not storage.is_local(path):
        raise UsageError(f"--timeline {path}: give a path on this machine")
    if os.path.isdir(path):
        raise UsageError(f"--timeline {path} is a folder: give a file")
    if not os.path.isdir(folder):
        raise UsageError(f"--timeline {path}: there is no folder {folder}")
    if not os.access(path if os.path.exists(path) else folder, os.W_OK):
        raise UsageError(f"--timeline {path}: no permission to write there")


def draw_timeline(path: str, songs: Sequence[Named]) -> None:
    """Write a PNG, whatever the path's ending, with a row for each song: the probabilities of its windows.

    Those of one label are stacked to 1. Of many genres, a line for each of those that `fma predict` shows, as a tree.
    There is at least one song, and every answer has windows; no more than `MOST_SONGS` fit a picture.
    """
    many = isinstance(songs[0][1].task, ManyGenres)
    heights = [0.55 + LINE_INCHES * len(_lines(answer)) if many else ROW_INCHES for _, answer in songs]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # letters that the font lacks are drawn as boxes
        figure, axes = load_pyplot().subplots(
            len(songs),
            1,
            figsize=(9, sum(heights) + 0.7),
            height_ratios=heights,
            squeeze=False,
            layout="constrained",
        )
        for axis, (name, answer) in zip(axes[:, 0], songs, strict=True):
            # A name's dollar signs do not make it mathematics.
            axis.set_title(printable(name), fontsize=9, loc="left", parse_math=False)
            drawn = _draw_tree(axis, answer) if many else _draw_stack(axis, answer)
        axes[-1, 0].set_xlabel("seconds")
        if many:
            figure.colorbar(drawn, ax=axes[:, 0].tolist(), label="probability", location="left", shrink=0.8, aspect=30)
        else:
            _add_legend(figure, drawn, songs[0][1].task.labels)
        save_png(figure, path)


def _draw_stack(axis: "Axes", answer: Answer) -> Any:
    """Draw the probabilities of all labels, stacked; return the areas."""
    labels, (edges, values) = answer.task.labels, answer.steps()
    colours = load_pyplot().get_cmap("tab20" if len(labels) > 10 else "tab10").colors
    axis.set(xlim=(0, edges[-1]), ylim=(0, 1), yticks=[0, 0.5, 1])
    return axis.stackplot(edges, values.T, colors=[colours[i % len(colours)] for i in range(len(labels))], step="post")


def _add_legend(figure: "Figure", areas: Any, labels: Sequence[str]) -> None:
    legend = figure.legend(areas, [printable(label) for label in labels], loc="outside right upper", fontsize=8)
    for text in legend.get_texts():
        text.set_parse_math(False)


def _lines(answer: Answer) -> list[tuple[int, int]]:
    assert isinstance(answer.task, ManyGenres)
    return answer.task.shown(answer.probabilities, SHOWN)


def _draw_tree(axis: "Axes", answer: Answer) -> Any:
    """Draw a line for each genre, the darker the likelier, with its name at the right, bold where it is predicted."""
    task, lines, (edges, _) = answer.task, _lines(answer), answer.steps()
    assert isinstance(task, ManyGenres)
    predicted = task.predicted(answer.probabilities, unsure=answer.unsure)
    values = answer.windows[:, [at for at, _ in lines]].T
    drawn = axis.pcolormesh(edges, np.arange(len(lines) + 1), values, cmap="YlGnBu", vmin=0, vmax=1)
    axis.hlines(np.arange(1, len(lines)), 0, edges[-1], colors="white", linewidth=1.5)
    axis.set(xlim=(0, edges[-1]), ylim=(len(lines), 0))
    axis.yaxis.tick_right()
    names = [f"{INDENT * depth}{printable(task.labels[at])}  {answer.probabilities[at]:.2f}" for at, depth in lines]
    axis.set_yticks(np.arange(len(lines)) + 0.5, names, fontsize=8, parse_math=False)
    axis.tick_params(axis="y", length=0)
    for text, (at, _) in zip(axis.get_yticklabels(), lines, strict=True):
        text.set(weight="bold" if predicted[at] else "normal", color="black" if predicted[at] else "dimgrey")
    return drawn
