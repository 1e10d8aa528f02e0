"""The answer for a song: its genres, as JSON and as tables."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from trainers.runs.novelty import UNLIKE, is_unlike
from trainers.serving.tagger import Tags
from trainers.serving.tasks import ManyGenres, OneLabel, Task, most_likely
from transforms.runtime import console

SHOWN = 3  # genres of one label, the most likely ones; of many genres the most likely that are not predicted
TAGS_SHOWN = 5
SILENCE = "digital silence"
TREE = ("genre", "probability", "threshold", "predicted")

Named = tuple[str, "Answer"]
"""A song's name and its answer."""

Table = tuple[str, tuple[str, ...], list[tuple[Any, ...]]]
"""Title, columns and rows, as `console.table` takes them."""


@dataclass(frozen=True)
class Answer:
    """A song's genres."""

    task: Task  # of the run: its genres, and what follows from their probabilities
    probabilities: np.ndarray  # float64 [genres], of the whole song
    windows: np.ndarray  # float64 [windows, genres], the same by window; [0, genres] for models of whole songs
    window_seconds: float  # a window's length
    hop_seconds: float  # from one window's start to the next
    seconds: float  # the song's length
    silent: bool  # whether it is digital silence
    embedding: np.ndarray  # float32 [dimensions], the model's features of the song before its last layer
    spectrogram: np.ndarray  # uint8 [bands, columns], an image, lowest band first; [0, 0] if not asked for
    pictured_seconds: float  # of the song that the image covers, from its start
    tags: Tags | None = None  # None: not asked for, or silence
    audio_sha256: str = ""  # of the decoded audio, as a dataset's ledger has it
    novelty: float | None = None  # see `trainers.runs.novelty`; None: the run does not know

    @property
    def unlike_training(self) -> bool:
        """Return whether the song is unlike the music that the model was trained on."""
        return is_unlike(self.novelty)

    @property
    def unsure(self) -> bool:
        """Return whether there is no verdict, whatever the probabilities are."""
        return self.silent or self.unlike_training

    def to_json(self) -> dict[str, Any]:
        """Return what the task says of the genres, and seconds, windows and silent; and the tags, where it has some."""
        facts = {"seconds": round(self.seconds, 3), "windows": len(self.windows), "silent": self.silent}
        found = self.task.answer(self.probabilities, unsure=self.unsure) | facts
        if self.novelty is not None:
            found |= {"novelty": round(self.novelty, 4), "unlike_training": self.unlike_training}
        if self.tags:
            found["tags"] = [{"tag": tag, "probability": round(share, 6)} for tag, share in self.tags.likeliest()]
        return found

    def verdicts(self) -> list[str]:
        """Return the genres that the song is said to have, or that there are none."""
        return self.task.verdicts(self.probabilities, unsure=self.unsure)

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
          [windows + 1, genres].
        """
        starts = np.arange(len(self.windows)) * self.hop_seconds
        edges = np.append(starts, starts[-1] + self.window_seconds)
        return edges, np.concatenate([self.windows, self.windows[-1:]])


def tables(songs: Sequence[Named]) -> Iterator[Table]:
    """Yield the answers for people: one table with one label for each track, a tree for each song with many genres.

    A tree without rows is that of silence, which the title says. Where songs have tags, a table of these is the last.
    """
    one_label = [_row(name, answer) for name, answer in songs if isinstance(answer.task, OneLabel)]
    if one_label:
        yield "", ("file", "verdict", "most likely", "length"), one_label
    for name, answer in songs:
        if isinstance(answer.task, ManyGenres):
            title, why = f"{name}, {console.human_seconds(answer.seconds)}", _doubt(answer)
            tree = [] if answer.silent else _tree(answer.task, answer)
            yield f"{title}: {why}" if why else title, TREE, tree
    tagged = [(name, answer.tags) for name, answer in songs if answer.tags]
    if tagged:
        yield "", ("file", f"tags by {tagged[0][1].encoder}"), [(name, _likeliest(tags)) for name, tags in tagged]


def _likeliest(tags: Tags) -> str:
    return ", ".join(f"{tag} {share:.2f}" for tag, share in tags.likeliest(TAGS_SHOWN))


def _row(name: str, answer: Answer) -> tuple[Any, ...]:
    labels, chances = answer.task.labels, answer.probabilities
    likely = ", ".join(f"{labels[at]} {chances[at]:.2f}" for at in most_likely(chances)[:SHOWN])
    why = _doubt(answer)
    shown = likely if not why else why if answer.silent else f"{why} ({likely})"
    return name, answer.verdicts()[0], shown, console.human_seconds(answer.seconds)


def _doubt(answer: Answer) -> str:
    """Return why the song has no verdict, whatever the probabilities are; "" where it may have one."""
    return SILENCE if answer.silent else UNLIKE if answer.unlike_training else ""


def _tree(task: ManyGenres, answer: Answer) -> list[tuple[Any, ...]]:
    predicted = task.predicted(answer.probabilities, unsure=answer.unsure)
    return [
        ("  " * depth + task.labels[at], answer.probabilities[at], task.thresholds[at], bool(predicted[at]) or None)
        for at, depth in task.shown(answer.probabilities, SHOWN)
    ]
