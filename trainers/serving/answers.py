"""What is said about a song, and how it reads as JSON."""

from dataclasses import dataclass
from typing import Any

import numpy as np

UNSURE = "unsure"
THRESHOLD = 0.5
"""Default: a genre is the verdict if it is more likely than all others together."""


@dataclass(frozen=True)
class Answer:
    """A song's genres.

    Attributes:
      labels: genre names, in the order of the model's outputs.
      probabilities: float64 [classes], calibrated, of the whole song.
      windows: float64 [windows, classes], the same by window; [0, classes] for models that know whole songs only.
      window_seconds, hop_seconds: a window's length, and how far from one window's start to the next.
      seconds: the song's length.
      silent: whether it is digital silence.
      embedding: float32 [dimensions], what the model makes of the song before its last layer.
      spectrogram: uint8 [bands, columns], an image of the song, lowest band first; [0, 0] if not asked for.
      pictured_seconds: of the song that the image covers, from its start.
    """

    labels: list[str]
    probabilities: np.ndarray
    windows: np.ndarray
    window_seconds: float
    hop_seconds: float
    seconds: float
    silent: bool
    embedding: np.ndarray
    spectrogram: np.ndarray
    pictured_seconds: float

    @property
    def order(self) -> np.ndarray:
        """The classes, the most likely first."""
        return np.argsort(-self.probabilities, kind="stable")

    def verdict(self, threshold: float) -> str:
        """The most likely genre; `UNSURE` where it is less likely than the threshold, or the song is silence."""
        top = int(self.order[0])
        return UNSURE if self.silent or self.probabilities[top] < threshold else self.labels[top]

    def to_json(self, threshold: float) -> dict[str, Any]:
        """Plain values: verdict, genres (the most likely first), seconds, windows, silent."""
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
        """For each window its start and end in seconds, and its probabilities in the order of the labels."""
        return [
            {
                "start": round(i * self.hop_seconds, 3),
                "end": round(i * self.hop_seconds + self.window_seconds, 3),
                "probabilities": [round(float(value), 6) for value in row],
            }
            for i, row in enumerate(self.windows)
        ]
