"""The answer for a song: its genres, as JSON and as a picture over time."""

import os
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from transforms import storage
from transforms.errors import UsageError
from transforms.runtime.figures import load_pyplot
from transforms.runtime.os_errors import annotate_os_errors
from transforms.runtime.text import printable

UNSURE = "unsure"
THRESHOLD = 0.5  # default: a genre is the verdict if it is more likely than all others together
MOST_SONGS = 40
ROW_INCHES = 1.7


@dataclass(frozen=True)
class Answer:
    """A song's genres."""

    labels: list[str]  # genre names, in the order of the model's outputs
    probabilities: np.ndarray  # float64 [classes], calibrated, of the whole song
    windows: np.ndarray  # float64 [windows, classes], the same by window; [0, classes] for models of whole songs
    window_seconds: float  # a window's length
    hop_seconds: float  # from one window's start to the next
    seconds: float  # the song's length
    silent: bool  # whether it is digital silence
    embedding: np.ndarray  # float32 [dimensions], the model's features of the song before its last layer
    spectrogram: np.ndarray  # uint8 [bands, columns], an image, lowest band first; [0, 0] if not asked for
    pictured_seconds: float  # of the song that the image covers, from its start

    @property
    def order(self) -> np.ndarray:
        """Return the classes, the most likely first."""
        return np.argsort(-self.probabilities, kind="stable")

    def verdict(self, threshold: float) -> str:
        """Return the most likely genre; `UNSURE` where it is less likely than the threshold, or the song is silence."""
        top = int(self.order[0])
        return UNSURE if self.silent or self.probabilities[top] < threshold else self.labels[top]

    def to_json(self, threshold: float) -> dict[str, Any]:
        """Return verdict, genres (the most likely first), seconds, windows and silent."""
        genres = [
            {"genre": self.labels[label], "probability": round(float(self.probabilities[label]), 6)}
            for label in self.order
        ]
        return {
            "verdict": self.verdict(threshold),
            "genres": genres,
            "seconds": round(self.seconds, 3),
            "windows": len(self.windows),
            "silent": self.silent,
        }

    def timeline(self) -> list[dict[str, Any]]:
        """Return start and end of each window in seconds, and its probabilities in the order of the labels."""
        return [
            {
                "start": round(i * self.hop_seconds, 3),
                "end": round(i * self.hop_seconds + self.window_seconds, 3),
                "probabilities": [round(float(value), 6) for value in row],
            }
            for i, row in enumerate(self.windows)
        ]

    def steps(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the timeline as steps: each window lasts until the next one starts, the last for all of its length.

        Returns:
          seconds float64 [windows + 1], the start of each step and the end of the last; probabilities
          [windows + 1, classes].
        """
        starts = np.arange(len(self.windows)) * self.hop_seconds
        edges = np.append(starts, starts[-1] + self.window_seconds)
        return edges, np.concatenate([self.windows, self.windows[-1:]])


def check_picture(path: str) -> None:
    """Check, before any song is decoded, that the timeline can be drawn.

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


def draw_timeline(path: str, answers: Sequence[tuple[str, Answer]]) -> None:
    """Write a PNG, whatever the path's ending, with a row for each song: probabilities by window, stacked to 1.

    There is at least one (name, answer), and every answer has windows; no more than `MOST_SONGS` fit a picture.
    """
    pyplot = load_pyplot()
    labels = answers[0][1].labels
    colours = pyplot.get_cmap("tab20" if len(labels) > 10 else "tab10").colors
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # letters that the font lacks are drawn as boxes
        figure, axes = pyplot.subplots(
            len(answers), 1, figsize=(9, ROW_INCHES * len(answers) + 0.7), squeeze=False, layout="constrained"
        )
        for axis, (name, answer) in zip(axes[:, 0], answers, strict=True):
            edges, values = answer.steps()
            bands = axis.stackplot(
                edges, values.T, colors=[colours[i % len(colours)] for i in range(len(labels))], step="post"
            )
            axis.set(xlim=(0, edges[-1]), ylim=(0, 1), yticks=[0, 0.5, 1])
            # A name's dollar signs do not make it mathematics.
            axis.set_title(printable(name), fontsize=9, loc="left", parse_math=False)
        axes[-1, 0].set_xlabel("seconds")
        legend = figure.legend(bands, [printable(label) for label in labels], loc="outside right upper", fontsize=8)
        for text in legend.get_texts():
            text.set_parse_math(False)
        with annotate_os_errors(path):
            figure.savefig(path, dpi=110, format="png")
        pyplot.close(figure)
