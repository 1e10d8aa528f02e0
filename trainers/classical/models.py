"""The classical models: one row of `MODELS` each, with its search space.

Every model is the pipeline StandardScaler, PCA or nothing, classifier, and is described by plain JSON values: `pca`,
the share of the variance that the kept components explain (None: no PCA), and the classifier's own parameters.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sklearn.base import ClassifierMixin
    from sklearn.pipeline import Pipeline

Params = dict[str, Any]

PCA_SHARES = (None, 0.7, 0.9, 0.99)
KNN_SEARCH_ROWS = 20_000
SVM_SEARCH_ROWS = 5_000
SVM_ROWS = 20_000
"""Time grows with the square of the rows. The training split of FMA's subset medium, 19,922 rows, is taken whole."""


@dataclass(frozen=True)
class Baseline:
    """A classical model.

    Attributes:
      title: for people.
      make: the classifier from its parameters.
      grid: the parameters to try, from the number of columns and of rows that it is fitted on; of equals in
        validation, the first wins, so the more regular ones come first.
      scores: the classifier's method that gives class scores.
      search_rows: at most so many rows are fitted, and scored, while hyper-parameters are chosen; None: all.
      kernel_rows: whether `--svm-rows` bounds the rows of the final fit.
    """

    title: str
    make: Callable[..., "ClassifierMixin"]
    grid: Callable[[int, int], Iterator[Params]]
    scores: str = "predict_log_proba"
    search_rows: int | None = None
    kernel_rows: bool = False


def _logreg(**params: Any) -> "ClassifierMixin":
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(max_iter=500, **params)


def _logreg_grid(columns: int, rows: int) -> Iterator[Params]:
    yield from ({"C": 10.0**power} for power in range(-4, 2))


def _knn(**params: Any) -> "ClassifierMixin":
    from sklearn.neighbors import KNeighborsClassifier

    # Brute force is a matrix product; trees gain nothing in this many dimensions.
    return KNeighborsClassifier(algorithm="brute", **params)


def _knn_grid(columns: int, rows: int) -> Iterator[Params]:
    yield from ({"n_neighbors": k} for k in (200, 100, 50, 20, 10, 5, 3, 1) if k == 1 or k <= rows // 4)


def _gnb(**params: Any) -> "ClassifierMixin":
    from sklearn.naive_bayes import GaussianNB

    return GaussianNB(**params)


def _gnb_grid(columns: int, rows: int) -> Iterator[Params]:
    yield from ({"var_smoothing": smoothing} for smoothing in (1.0, 0.1, 0.01, 0.001, 1e-9))


def _svm(**params: Any) -> "ClassifierMixin":
    from sklearn.svm import SVC

    # break_ties: predict() agrees with the largest score. Hopeless corners of the grid must end, hence max_iter.
    return SVC(break_ties=True, max_iter=200_000, cache_size=500, **params)


def _linear_grid(columns: int, rows: int) -> Iterator[Params]:
    yield from ({"kernel": "linear", "C": cost} for cost in (0.001, 0.01, 0.1, 1.0))


def _poly_grid(columns: int, rows: int) -> Iterator[Params]:
    for degree in (2, 3):
        for cost in (0.01, 0.1, 1.0):
            yield {"kernel": "poly", "degree": degree, "coef0": 1.0, "gamma": 1 / columns, "C": cost}


def _rbf_grid(columns: int, rows: int) -> Iterator[Params]:
    for factor in (0.25, 1.0):
        yield from ({"kernel": "rbf", "gamma": factor / columns, "C": cost} for cost in (1.0, 10.0, 100.0))


def _svm_grid(columns: int, rows: int) -> Iterator[Params]:
    for grid in (_linear_grid, _poly_grid, _rbf_grid):
        yield from grid(columns, rows)


def _svm_row(title: str, grid: Callable[[int, int], Iterator[Params]]) -> Baseline:
    return Baseline(title, _svm, grid, "decision_function", SVM_SEARCH_ROWS, kernel_rows=True)


MODELS: dict[str, Baseline] = {
    "logreg": Baseline("logistic regression", _logreg, _logreg_grid),
    "knn": Baseline("k-nearest neighbours", _knn, _knn_grid, "predict_proba", KNN_SEARCH_ROWS),
    "gnb": Baseline("Gaussian naive Bayes", _gnb, _gnb_grid),
    "svm": _svm_row("SVM, kernel chosen too", _svm_grid),
    "svm_linear": _svm_row("SVM, linear kernel", _linear_grid),
    "svm_poly": _svm_row("SVM, polynomial kernel", _poly_grid),
    "svm_rbf": _svm_row("SVM, rbf kernel", _rbf_grid),
}
DEFAULT_MODELS = ("logreg", "knn", "gnb", "svm")


def candidates(model: str, columns: int, rows: int) -> list[Params]:
    """Every combination that the search tries."""
    grid = list(MODELS[model].grid(columns, rows))
    return [{"pca": share} | params for params in grid for share in PCA_SHARES]


def build(model: str, params: Params) -> "Pipeline":
    """The unfitted pipeline."""
    from sklearn.decomposition import PCA
    from sklearn.pipeline import Pipeline
    from sklearn.preprocessing import StandardScaler

    rest = {name: value for name, value in params.items() if name != "pca"}
    share = params["pca"]
    # Exact solvers only ("auto" with a share of the variance): nothing here is random.
    pca = "passthrough" if share is None else PCA(share)
    return Pipeline([("scale", StandardScaler()), ("pca", pca), ("classifier", MODELS[model].make(**rest))])
