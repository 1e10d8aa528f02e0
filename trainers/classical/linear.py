"""Linear classifiers of many genres, each against the rest, fitted together: logistic regression and the linear SVM.

One matrix product serves all genres, and each C starts from the solution of the one before. scikit-learn's solvers read
the whole table anew for each genre and step, which takes hours where this takes minutes (docs/performance.md); the
solutions are the same (tests/trainers/classical/test_linear.py).

The solver is L-BFGS (Nocedal and Wright, Numerical Optimization, algorithm 7.5) for each genre by itself. On principal
components the Hessian of the start is diagonal, so that it needs few steps however much the columns correlate.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

ROWS_AT_ONCE = 4096  # of a task; tasks are summed up in their order, so that results do not depend on the threads
HISTORY = 10  # steps that L-BFGS remembers
TOLERANCE = 1e-5  # estimated distance from the lowest loss, as a share of the loss without any feature
MOST_STEPS = 300
_TRIES = 12  # of a line search
_FLAT = 0.5  # a step ends where the slope is at most this share of that at its start


@dataclass(frozen=True)
class Loss:
    """A loss of a score and the truth, and what the solver starts from; a share is that of tracks with the genre."""

    slope: Callable[[np.ndarray, np.ndarray], np.ndarray]  # (float32 scores, bool truth) -> derivative by the score
    curvature: Callable[[np.ndarray], np.ndarray]  # share -> mean second derivative at the start
    start: Callable[[np.ndarray], np.ndarray]  # share -> the best score without any feature
    lowest: Callable[[np.ndarray], np.ndarray]  # share -> the mean loss of that score


def _logistic_slope(scores: np.ndarray, truth: np.ndarray) -> np.ndarray:
    from scipy.special import expit

    return expit(scores) - truth


def _squared_hinge_slope(scores: np.ndarray, truth: np.ndarray) -> np.ndarray:
    signs = np.where(truth, np.float32(1), np.float32(-1))
    return -2 * signs * np.maximum(1 - signs * scores, 0)


LOGISTIC = Loss(
    _logistic_slope,
    lambda share: share * (1 - share),
    lambda share: np.log(share / (1 - share)),
    lambda share: -share * np.log(share) - (1 - share) * np.log1p(-share),
)
"""log(1 + exp(-score)) where a track has the genre, log(1 + exp(score)) where not: LogisticRegression's."""

SQUARED_HINGE = Loss(
    _squared_hinge_slope,
    lambda share: np.full_like(share, 2),
    lambda share: 2 * share - 1,
    lambda share: 4 * share * (1 - share),
)
"""max(0, 1 - score)^2 where a track has the genre, max(0, 1 + score)^2 where not: LinearSVC's."""


@dataclass(frozen=True, eq=False)
class LinearFit:
    """The solution for one C: scores are values @ weights + intercept."""

    weights: np.ndarray  # float32 [columns, genres]
    intercept: np.ndarray  # float32 [genres]
    converged: bool  # whether all genres ended within `TOLERANCE`


def fit_linear(
    values: np.ndarray, truth: np.ndarray, loss: Loss, costs: Sequence[float], threads: int
) -> Iterator[LinearFit]:
    """Yield for each C, in their order, what minimises C * sum of losses + |weights|^2 / 2 of each genre.

    The intercept is not penalised. A genre that all rows have, or none, gets a score that depends on its share only.

    Args:
      values: float32 [rows, columns], principal components: each of mean 0, uncorrelated.
      truth: bool [rows, genres].
      loss: `LOGISTIC` or `SQUARED_HINGE`.
      costs: values of C, best ascending.
      threads: how many to use; results do not depend on it.
    """
    from threadpoolctl import threadpool_limits

    with ThreadPoolExecutor(threads) as pool, threadpool_limits(1, "blas"):
        solver = _Solver(values, truth, loss, pool)
        for cost in costs:
            converged = solver.descend(1 / cost)
            weights = solver.weights.astype(np.float32)
            yield LinearFit(np.ascontiguousarray(weights[:, :-1].T), weights[:, -1], converged)


