"""Evaluation of a Keras model that gives each track many genres: probabilities by track, thresholds and metrics."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from trainers.data.inputs import Inputs
from trainers.evaluation import multilabel
from trainers.runs.directory import RunConfig
from trainers.runs.genre_facts import GenreFacts
from trainers.runs.genre_predictions import GenrePredictions
from trainers.runs.novelty import measure_model
from trainers.training.front_features import Embeddings

if TYPE_CHECKING:
    from trainers.evaluation.evaluate import NoveltyOf, Predictor

ROWS = 1 << 14  # that are computed in float64 at once


@dataclass(frozen=True, eq=False)
class TrackGenres:
    """The genres of a split's tracks, and what a model says of them."""

    track_id: np.ndarray  # int64 [tracks], ascending
    truth: np.ndarray  # bool [tracks, genres], ancestors included
    probabilities: np.ndarray  # float32 [tracks, genres]
    novelty: dict[str, np.ndarray]  # as that of `GenrePredictions`


def predict_genres(
    predictor: "Predictor", inputs: Inputs, split: str, batch_size: int, *, novelty_of: "NoveltyOf"
) -> TrackGenres:
    """Predict the genres of a split's tracks: the mean over a track's windows, or the head's for the whole track.

    Args:
      batch_size: records at a time, for each replica.
      novelty_of: as that of `evaluate_split`.
    """
    assert inputs.targets is not None
    windows, tracks, features = predictor.predict(inputs, split, batch_size)
    found = tracks or windows
    of_tracks = Embeddings(sigmoid(found.features), found.label, found.track_id, found.classes).by_track()
    novelty = measure_model(predictor.name, novelty_of(features), features.features)
    return TrackGenres(of_tracks.track_id, inputs.targets.truth[of_tracks.label], of_tracks.features, novelty)


def sigmoid(logits: np.ndarray) -> np.ndarray:
    """Return the probabilities of logits, float32 [n, genres].

    Where one logit is at least another, so is its probability: in float64, the exponential of a float32 has digits to
    spare.
    """
    found = np.empty(logits.shape, np.float32)
    for start in range(0, len(logits), ROWS):
        with np.errstate(over="ignore"):
            found[start : start + ROWS] = 1 / (1 + np.exp(-logits[start : start + ROWS].astype(np.float64)))
    return found


def choose_facts(model: str, prior: np.ndarray, validation: TrackGenres | None) -> GenreFacts:
    """Return the facts of a run's model: thresholds for its genres come from the validation split, where there is one.

    Args:
      model: its name.
      prior: float64 [genres], the share of the training tracks that have each.
    """
    if validation is None:
        return GenreFacts(prior, {model: np.full(len(prior), multilabel.THRESHOLD)})
    return GenreFacts(prior, {model: multilabel.choose_thresholds(validation.probabilities, validation.truth)})


def score_genres(
    model: str, found: TrackGenres, config: RunConfig, facts: GenreFacts, unknown: dict[str, int]
) -> tuple[dict[str, Any], GenrePredictions]:
    """Return the metrics of a run's model on a split, and its predictions.

    Args:
      model: its name.
      found: its probabilities.
      config, facts: of the run; where it is not finished, it has no thresholds yet.
      unknown: tracks of the split by genre, of those that the model does not know.

    Returns:
      per_track: as `multilabel.evaluate`; labels; left_out: `unknown`; and the predictions.

    Raises:
      FmaError: a probability is not a number, or no track has a genre that the model knows.
    """
    labels = config.labels
    thresholds = facts.thresholds.get(model, np.full(len(labels), multilabel.THRESHOLD))
    per_track = multilabel.evaluate(
        found.probabilities, found.truth, labels, config.taxonomy, thresholds=thresholds, prior=facts.prior
    )
    predictions = GenrePredictions(
        found.track_id,
        found.truth,
        labels,
        {model: found.probabilities},
        {model: thresholds},
        facts.prior,
        found.novelty,
    )
    return {"per_track": per_track, "labels": labels, "left_out": unknown}, predictions
