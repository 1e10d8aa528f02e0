import numpy as np
import pytest

from trainers.classical.one_vs_rest import MODELS, Fitted, Fold, Front, load_model, save_model
from trainers.evaluation.platt import Platt
from transforms.errors import FmaError


@pytest.fixture
def fold() -> Fold:
    """300 rows to fit and 50 to score; five genres, the last one of no row."""
    rng = np.random.default_rng(0)
    values = rng.standard_normal((350, 6)).astype(np.float32)
    truth = values[:, :5] + 0.5 * rng.standard_normal((350, 5)) > [0, 0.5, 1, 1.5, 99]
    return Fold(values[:300], truth[:300], values[300:])


def test_naive_bayes_of_all_genres_is_that_of_scikit_learn_genre_by_genre(fold):
    from sklearn.naive_bayes import GaussianNB

    for params, (_, scores) in zip(MODELS["gnb"].tried, MODELS["gnb"].tries(fold, MODELS["gnb"].tried, 1), strict=True):
        for genre in range(4):
            one = GaussianNB(**params).fit(fold.values.astype(np.float64), fold.truth[:, genre])
            expected = np.diff(one.predict_joint_log_proba(fold.scored.astype(np.float64)), axis=1)[:, 0]
            np.testing.assert_allclose(scores[:, genre], expected, rtol=1e-4, atol=1e-4)
        assert len(np.unique(scores[:, 4])) == 1


def test_neighbours_vote_for_all_genres_as_those_of_scikit_learn(fold):
    from sklearn.neighbors import KNeighborsClassifier

    tried = [{"k": 20}, {"k": 5}]
    for params, (model, scores) in zip(tried, MODELS["knn"].tries(fold, tried, 1), strict=True):
        one = KNeighborsClassifier(params["k"], algorithm="brute").fit(fold.values, fold.truth[:, 0])
        votes = (1 / (1 + np.exp(-scores[:, 0].astype(np.float64)))) * (params["k"] + 1) - model.prior[0]
        np.testing.assert_allclose(votes / params["k"], one.predict_proba(fold.scored)[:, 1], atol=1e-5)
        np.testing.assert_array_equal(model.scores(fold.scored), scores)


@pytest.mark.parametrize("name", MODELS)
def test_a_model_that_is_read_again_gives_the_same_probabilities(name, fold, tmp_path):
    front, explained = Front.fit(fold.values)
    front = front.take(explained, MODELS[name].pca[-1])
    values = Fold(front.apply(fold.values), fold.truth, fold.scored[:0, : front.axes.shape[1]])
    classifier, _ = next(MODELS[name].tries(values, MODELS[name].tried[-1:], 1))
    model = Fitted(front, classifier, Platt(np.ones(5), np.zeros(5)))
    save_model(str(tmp_path), "model.npz", model)
    again = load_model(str(tmp_path), "model.npz", name)
    np.testing.assert_array_equal(again.probabilities(fold.scored), model.probabilities(fold.scored))


def test_a_damaged_model_is_named(tmp_path):
    (tmp_path / "model.npz").write_bytes(b"no zip")
    with pytest.raises(FmaError, match=r"model.npz is damaged.*another --run"):
        load_model(str(tmp_path), "model.npz", "gnb")
