"""Probabilities that mean what they say: temperature scaling, fitted on the validation split (Guo et al., 2017)."""

from dataclasses import dataclass

import numpy as np

from trainers.predictions import log_softmax
from trainers.run_predictions import predictions_path, read_run_predictions
from trainers.serving.damage import reading
from transforms import storage

LOG_RANGE = (-5.0, 5.0)


@dataclass(frozen=True)
class Calibration:
    """How a model's log-probabilities become calibrated ones: log softmax(log-probabilities / temperature).

    Attributes:
      temperature: 1 leaves them as they are.
      fitted: whether a validation split was there to fit it on.
    """

    temperature: float = 1.0
    fitted: bool = False

    def apply(self, log_probabilities: np.ndarray) -> np.ndarray:
        """Probabilities float64 [n, classes] of log-probabilities [n, classes]."""
        return np.exp(log_softmax(np.asarray(log_probabilities, np.float64) / self.temperature))


def calibrate(run: str, model: str) -> Calibration:
    """The temperature for a run's model, from what it said about its own validation tracks.

    Args:
      run: of fma train.
      model: its model's name.

    Raises:
      FmaError: its validation predictions are damaged.
    """
    if not storage.exists(predictions_path(run, "validation")):
        return Calibration()
    predictions = read_run_predictions(run, "validation")
    with reading(predictions_path(run, "validation")):
        found = predictions[model]
        return Calibration(fit_temperature(found.log_probabilities, found.label), fitted=True)


def fit_temperature(log_probabilities: np.ndarray, labels: np.ndarray) -> float:
    """The temperature with the lowest log loss on some tracks and one more whose genre is anybody's guess.

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
