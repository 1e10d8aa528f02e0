"""Calibrated probabilities: temperature scaling, fitted on validation (Guo et al., 2017, arXiv 1706.04599)."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from trainers.evaluation.metrics import log_softmax
from trainers.runs.files import report_damage
from trainers.runs.predictions import predictions_path, read_run_predictions
from transforms import storage

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline


LOWEST_SHARE = 1e-3  # lower bound of the neighbours' votes: no vote among k neighbours is not a probability of zero
UNKNOWN_GENRE = -50.0  # log-probability of a genre that the fitted rows do not have
_LOG_RANGE = (-7.0, 5.0)
"""Of 1 / temperature, for scores of an ordinary spread; naive Bayes is overconfident by factors of hundreds."""

_ORDINARY = (0.1, 100.0)
"""Spreads of scores; where theirs lies outside, the range moves along, so that units do not matter."""


def class_scores(pipeline: "Pipeline", method: str, values: np.ndarray, classes: int) -> np.ndarray:
    """Return scores whose softmax, at some temperature, gives probabilities; the prediction is their argmax.

    Args:
      pipeline: fitted.
      method: of its classifier, as in `Baseline.scores`.
      values: float32 [n, columns].
      classes: of the table; labels are 0 ... classes - 1.

    Returns:
      float32 [n, classes]; -inf for a class that was not among the fitted rows, or is as good as impossible.
    """
    with np.errstate(divide="ignore"):  # the logarithm of a probability that is too small for a float is -inf
        found = np.asarray(getattr(pipeline, method)(values), np.float64)
    if method == "predict_proba":
        found = np.log(np.maximum(found, LOWEST_SHARE))
    if found.ndim == 1:  # a decision function between two classes
        found = np.stack([np.zeros_like(found), found], axis=1)
    scores = np.full((len(found), classes), -np.inf, np.float32)
    scores[:, pipeline.classes_] = found
    return scores


def log_probabilities(scores: np.ndarray, temperature: float) -> np.ndarray:
    """Return log softmax(scores / temperature), float32 [n, classes], at least UNKNOWN_GENRE."""
    from scipy.special import log_softmax

    scaled = np.asarray(scores, np.float64) / temperature
    return np.maximum(log_softmax(scaled, axis=1), UNKNOWN_GENRE).astype(np.float32)


def log_loss(scores: np.ndarray, labels: np.ndarray, temperature: float) -> float:
    """Return the mean negative log-probability of the true labels."""
    return float(-log_probabilities(scores, temperature)[np.arange(len(labels)), labels].mean(dtype=np.float64))


def fit_score_temperature(scores: np.ndarray, labels: np.ndarray) -> float:
    """Return the temperature with the lowest log loss; the argmax does not depend on it.

    Rows whose own genre has no score are left out. The loss is that without the floor of `log_probabilities`:
    with it, all temperatures look alike to scores that are far apart.
    """
    from scipy.optimize import minimize_scalar
    from scipy.special import log_softmax

    known = np.isfinite(scores[np.arange(len(labels)), labels])
    values, truth = np.asarray(scores[known], np.float64), labels[known]
    if not len(truth):
        return 1.0

    def loss(log_factor: float) -> float:
        return float(-log_softmax(values * np.exp(log_factor), axis=1)[np.arange(len(truth)), truth].mean())

    found = minimize_scalar(loss, bounds=_log_range(values), method="bounded", options={"xatol": 1e-3})
    return float(np.exp(-found.x))


def _log_range(values: np.ndarray) -> tuple[float, float]:
    """Bounds of log(1 / temperature) for the search; `values` are scores, -inf where there is none."""
    below = values.max(axis=1, keepdims=True) - values
    spread = float(np.sqrt(np.mean(np.square(below[np.isfinite(below)])))) or 1.0
    low, high = _LOG_RANGE
    return low - max(0.0, np.log(spread / _ORDINARY[1])), high + max(0.0, np.log(_ORDINARY[0] / spread))


LOG_RANGE = (-5.0, 5.0)


@dataclass(frozen=True)
class Calibration:
    """The calibration of a model's log-probabilities: log softmax(log-probabilities / temperature)."""

    temperature: float = 1.0  # 1 leaves them as they are
    fitted: bool = False  # whether a validation split was there to fit it on

    def apply(self, log_probabilities: np.ndarray) -> np.ndarray:
        """Return probabilities float64 [n, classes] of log-probabilities [n, classes]."""
        return np.exp(log_softmax(np.asarray(log_probabilities, np.float64) / self.temperature))


def calibrate(run: str, model: str) -> Calibration:
    """Fit the temperature of a Keras run's model to its predictions for its own validation tracks.

    Raises:
      FmaError: its validation predictions are damaged.
    """
    if not storage.exists(predictions_path(run, "validation")):
        return Calibration()
    predictions = read_run_predictions(run, "validation")
    with report_damage(predictions_path(run, "validation")):
        found = predictions[model]
        return Calibration(fit_temperature(found.log_probabilities, found.label), fitted=True)


def fit_temperature(log_probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Return the temperature with the lowest log loss on some tracks and one more with all genres equally likely.

    Without that one, a small split whose tracks are all right would make every answer certain.

    Args:
      log_probabilities: float [tracks, classes].
      labels: int [tracks].
    """
    from scipy.optimize import minimize_scalar

    values = np.asarray(log_probabilities, np.float64)

    def loss(log_temperature: float) -> float:
        scaled = log_softmax(values / np.exp(log_temperature))
        return -scaled[np.arange(len(labels)), labels].sum() - scaled.mean()

    found = minimize_scalar(loss, bounds=LOG_RANGE, method="bounded", options={"xatol": 1e-4})
    return float(np.exp(found.x))
