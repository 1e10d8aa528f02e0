"""What a run predicts, one label for each track or many genres: from its model's logits to what an answer says."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from trainers.evaluation.calibration import Calibration, calibrate
from trainers.evaluation.metrics import check_numbers, song_log_probabilities
from trainers.evaluation.multilabel import ancestors
from trainers.runs.directory import BASELINES, RunConfig
from trainers.runs.files import report_damage
from trainers.runs.genre_facts import GENRES, read_genre_facts
from trainers.runs.predictions import predictions_path
from transforms import storage
from transforms.taxonomy import Taxonomy

UNSURE = "unsure"
THRESHOLD = 0.5  # default: a genre is the verdict if it is more likely than all others together

OF_CLASSICAL = Calibration(1.0, fitted=True)
"""Of classical models: their temperature was fitted along with them, and is applied to their scores."""


@dataclass(frozen=True)
class OneLabel:
    """One genre for each track: the probabilities of all genres add up to 1."""

    labels: list[str]  # genre names, in the order of the model's outputs
    calibration: Calibration  # of the log-probabilities
    threshold: float = THRESHOLD  # verdicts below it are `UNSURE`
    unfitted = "its probabilities are not calibrated"  # what follows where there was no validation split

    @property
    def fitted(self) -> bool:
        """Return whether a validation split was there to fit it on."""
        return self.calibration.fitted

    def of_windows(self, logits: np.ndarray) -> np.ndarray:
        """Return probabilities float64 [n, genres] of logits [n, genres], each row on its own."""
        return self.calibration.apply(logits)

    def of_song(self, logits: np.ndarray) -> np.ndarray:
        """Return a song's probabilities float64 [genres] of the logits [n, genres] of its windows, or of the whole.

        They are combined as in evaluation.

        Raises:
          FmaError: a logit is not a number.
        """
        return self.calibration.apply(song_log_probabilities(logits)[None])[0]

    def at(self, threshold: float) -> "OneLabel":
        """Return this task with another threshold."""
        return replace(self, threshold=threshold)

    def verdict(self, probabilities: np.ndarray, *, unsure: bool) -> str:
        """Return the most likely genre; `UNSURE` where it is less likely than the threshold, or so it is said."""
        top = int(most_likely(probabilities)[0])
        return UNSURE if unsure or probabilities[top] < self.threshold else self.labels[top]

    def verdicts(self, probabilities: np.ndarray, *, unsure: bool) -> list[str]:
        """Return the verdict, alone."""
        return [self.verdict(probabilities, unsure=unsure)]

    def answer(self, probabilities: np.ndarray, *, unsure: bool) -> dict[str, Any]:
        """Return the verdict, and the genres, the most likely first."""
        order = most_likely(probabilities)
        genres = [{"genre": self.labels[at], "probability": round(float(probabilities[at]), 6)} for at in order]
        return {"verdict": self.verdict(probabilities, unsure=unsure), "genres": genres}

    def to_json(self) -> dict[str, Any]:
        """Return the facts that `read_task` reads."""
        return {"labels": self.labels, "calibration": vars(self.calibration)}


@dataclass(frozen=True)
class ManyGenres:
    """Many genres for each track: each has a probability of its own, and none is above that of its parent."""

    labels: list[str]  # genre names, in the order of the model's outputs
    parents: Mapping[str, str]  # of each label the one right above it, "" at the top
    thresholds: Sequence[float]  # [genres]; a genre is predicted where its probability is at least that
    fitted: bool  # whether a validation split was there to choose the thresholds on
    unfitted = "the threshold of each genre is 0.5"  # what follows where there was none

    @cached_property
    def above(self) -> np.ndarray:
        """Return bool [genres, genres]; see `ancestors`."""
        return ancestors(self.labels, Taxonomy(self.parents))

    def of_windows(self, logits: np.ndarray) -> np.ndarray:
        """Return probabilities float64 [n, genres] of logits [n, genres].

        Raises:
          FmaError: a logit is not a number.
        """
        check_numbers(logits)
        with np.errstate(over="ignore"):  # of a song that is far from all music: its probability is 0
            return 1 / (1 + np.exp(-np.asarray(logits, np.float64)))

    def of_song(self, logits: np.ndarray) -> np.ndarray:
        """Return a song's probabilities float64 [genres]: the mean over logits [n, genres], as in evaluation."""
        return self.of_windows(logits).mean(axis=0)

    def at(self, threshold: float) -> "ManyGenres":
        """Return this task with another threshold, the same for all genres."""
        return replace(self, thresholds=[threshold] * len(self.labels))

    def predicted(self, probabilities: np.ndarray, *, unsure: bool) -> np.ndarray:
        """Return bool [genres]: which a song has, with their ancestors; none where it is said to be unsure."""
        reached = (probabilities >= np.array(self.thresholds)) & (not unsure)
        return np.any(self.above[reached], axis=0)

    def verdicts(self, probabilities: np.ndarray, *, unsure: bool) -> list[str]:
        """Return the genres that are predicted; `[UNSURE]` where there are none."""
        found = np.flatnonzero(self.predicted(probabilities, unsure=unsure))
        return [self.labels[at] for at in found] or [UNSURE]

    def walk(self, probabilities: np.ndarray) -> list[tuple[int, int]]:
        """Return each genre and its depth, 0 at the top.

        A parent comes before its children, and of these the likeliest first.
        """
        below: dict[str, list[int]] = {}
        for at in most_likely(probabilities).tolist():
            below.setdefault(self.parents[self.labels[at]], []).append(at)
        found = []
        waiting = [(at, 0) for at in reversed(below.get("", []))]
        while waiting:
            at, depth = waiting.pop()
            found.append((at, depth))
            waiting += [(child, depth + 1) for child in reversed(below.get(self.labels[at], []))]
        return found

    def shown(self, probabilities: np.ndarray, more: int) -> list[tuple[int, int]]:
        """Return those of `walk` that are predicted, the `more` next most likely, and what is above them."""
        predicted = self.predicted(probabilities, unsure=False)
        order = most_likely(probabilities)
        kept = predicted | np.any(self.above[order[~predicted[order]][:more]], axis=0)
        return [(at, depth) for at, depth in self.walk(probabilities) if kept[at]]

    def answer(self, probabilities: np.ndarray, *, unsure: bool) -> dict[str, Any]:
        """Return `labels`, which is "all", and the genres in the order of `walk`."""
        predicted = self.predicted(probabilities, unsure=unsure)
        genres = [
            {
                "genre": self.labels[at],
                "parent": self.parents[self.labels[at]],
                "probability": round(float(probabilities[at]), 6),
                "threshold": round(float(self.thresholds[at]), 6),
                "predicted": bool(predicted[at]),
            }
            for at, _ in self.walk(probabilities)
        ]
        return {"labels": "all", "genres": genres}

    def to_json(self) -> dict[str, Any]:
        """Return the facts that `read_task` reads."""
        thresholds = [float(value) for value in self.thresholds]
        return {"labels": self.labels, "parents": dict(self.parents), "thresholds": thresholds, "fitted": self.fitted}


