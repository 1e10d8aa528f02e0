"""How sure one can be: intervals of an accuracy and of a difference, and whether two models differ."""

import math
from collections.abc import Sequence

import numpy as np

from trainers.metrics import RESAMPLES, bootstrap

Z95 = 1.959963984540054
"""97.5th percentile of the standard normal."""


def wilson(right: int, count: int) -> tuple[float, float]:
    """Wilson's 95% interval of a share (Wilson, 1927): honest for few tracks, and where all are right.

    Args:
      right: how often it holds.
      count: of how many, at least 1.
    """
    share, z2 = right / count, Z95 * Z95
    middle = (share + z2 / (2 * count)) / (1 + z2 / count)
    reach = Z95 / (1 + z2 / count) * math.sqrt(share * (1 - share) / count + z2 / (4 * count * count))
    return max(0.0, middle - reach), min(1.0, middle + reach)


def mcnemar(one: np.ndarray, other: np.ndarray) -> float:
    """p-value of McNemar's exact test, two-sided: of the tracks that only one of two models gets right, are those that
    go to one model as many as a fair coin would give it?

    Args:
      one: bool [tracks], whether the first model is right.
      other: the same of the second model.
    """
    from scipy.special import bdtr

    first, second = int((one & ~other).sum()), int((other & ~one).sum())
    if first + second == 0:
        return 1.0
    return min(1.0, 2 * float(bdtr(min(first, second), first + second, 0.5)))


def holm(p_values: Sequence[float]) -> list[float]:
    """The p-values after Holm's correction for testing that many (Holm, 1979), in the same order."""
    adjusted = [0.0] * len(p_values)
    largest = 0.0
    for rank, i in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        largest = max(largest, min(1.0, p_values[i] * (len(p_values) - rank)))
        adjusted[i] = largest
    return adjusted


def difference(one: np.ndarray, other: np.ndarray, seed: int = 0) -> tuple[float, float]:
    """95% interval of `accuracy of one - accuracy of other`, from a paired bootstrap over the tracks.

    Args:
      one: bool [tracks], whether the first model is right.
      other: the same of the second model.
      seed: of the draws.
    """
    low, high = bootstrap(one.astype(np.float64) - other, np.ones(len(one)), RESAMPLES, seed)
    return low, high
