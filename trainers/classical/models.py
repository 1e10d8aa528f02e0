"""The classical models: one row of `MODELS` each, with its search space.

Every model is the pipeline StandardScaler, PCA or nothing, classifier, and is described by plain JSON values: `pca`,
the share of the variance that the kept components explain (None: no PCA), and the classifier's own parameters.
"""

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline

Params = dict[str, Any]
Grid = Callable[[int, int], list[Params]]
"""(columns, rows to fit) -> parameters to try; the first of equals wins, so the more regular ones come first."""

PCA_SHARES = (None, 0.7, 0.9, 0.99)
KNN_SEARCH_ROWS = 20_000
SVM_SEARCH_ROWS = 5_000
SVM_ROWS = 20_000
"""Time grows with the square of the rows. The training split of FMA's subset medium, 19,922 rows, is used whole."""


@dataclass(frozen=True)
class Baseline:
    """A classical model."""

    classifier: tuple[str, str]  # module and class in scikit-learn
    grid: Grid  # the search space
    fixed: Mapping[str, Any] = field(default_factory=dict)  # parameters that are not searched
    scores: str = "predict_log_proba"  # the classifier's method that gives class scores
    search_rows: int | None = None  # the search fits and scores at most this many rows; None: all
    kernel_rows: bool = False  # whether `--svm-rows` limits the rows of the final fit


def _linear_grid(columns: int, rows: int) -> list[Params]:
    return [{"kernel": "linear", "C": cost} for cost in (0.001, 0.01, 0.1, 1.0)]


def _poly_grid(columns: int, rows: int) -> list[Params]:
    return [
        {"kernel": "poly", "degree": degree, "coef0": 1.0, "gamma": 1 / columns, "C": cost}
        for degree in (2, 3)
        for cost in (0.01, 0.1, 1.0)
    ]


def _rbf_grid(columns: int, rows: int) -> list[Params]:
    costs = (1.0, 10.0, 100.0)
    return [{"kernel": "rbf", "gamma": factor / columns, "C": cost} for factor in (0.25, 1.0) for cost in costs]


def _svm(grid: Grid) -> Baseline:
    # break_ties: predict() agrees with the largest score. Hopeless corners of the grid must end, hence max_iter.
    fixed = {"break_ties": True, "max_iter": 200_000, "cache_size": 500}
    return Baseline(("sklearn.svm", "SVC"), grid, fixed, "decision_function", SVM_SEARCH_ROWS, kernel_rows=True)


MODELS: dict[str, Baseline] = {
    "logreg": Baseline(
        ("sklearn.linear_model", "LogisticRegression"),
        lambda columns, rows: [{"C": 10.0**power} for power in range(-4, 2)],
        {"max_iter": 500},
    ),
    "knn": Baseline(
        ("sklearn.neighbors", "KNeighborsClassifier"),
        lambda columns, rows: [{"n_neighbors": k} for k in (200, 100, 50, 20, 10, 5, 3, 1) if k == 1 or k <= rows // 4],
        {"algorithm": "brute"},  # a matrix product; trees gain nothing in this many dimensions
        "predict_proba",
        KNN_SEARCH_ROWS,
    ),
    "gnb": Baseline(
        ("sklearn.naive_bayes", "GaussianNB"),
        lambda columns, rows: [{"var_smoothing": smoothing} for smoothing in (1.0, 0.1, 0.01, 0.001, 1e-9)],
    ),
    "svm": _svm(lambda *size: _linear_grid(*size) + _poly_grid(*size) + _rbf_grid(*size)),  # the kernel is chosen, too
    "svm_linear": _svm(_linear_grid),
    "svm_poly": _svm(_poly_grid),
    "svm_rbf": _svm(_rbf_grid),
}
DEFAULT_MODELS = ("logreg", "knn", "gnb", "svm")


def candidates(model: str, columns: int, rows: int) -> list[Params]:
    """Return every combination that the search tries."""
    return [{"pca": share} | params for params in MODELS[model].grid(columns, rows) for share in PCA_SHARES]


def build(model: str, params: Params) -> "Pipeline":
    """Build the unfitted pipeline."""
    from sklearn.decomposition import PCA
    from sklearn.pipeline import Pipeline
    from sklearn.preprocessing import StandardScaler

    (module, name), fixed = MODELS[model].classifier, MODELS[model].fixed
    searched = {name: value for name, value in params.items() if name != "pca"}
    classifier = getattr(importlib.import_module(module), name)(**fixed, **searched)
    share = params["pca"]
    # Exact solvers only ("auto" with a share of the variance): nothing here is random.
    pca = "passthrough" if share is None else PCA(share)
    return Pipeline([("scale", StandardScaler()), ("pca", pca), ("classifier", classifier)])