Task = OneLabel | ManyGenres
"""From the logits of a run's model to what an answer says."""


def most_likely(probabilities: np.ndarray) -> np.ndarray:
    """Return the genres, the most likely first."""
    return np.argsort(-probabilities, kind="stable")


def read_task(facts: Mapping[str, Any]) -> Task:
    """Return the task whose `to_json` gave these facts, among others; KeyError, TypeError: they are damaged."""
    if "parents" in facts:
        return ManyGenres(facts["labels"], facts["parents"], facts["thresholds"], facts["fitted"])
    # Bundles of earlier versions have no calibration of their own.
    return OneLabel(facts["labels"], Calibration(**facts.get("calibration", vars(OF_CLASSICAL))))


def task_of(run: str, config: RunConfig, model: str) -> Task:
    """Return the task of a run's model.

    Raises:
      FmaError: one of the run's files is damaged.
    """
    is_classical = config.model == BASELINES
    if config.parents is None:
        return OneLabel(config.labels, OF_CLASSICAL if is_classical else calibrate(run, model))
    found = read_genre_facts(run).thresholds
    with report_damage(storage.join(run, GENRES)):
        fitted = is_classical or storage.exists(predictions_path(run, "validation"))
        return ManyGenres(config.labels, config.parents, found[model].tolist(), fitted)
