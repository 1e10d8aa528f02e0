"""Classical models of many genres, each against the rest; every model scores all genres together.

Each is scaling to mean 0 and variance 1, PCA or nothing, and a classifier; a row of `MODELS`, with its search space.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields
from functools import partial
from typing import Any, Protocol

import numpy as np

from trainers.classical.linear import LOGISTIC, SQUARED_HINGE, Loss, fit_linear
from trainers.evaluation.platt import Platt
from trainers.runs.files import open_zip, report_damage, write_zip
from transforms import storage
from transforms.errors import FmaError
from transforms.library_errors import DAMAGED_ZIP
from transforms.runtime.invocation import command_line

Params = dict[str, Any]
PCA_SHARES = (None, 0.7, 0.9, 0.99)
ROWS_AT_ONCE = 4096


class Classifier(Protocol):
    """A fitted classifier; a dataclass of arrays, which are what is stored."""

    def scores(self, values: np.ndarray) -> np.ndarray:
        """Return a score for each genre, float32 [rows, genres], of values float32 [rows, columns]."""


@dataclass(frozen=True, eq=False)
class Linear:
    """A linear function of the values for each genre."""

    weights: np.ndarray  # float32 [columns, genres]
    intercept: np.ndarray  # float32 [genres]

    def scores(self, values: np.ndarray) -> np.ndarray:
        """Return the distances from the planes, scaled."""
        return values @ self.weights + self.intercept


@dataclass(frozen=True, eq=False)
class NaiveBayes:
    """Gaussian naive Bayes: a quadratic function of the values for each genre."""

    quadratic: np.ndarray  # float64 [columns, genres]
    linear: np.ndarray  # float64 [columns, genres]
    constant: np.ndarray  # float64 [genres]

    def scores(self, values: np.ndarray) -> np.ndarray:
        """Return log(P(genre) / P(no such genre))."""
        found = np.empty((len(values), len(self.constant)), np.float32)
        for start in range(0, len(values), ROWS_AT_ONCE):
            rows = values[start : start + ROWS_AT_ONCE].astype(np.float64)
            found[start : start + ROWS_AT_ONCE] = rows**2 @ self.quadratic + rows @ self.linear + self.constant
        return found


@dataclass(frozen=True, eq=False)
class Neighbours:
    """The k training tracks that are nearest, each with one vote for each of its genres."""

    values: np.ndarray  # float32 [training tracks, columns]
    genres: np.ndarray  # uint8 [training tracks, ceil(genres / 8)], the truth, eight to a byte
    prior: np.ndarray  # float64 [genres], each genre's share of the training tracks
    k: np.ndarray  # int64, a number

    def scores(self, values: np.ndarray) -> np.ndarray:
        """Return the log-odds of the votes."""
        return self.vote(self.find(values, int(self.k)))

    def find(self, values: np.ndarray, count: int) -> np.ndarray:
        """Return the rows of the nearest training tracks, int64 [rows, count], the nearest first."""
        from sklearn.neighbors import NearestNeighbors

        search = NearestNeighbors(n_neighbors=count, algorithm="brute").fit(self.values)
        return search.kneighbors(values, return_distance=False)

    def vote(self, nearest: np.ndarray) -> np.ndarray:
        """Return the log-odds of the votes; the prior counts as one more vote, so that no probability is 0."""
        truth = np.unpackbits(self.genres, axis=1, count=len(self.prior))
        k, at_once = int(self.k), max(1, (1 << 24) // (int(self.k) * truth.shape[1]))
        found = np.empty((len(nearest), truth.shape[1]), np.float32)
        for start in range(0, len(nearest), at_once):
            votes = truth[nearest[start : start + at_once, :k]].sum(axis=1, dtype=np.float64)
            share = (votes + self.prior) / (k + 1)
            found[start : start + at_once] = np.log(share / (1 - share))
        return found


@dataclass(frozen=True, eq=False)
class Fold:
    """What candidates are fitted on and score."""

    values: np.ndarray  # float32 [rows, columns], scaled
    truth: np.ndarray  # bool [rows, genres]
    scored: np.ndarray  # float32 [other rows, columns]; none for a final fit


Tries = Iterator[tuple[Classifier, np.ndarray]]
Try = Callable[[Fold, Sequence[Params], int], Tries]
"""(fold, parameters, threads) -> for each of the parameters the fitted classifier and its scores."""


def _try_linear(loss: Loss, fold: Fold, tried: Sequence[Params], threads: int) -> Tries:
    for fit in fit_linear(fold.values, fold.truth, loss, [params["C"] for params in tried], threads):
        model = Linear(fit.weights, fit.intercept)
        yield model, model.scores(fold.scored)


def _try_bayes(fold: Fold, tried: Sequence[Params], threads: int) -> Tries:
    rows, counts = len(fold.values), fold.truth.sum(axis=0)
    with_genre, without = _sum_up(fold.values, fold.truth)
    mean, square = (with_genre[:, :, 0] + without[:, :, 0]) / rows
    largest = (square - mean**2).max()  # variance of a column, as scikit-learn smooths by
    share = _share(fold.truth)
    known = (counts > 0) & (counts < rows)  # else there is nothing to tell apart
    for params in tried:
        least = params["var_smoothing"] * largest or np.finfo(np.float64).tiny
        one, other = _log_density(with_genre, counts, least), _log_density(without, rows - counts, least)
        quadratic, linear, constant = (np.where(known, a - b, 0) for a, b in zip(one, other, strict=True))
        model = NaiveBayes(quadratic, linear, constant + np.log(share / (1 - share)))
        yield model, model.scores(fold.scored)


def _log_density(sums: np.ndarray, count: np.ndarray, least: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the coefficients of x**2, of x and of 1 in the sum over columns of log N(x; mean, variance + least)."""
    mean, square = sums / np.maximum(count, 1)
    variance = np.maximum(square - mean**2, 0) + least
    return -1 / (2 * variance), mean / variance, -(np.log(variance) + mean**2 / variance).sum(axis=0) / 2