class _Solver:
    """All genres' weights and scores on the way down; the last column of weights is the intercept."""

    def __init__(self, values: np.ndarray, truth: np.ndarray, loss: Loss, pool: ThreadPoolExecutor):
        rows, columns = values.shape
        counts = truth.sum(axis=0)
        self.values, self.truth, self.loss = values, truth, loss
        self._tasks = [slice(start, start + ROWS_AT_ONCE) for start in range(0, rows, ROWS_AT_ONCE)]
        self._map = pool.map
        self.genres = np.flatnonzero((counts > 0) & (counts < rows))
        self.share = np.clip(counts / rows, 0.5 / rows, 1 - 0.5 / rows)
        self.weights = np.zeros((len(counts), columns + 1))
        self.weights[:, -1] = loss.start(self.share)
        self.scores = np.repeat(self.weights[None, :, -1].astype(np.float32), rows, axis=0)
        self.spread = np.append(np.einsum("rc,rc->c", values, values, dtype=np.float64), rows)

    def descend(self, penalty: float) -> bool:
        """Go on to the solution for a penalty; return whether that was reached."""
        penalties = np.append(np.full(self.values.shape[1], penalty), 0.0)
        hessian = self.loss.curvature(self.share)[:, None] * self.spread + penalties
        enough = 2 * TOLERANCE * len(self.values) * self.loss.lowest(self.share)
        active, memory = self.genres, _Memory(hessian)
        gradient = self._gradient(active, penalties)
        for _ in range(MOST_STEPS):
            step = -memory.solve(active, gradient)
            slope = np.einsum("gc,gc->g", gradient, step)
            left = -slope > enough[active]
            if not left.any():
                return True
            active, gradient, step, slope = active[left], gradient[left], step[left], slope[left]
            step *= self._search(active, step, slope, penalties)[:, None]
            self.weights[active] += step
            before, gradient = gradient, self._gradient(active, penalties)
            memory.add(active, step, gradient - before)
        return False

    def _gradient(self, active: np.ndarray, penalties: np.ndarray) -> np.ndarray:
        def task(rows: slice) -> tuple[np.ndarray, np.ndarray]:
            slopes = self.loss.slope(self.scores[rows][:, active], self.truth[rows][:, active])
            return slopes.T @ self.values[rows], slopes.sum(axis=0, dtype=np.float64)

        found = penalties * self.weights[active]
        for by_weights, by_intercept in self._map(task, self._tasks):
            found[:, :-1] += by_weights
            found[:, -1] += by_intercept
        return found

    def _search(self, active: np.ndarray, step: np.ndarray, slope: np.ndarray, penalties: np.ndarray) -> np.ndarray:
        """Return how far each genre goes along its step, float64 [active], and move the scores there."""
        change = np.empty((len(self.values), len(active)), np.float32)
        weights, intercept = step[:, :-1].T.astype(np.float32), step[:, -1].astype(np.float32)

        def multiply(rows: slice) -> None:
            np.matmul(self.values[rows], weights, out=change[rows])
            change[rows] += intercept

        def slopes_at(lengths: np.ndarray, some: np.ndarray) -> np.ndarray:
            def task(rows: slice) -> np.ndarray:
                moved = change[rows][:, some]
                at = self.scores[rows][:, active[some]] + lengths.astype(np.float32) * moved
                slopes = self.loss.slope(at, self.truth[rows][:, active[some]])
                return np.einsum("rg,rg->g", slopes, moved, dtype=np.float64)

            penalised = (self.weights[active[some]] + lengths[:, None] * step[some]) * penalties * step[some]
            return sum(self._map(task, self._tasks)) + penalised.sum(axis=1)

        def move(rows: slice) -> None:
            self.scores[rows, active] += lengths.astype(np.float32) * change[rows]

        list(self._map(multiply, self._tasks))
        lengths = _find_lengths(slopes_at, slope)
        list(self._map(move, self._tasks))
        return lengths


def _find_lengths(slopes_at: Callable[[np.ndarray, np.ndarray], np.ndarray], start: np.ndarray) -> np.ndarray:
    """Return for each genre a length where its loss along the step is flat, float64 [genres].

    The loss is convex, so its slope rises: it is bracketed and then interpolated (regula falsi).

    Args:
      slopes_at: (lengths, which genres) -> slopes there.
      start: slopes at 0, all negative.
    """
    lengths, low, low_slope = np.ones(len(start)), np.zeros(len(start)), start.copy()
    high, high_slope = np.full(len(start), np.inf), np.zeros(len(start))
    some = np.arange(len(start))
    for _ in range(_TRIES):
        slopes = slopes_at(lengths[some], some)
        steep = np.abs(slopes) > _FLAT * np.abs(start[some])
        some, slopes = some[steep], slopes[steep]
        if not len(some):
            break
        short, far = some[slopes < 0], some[slopes >= 0]
        low[short], low_slope[short] = lengths[short], slopes[slopes < 0]
        high[far], high_slope[far] = lengths[far], slopes[slopes >= 0]
        between = np.isfinite(high[some])
        inside, beyond = some[between], some[~between]
        share = np.clip(low_slope[inside] / (low_slope[inside] - high_slope[inside]), 0.1, 0.9)
        lengths[inside] = low[inside] + share * (high[inside] - low[inside])
        lengths[beyond] *= 4
    return lengths


class _Memory:
    """The last steps of each genre, and how they changed the gradient: what L-BFGS knows of the Hessian."""

    def __init__(self, hessian: np.ndarray):
        self._inverse = 1 / hessian  # float64 [genres, columns], diagonal, of the start
        self._pairs: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []  # (step, change, 1 / their product)

    def add(self, active: np.ndarray, step: np.ndarray, change: np.ndarray) -> None:
        steps, changes = np.zeros((2, *self._inverse.shape))
        steps[active], changes[active] = step, change
        product = np.einsum("gc,gc->g", steps, changes)
        known = product > 0  # not of genres that rest; rounding can make it negative, too
        self._pairs.append((steps, changes, np.where(known, 1 / np.where(known, product, 1), 0)))
        del self._pairs[:-HISTORY]

    def solve(self, active: np.ndarray, gradient: np.ndarray) -> np.ndarray:
        """Return inverse Hessian @ gradient of the active genres, float64 [active, columns]."""
        found, factors = gradient.copy(), []
        pairs = [(step[active], change[active], weight[active]) for step, change, weight in self._pairs]
        for step, change, weight in reversed(pairs):
            factors.append(weight * np.einsum("gc,gc->g", step, found))
            found -= factors[-1][:, None] * change
        found *= self._inverse[active]
        if pairs:
            step, change, weight = pairs[-1]
            scale = weight * np.einsum("gc,gc,gc->g", change, change, self._inverse[active])
            found /= np.where(scale > 0, scale, 1)[:, None]
        for (step, change, weight), factor in zip(pairs, reversed(factors), strict=True):
            found += (factor - weight * np.einsum("gc,gc->g", change, found))[:, None] * step
        return found
