"""Calibrated probabilities of many genres: a sigmoid of the score for each (Platt, 1999), fitted on validation."""

from dataclasses import dataclass

import numpy as np

SLOPES = (-7.0, 7.0)  # logarithms of them, of scores that are scaled to a middle 90% of width 1
_RARE = 1e-6  # least share of tracks that counts


@dataclass(frozen=True, eq=False)
class Platt:
    """A sigmoid for each genre: 1 / (1 + exp(-(slope * score + intercept)))."""

    slope: np.ndarray  # float64 [genres], positive
    intercept: np.ndarray  # float64 [genres]

    def apply(self, scores: np.ndarray) -> np.ndarray:
        """Return probabilities float32 [rows, genres] of scores [rows, genres]."""
        from scipy.special import expit

        return expit(self.logits(scores)).astype(np.float32)

    def logits(self, scores: np.ndarray) -> np.ndarray:
        """Return the log-odds of the probabilities, float64 [rows, genres]."""
        return scores * self.slope + self.intercept


def fit_platt(scores: np.ndarray, truth: np.ndarray, prior: np.ndarray) -> Platt:
    """Fit a sigmoid for each genre by log loss, drawn to what fits all genres, since a rare one has few tracks.

    logit(probability) = exp(a) * z + b + logit(prior), where z is the score, scaled to median 0 and 90% within a unit.
    Each genre has its own a and b; they differ from common ones, which are fitted with them, by a normal distribution
    of variance 1. A slope is positive, so that the order of tracks stays. As in Platt's method the targets are not
    quite 0 and 1, so that a genre that the scores tell apart without a mistake does not get an endless slope.

    Args:
      scores: float [tracks, genres], finite.
      truth: bool [tracks, genres].
      prior: float [genres], each genre's share of the training tracks.
    """
    from scipy.optimize import minimize

    centre, spread = _scale(scores)
    scaled = (np.asarray(scores, np.float64) - centre) / spread
    share = np.clip(prior, _RARE, 1 - _RARE)
    offset = np.log(share / (1 - share))
    count = truth.sum(axis=0)
    # As if one more track, which has the genre with the prior's probability, were on either side.
    targets = np.where(truth, (count + share) / (count + 1), share / (len(truth) - count + 1))
    genres = len(share)

    def loss(at: np.ndarray) -> tuple[float, np.ndarray]:
        (powers, shifts), common = at[2:].reshape(2, genres), at[:2]
        slopes = np.exp(powers)
        found, (by_slope, by_shift) = _log_loss(scaled, targets, slopes, shifts + offset)
        apart = np.stack([powers - common[0], shifts - common[1]])
        gradient = np.stack([by_slope * slopes, by_shift]) + apart
        return found + float(np.square(apart).sum()) / 2, np.concatenate([-apart.sum(axis=1), gradient.ravel()])

    start = np.concatenate([[1.0, 0.0], np.ones(genres), np.zeros(genres)])
    bounds = [SLOPES, (None, None)] + [SLOPES] * genres + [(None, None)] * genres
    powers, shifts = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds).x[2:].reshape(2, genres)
    slopes = np.exp(powers)
    return Platt(slopes / spread, shifts + offset - slopes * centre / spread)


def _scale(scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return median and spread of each genre's scores; quantiles, since naive Bayes has scores far from all others."""
    low, centre, high = np.quantile(scores, [0.05, 0.5, 0.95], axis=0)
    deviation = np.std(scores, axis=0, dtype=np.float64)  # where nearly all scores are equal, as few neighbours' votes
    spread = np.where(high > low, high - low, deviation)
    return centre, np.where(spread > 0, spread, 1.0)


def _log_loss(
    values: np.ndarray, targets: np.ndarray, slopes: np.ndarray, shifts: np.ndarray
) -> tuple[float, tuple[np.ndarray, np.ndarray]]:
    """Return the sum of log losses and its gradients [genres] by slopes and shifts."""
    from scipy.special import expit

    logits = values * slopes + shifts
    found = (np.logaddexp(0, logits) - targets * logits).sum()
    wrong = expit(logits) - targets
    return float(found), ((wrong * values).sum(axis=0), wrong.sum(axis=0))