def _sum_up(values: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return sums of values and of squares over tracks with each genre, and without: [2, columns, genres] each."""
    from scipy.sparse import csr_matrix

    found, total = np.zeros((2, values.shape[1], truth.shape[1])), np.zeros((2, values.shape[1], 1))
    for start in range(0, len(values), ROWS_AT_ONCE):
        rows = values[start : start + ROWS_AT_ONCE].astype(np.float64)
        of_genre = csr_matrix(truth[start : start + ROWS_AT_ONCE].T.astype(np.float64))
        for at, part in enumerate((rows, rows**2)):
            found[at] += (of_genre @ part).T
            total[at, :, 0] += part.sum(axis=0)
    return found, total - found


def _share(truth: np.ndarray) -> np.ndarray:
    """Return each genre's share of the rows, as if half a row more had it, or half a row had it not."""
    return np.clip(truth.mean(axis=0), 0.5 / len(truth), 1 - 0.5 / len(truth))


def _try_neighbours(fold: Fold, tried: Sequence[Params], threads: int) -> Tries:
    genres, prior, rows = np.packbits(fold.truth, axis=1), _share(fold.truth), len(fold.values)
    models = [Neighbours(fold.values, genres, prior, np.array(min(params["k"], rows))) for params in tried]
    most = max(int(model.k) for model in models)
    nearest = models[0].find(fold.scored, most) if len(fold.scored) else np.empty((0, most), np.int64)
    for model in models:
        yield model, model.vote(nearest)


@dataclass(frozen=True)
class OneVsRest:
    """A classical model of many genres.

    Linear models take all principal components, for the solver's sake: their solutions do not depend on a rotation, and
    C weakens the small components that PCA would leave out.
    """

    classifier: type  # a `Classifier`
    tries: Try
    tried: Sequence[Params]  # the search space; the first of equals wins, so the more regular ones come first
    pca: Sequence[float | None]  # shares of the variance to keep; None: no PCA


def _powers(name: str, powers: Sequence[int]) -> list[Params]:
    return [{name: 10.0**power} for power in powers]


MODELS: dict[str, OneVsRest] = {
    "logreg": OneVsRest(Linear, partial(_try_linear, LOGISTIC), _powers("C", range(-4, 2)), (1.0,)),
    "knn": OneVsRest(Neighbours, _try_neighbours, [{"k": k} for k in (200, 100, 50, 20, 10, 5)], PCA_SHARES),
    "gnb": OneVsRest(NaiveBayes, _try_bayes, _powers("var_smoothing", (0, -1, -2, -3, -9)), PCA_SHARES),
    "svm_linear": OneVsRest(Linear, partial(_try_linear, SQUARED_HINGE), _powers("C", range(-6, 0)), (1.0,)),
}


def candidates(model: str) -> list[Params]:
    """Return every combination that the search tries."""
    found = MODELS[model]
    several = len(found.pca) > 1
    return [({"pca": share} if several else {}) | params for share in found.pca for params in found.tried]


@dataclass(frozen=True, eq=False)
class Front:
    """What comes before a classifier: scaling, and PCA with all components, of which a share is taken."""

    mean: np.ndarray  # float32 [columns]
    scale: np.ndarray  # float32 [columns]
    axes: np.ndarray  # float32 [columns, components], or [columns, 0] for no PCA

    @classmethod
    def fit(cls, values: np.ndarray) -> tuple["Front", np.ndarray]:
        """Fit it to values float32 [rows, columns]; return it, and the share of the variance down to each component."""
        from sklearn.decomposition import PCA
        from sklearn.preprocessing import StandardScaler

        scaler = StandardScaler().fit(values)
        mean, scale = scaler.mean_.astype(np.float32), scaler.scale_.astype(np.float32)
        pca = PCA().fit((values - mean) / scale)
        return cls(mean, scale, pca.components_.T.astype(np.float32)), np.cumsum(pca.explained_variance_ratio_)

    def take(self, explained: np.ndarray, share: float | None) -> "Front":
        """Return it with the components that explain more than a share of the variance, or all; None: with no PCA."""
        count = 0 if share is None else int(np.searchsorted(explained, share, side="right")) + 1
        return Front(self.mean, self.scale, self.axes[:, :count])

    def apply(self, values: np.ndarray) -> np.ndarray:
        """Return values float32 [rows, columns or components], contiguous."""
        scaled = np.ascontiguousarray((values - self.mean) / self.scale)
        return scaled @ self.axes if self.axes.shape[1] else scaled


@dataclass(frozen=True, eq=False)
class Fitted:
    """A whole model: from a row of the table to calibrated probabilities."""

    front: Front
    classifier: Any  # a `Classifier`
    platt: Platt

    def probabilities(self, values: np.ndarray) -> np.ndarray:
        """Return probabilities float32 [rows, genres] of values float32 [rows, columns]."""
        return self.platt.apply(self.classifier.scores(self.front.apply(values)))

    def logits(self, values: np.ndarray) -> np.ndarray:
        """Return the log-odds of the probabilities, float64 [rows, genres]."""
        return self.platt.logits(self.classifier.scores(self.front.apply(values)))


def save_model(run: str, path: str, model: Fitted) -> None:
    """Write a model as an .npz file of arrays."""
    parts = {field.name: getattr(model, field.name) for field in fields(model)}
    arrays = {
        f"{name}/{field.name}": getattr(part, field.name) for name, part in parts.items() for field in fields(part)
    }
    write_zip(run, path, lambda file: np.savez(file, **arrays))


def load_model(run: str, path: str, model: str) -> Fitted:
    """Read a file of `save_model`, for a key of `MODELS`.

    Raises:
      FmaError: it is missing or damaged.
    """
    advice = f"run {command_line('baselines')} again with another --run"
    with open_zip(run, path, advice) as file, report_damage(storage.join(run, path)):
        try:
            with np.load(file, allow_pickle=False) as arrays:
                made = {
                    name: part(**{field.name: arrays[f"{name}/{field.name}"] for field in fields(part)})
                    for name, part in (("front", Front), ("classifier", MODELS[model].classifier), ("platt", Platt))
                }
        except DAMAGED_ZIP as error:
            raise FmaError(f"{storage.join(run, path)} is damaged ({error}): {advice}") from error
    return Fitted(**made)
