import warnings

import numpy as np
import pytest

from trainers.classical.linear import LOGISTIC, SQUARED_HINGE, fit_linear

ROWS, COLUMNS, GENRES = 900, 12, 5
COSTS = (0.01, 1.0)


def correlated() -> np.ndarray:
    """float32 [rows, columns] of mean 0 and variance 1; neighbouring columns are nearly equal."""
    rng = np.random.default_rng(0)
    hidden = rng.standard_normal((ROWS, 3))
    values = np.repeat(hidden, 4, axis=1) + 0.1 * rng.standard_normal((ROWS, COLUMNS))
    return ((values - values.mean(axis=0)) / values.std(axis=0)).astype(np.float32)


def rotated(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Principal components, and the axes that they lie on."""
    axes = np.linalg.eigh(values.T.astype(np.float64) @ values)[1].astype(np.float32)
    return np.ascontiguousarray(values @ axes), axes


def genres_of(values: np.ndarray) -> np.ndarray:
    """bool [rows, genres], the first common, the last rare; they overlap."""
    rng = np.random.default_rng(1)
    scores = values @ rng.standard_normal((COLUMNS, GENRES)) / 3 + 2 * rng.standard_normal((ROWS, GENRES))
    return scores > np.quantile(scores, [0.5, 0.7, 0.9, 0.95, 0.99], axis=0).diagonal()


@pytest.fixture
def exact(monkeypatch):
    monkeypatch.setattr("trainers.classical.linear.TOLERANCE", 1e-9)


@pytest.fixture
def music() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    values = correlated()
    components, _ = rotated(values)
    return values, components, genres_of(values)


def check_solutions(music, loss, score_alone) -> None:
    """The scores are those that `score_alone` returns for a cost, the values and one genre's truth."""
    values, components, truth = music
    for cost, fit in zip(COSTS, fit_linear(components, truth, loss, COSTS, 2), strict=True):
        assert fit.converged
        scores = components @ fit.weights + fit.intercept
        for genre in range(GENRES):
            expected = score_alone(cost, values, truth[:, genre])
            assert np.abs(scores[:, genre] - expected).max() < 0.002 * expected.std() + 1e-4


def test_logistic_regression_of_all_genres_is_that_of_scikit_learn_genre_by_genre(music, exact):
    from sklearn.linear_model import LogisticRegression

    def score_alone(cost, values, truth):
        other = LogisticRegression(C=cost, tol=1e-8, max_iter=2000)
        return other.fit(values.astype(np.float64), truth).decision_function(values)

    check_solutions(music, LOGISTIC, score_alone)


def test_the_linear_svm_of_all_genres_is_that_of_scikit_learn_genre_by_genre(music, exact):
    from sklearn.svm import LinearSVC

    def score_alone(cost, values, truth):
        # liblinear penalises the intercept, too; the more it is scaled, the less.
        other = LinearSVC(C=cost, dual=False, tol=1e-8, intercept_scaling=100, max_iter=5000)
        return other.fit(values, truth).decision_function(values)

    check_solutions(music, SQUARED_HINGE, score_alone)


def test_the_solver_ends_close_to_the_lowest_loss(music, monkeypatch):
    _, components, truth = music

    def loss() -> np.ndarray:
        fit = next(fit_linear(components, truth, LOGISTIC, [1.0], 1))
        scores = components.astype(np.float64) @ fit.weights + fit.intercept
        return np.logaddexp(0, np.where(truth, -scores, scores)).sum(axis=0) + (fit.weights**2).sum(axis=0) / 2

    found = loss()
    monkeypatch.setattr("trainers.classical.linear.TOLERANCE", 1e-9)
    assert (found / loss() < 1 + 1e-4).all()


def test_a_solution_does_not_depend_on_the_threads(music, monkeypatch):
    monkeypatch.setattr("trainers.classical.linear.ROWS_AT_ONCE", 100)
    _, components, truth = music
    one, many = (next(fit_linear(components, truth, LOGISTIC, [1.0], threads)) for threads in (1, 7))
    assert (one.weights == many.weights).all() and (one.intercept == many.intercept).all()


def test_a_genre_that_all_tracks_have_or_none_gets_one_score_for_all(music):
    _, components, truth = music
    truth[:, 0], truth[:, 1] = True, False
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fit = next(fit_linear(components, truth, LOGISTIC, [1.0], 1))
    assert not fit.weights[:, :2].any() and fit.intercept[0] > 7 and fit.intercept[1] < -7
    assert fit.weights[:, 2:].all()


def test_fewer_tracks_than_columns_are_enough():
    values = correlated()[:8]
    values -= values.mean(axis=0)
    components = rotated(values)[0]
    fit = next(fit_linear(components, np.arange(8)[:, None] < 4, LOGISTIC, [1e3], 1))
    assert fit.converged and ((components @ fit.weights + fit.intercept)[:, 0] > 0).tolist() == [True] * 4 + [False] * 4
