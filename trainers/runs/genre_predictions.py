"""Predictions of a run with many genres for each track, in the place of those of `trainers.runs.predictions`."""

from dataclasses import dataclass, field

import numpy as np

from trainers.runs.directory import load_config
from trainers.runs.files import report_damage
from trainers.runs.predictions import NOVELTY, by_model, predictions_path, read_arrays, write_arrays
from transforms.errors import UsageError

_KEY, _AT = "probabilities/", "thresholds/"


@dataclass(frozen=True, eq=False)
class GenrePredictions:
    """Predictions of all models of a run for the tracks of a split; the same tracks for each model."""

    track_id: np.ndarray  # int64 [tracks], ascending
    truth: np.ndarray  # bool [tracks, genres], ancestors included
    genres: list[str]  # in the order of the models' outputs
    probabilities: dict[str, np.ndarray]  # {model's name: float32 [tracks, genres]}; no child is above its parent
    # {model's name: float64 [genres]}, chosen on the validation split; a genre is predicted from its probability on
    thresholds: dict[str, np.ndarray]
    prior: np.ndarray  # float64 [genres], the share of the training tracks that have each
    novelty: dict[str, np.ndarray] = field(default_factory=dict)  # as that of `RunPredictions`

    @property
    def models(self) -> list[str]:
        """Return the models' names."""
        return list(self.probabilities)

    def predicted(self, model: str) -> np.ndarray:
        """Return which genres a model predicts: bool [tracks, genres]."""
        return self.probabilities[model] >= self.thresholds[model]


def write_genre_predictions(run: str, split: str, found: GenrePredictions) -> None:
    """Replace a run's predictions for a split."""
    arrays = {"track_id": found.track_id, "truth": found.truth, "genres": np.array(found.genres), "prior": found.prior}
    arrays |= {_KEY + name: values.astype(np.float32) for name, values in found.probabilities.items()}
    arrays |= {_AT + name: values for name, values in found.thresholds.items()}
    arrays |= {NOVELTY + name: values for name, values in found.novelty.items()}
    write_arrays(run, split, arrays)


def read_genre_predictions(run: str, split: str = "test") -> GenrePredictions:
    """Read the predictions of a run's models for the tracks of a split of the run's own dataset.

    Raises:
      UsageError: there is no such run, or its tracks have one label each.
      FmaError: it has no predictions for that split yet, or the file is damaged.
    """
    if not load_config(run).many:
        raise UsageError(f"{run} gives each track one label (--labels top), and here many genres are needed")
    arrays = read_arrays(run, split)
    with report_damage(predictions_path(run, split)):
        return GenrePredictions(
            **{name: arrays[name] for name in ("track_id", "truth", "prior")},
            genres=arrays["genres"].tolist(),
            probabilities=by_model(arrays, _KEY),
            thresholds=by_model(arrays, _AT),
            novelty=by_model(arrays, NOVELTY),
        )
