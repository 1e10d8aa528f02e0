"""The classical models: one row of `MODELS` each, with its search space.

Every model but the fusion is the pipeline StandardScaler, PCA or nothing, classifier, and is described by plain JSON
values: `pca`, the share of the variance that the kept components explain (None: no PCA), and the classifier's own
parameters.
"""

import importlib
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import metadata
from typing import TYPE_CHECKING, Any

from trainers.classical.fusion import COST
from trainers.runs.files import open_zip, write_zip
from transforms import storage
from transforms.errors import FmaError
from transforms.library_errors import DAMAGED_ZIP
from transforms.runtime import console
from transforms.runtime.invocation import command_line

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline

Params = dict[str, Any]
Grid = Callable[[int, int], list[Params]]
"""(columns, rows to fit) -> parameters to try; the first of equals wins, so the more regular ones come first."""

FUSION = "fusion"
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
    # whether it is a `trainers.classical.fusion`: nothing is searched, so that validation has the temperature to give
    # only, and that comes from folds of all rows that are fitted
    fused: bool = False


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
    FUSION: Baseline(("sklearn.linear_model", "LogisticRegression"), lambda columns, rows: [{"C": COST}], fused=True),
}
DEFAULT_MODELS = ("logreg", "knn", "gnb", "svm")


def candidates(model: str, columns: int, rows: int) -> list[Params]:
    """Return every combination that the search tries."""
    tried = MODELS[model].grid(columns, rows)
    return tried if MODELS[model].fused else [{"pca": share} | params for params in tried for share in PCA_SHARES]


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


def save_model(folder: str, path: str, pipeline: "Pipeline") -> None:
    """Write a fitted pipeline."""
    import skops.io

    write_zip(folder, path, lambda file: file.write(skops.io.dumps(pipeline)))


def load_model(folder: str, path: str) -> "Pipeline":
    """Read a fitted pipeline.

    Raises:
      FmaError: the file is missing, damaged, or holds types that a pipeline of ours does not.
    """
    import skops.io
    from skops.io.exceptions import UntrustedTypesFoundException

    advice = f"run {command_line('baselines')} again with another --run"
    with open_zip(folder, path, advice) as file:
        data = file.read()
    path = storage.join(folder, path)
    try:
        with warnings.catch_warnings():
            # `warn_about_versions` warns once for a run, in one line.
            warnings.filterwarnings("ignore", message="Trying to unpickle|.*version")
            return skops.io.loads(data)
    except UntrustedTypesFoundException as error:
        raise FmaError(f"{path} is not one of our models, and is not loaded: {error}") from error
    except (*DAMAGED_ZIP, TypeError, AttributeError, IndexError) as error:
        raise FmaError(f"{path} is damaged ({error}): {advice}") from error


def warn_about_versions(run: str, made_with: dict[str, Any]) -> None:
    """Log a note where scikit-learn is not the version that the run's models were fitted with."""
    have, had = metadata.version("scikit-learn"), made_with.get("scikit-learn")
    if have != had:
        console.log(f"{run} was fitted with scikit-learn {had}, this is {have}: predictions may differ")
