import numpy as np
import pytest
from sklearn import metrics as sklearn_metrics

from trainers.evaluation.multilabel import (
    ancestors,
    average_precision,
    choose_thresholds,
    evaluate,
    interval,
    keep_consistent,
    measure,
)
from transforms.errors import FmaError
from transforms.taxonomy import FLAT, Taxonomy

GENRES = ["Rock", "Punk", "Pop", "Jazz", "Free Jazz"]
TREE = Taxonomy({"Punk": "Rock", "Free Jazz": "Jazz"})


def some_tracks(count: int, seed: int = 0, decimals: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities that say something of the truth, with many ties; and the truth, closed under the tree."""
    rng = np.random.default_rng(seed)
    truth = rng.random((count, len(GENRES))) < 0.3
    truth = truth @ ancestors(GENRES, TREE)
    return np.round(np.clip(rng.random(truth.shape) * 0.7 + 0.3 * truth, 0, 1), decimals), truth


def scores(probabilities, truth, taxonomy=TREE, thresholds=0.5, **options):
    return evaluate(
        probabilities,
        truth,
        GENRES,
        taxonomy,
        thresholds=np.full(len(GENRES), thresholds),
        prior=np.linspace(0.1, 0.5, len(GENRES)),
        **options,
    )


@pytest.mark.parametrize("decimals", [1, 12], ids=["ties", "no ties"])
def test_metrics_are_those_of_scikit_learn(decimals):
    values, truth = some_tracks(300, decimals=decimals)
    found = scores(values, truth)
    predicted = values >= 0.5
    assert found["map_macro"] == pytest.approx(sklearn_metrics.average_precision_score(truth, values, average="macro"))
    assert found["map_micro"] == pytest.approx(sklearn_metrics.average_precision_score(truth, values, average="micro"))
    assert found["roc_auc_macro"] == pytest.approx(sklearn_metrics.roc_auc_score(truth, values, average="macro"))
    assert found["roc_auc_micro"] == pytest.approx(sklearn_metrics.roc_auc_score(truth, values, average="micro"))
    assert found["f1_macro"] == pytest.approx(sklearn_metrics.f1_score(truth, predicted, average="macro"))
    assert found["f1_micro"] == pytest.approx(sklearn_metrics.f1_score(truth, predicted, average="micro"))
    some = truth.any(axis=1)
    ranking = sklearn_metrics.label_ranking_average_precision_score(truth[some], values[some])
    assert found["lrap"] == pytest.approx(ranking)
    for at, name in enumerate(GENRES):
        of_genre = found["per_genre"][name]
        assert of_genre["support"] == truth[:, at].sum()
        precision = sklearn_metrics.average_precision_score(truth[:, at], values[:, at])
        assert of_genre["average_precision"] == pytest.approx(precision)
        assert average_precision(values[:, at], truth[:, at]) == pytest.approx(precision)
        assert of_genre["recall"] == pytest.approx(sklearn_metrics.recall_score(truth[:, at], predicted[:, at]))


def test_a_model_that_hears_nothing_scores_as_the_prior():
    _, truth = some_tracks(200)
    found = scores(np.tile(np.linspace(0.1, 0.5, len(GENRES)), (200, 1)), truth)
    assert found["prior"]["map_macro"] == found["map_macro"] == pytest.approx(truth.mean(axis=0).mean())
    assert found["prior"]["roc_auc_macro"] == found["roc_auc_macro"] == 0.5
    assert found["prior"]["map_micro"] == found["map_micro"]


def test_intervals_hold_the_metric_and_shrink_with_more_tracks():
    few, many = scores(*some_tracks(100)), scores(*some_tracks(1000))
    for found in (few, many):
        for name, (low, high) in found["interval"].items():
            assert low < found[name] < high, name
    widths = [np.ptp(found["interval"]["map_macro"]) for found in (few, many)]
    assert widths[1] < widths[0] / 2
    assert scores(*some_tracks(100)) == few


def test_an_interval_lies_around_its_metric_where_genres_are_so_rare_that_resamples_score_higher():
    rng = np.random.default_rng(0)
    truth = rng.random((200, 60)) < 0.01
    values, genres = rng.random(truth.shape) / 2 + truth / 10, [str(i) for i in range(60)]
    found = evaluate(values, truth, genres, FLAT, thresholds=np.full(60, 0.5), prior=np.full(60, 0.01))
    assert np.mean(found["interval"]["map_macro"]) == pytest.approx(found["map_macro"], abs=0.005)
    assert interval(0.2, np.linspace(0.25, 0.35, 1001)) == pytest.approx([0.1525, 0.2475])
    assert interval(0.99, np.linspace(0.9, 1.0, 1001), 0.0, 1.0)[1] == 1.0


def test_resamples_are_the_same_tracks_for_every_model():
    values, truth = some_tracks(100)
    thresholds, prior = np.full(len(GENRES), 0.5), truth.mean(axis=0)
    one, other = (
        measure(found, truth, GENRES, TREE, thresholds=thresholds, prior=prior) for found in (values, values**3 / 2)
    )
    np.testing.assert_allclose(one.resamples["map_macro"], other.resamples["map_macro"], atol=1e-12)
    assert one.metrics["map_macro"] == pytest.approx(other.metrics["map_macro"])


def test_a_genre_without_a_track_is_named_and_left_out_of_the_means():
    values, truth = some_tracks(100)
    whole = scores(values, truth)
    truth[:, 2] = False
    found = scores(values, truth)
    assert found["left_out"] == ["Pop"]
    assert found["per_genre"]["Pop"]["average_precision"] is found["per_genre"]["Pop"]["roc_auc"] is None
    others = [entry["average_precision"] for name, entry in whole["per_genre"].items() if name != "Pop"]
    assert found["map_macro"] == pytest.approx(np.mean(others))


def test_a_genre_that_every_track_has_has_an_average_precision_and_no_area():
    values, truth = some_tracks(100)
    truth[:, 0] = True
    found = scores(values, truth)
    assert found["per_genre"]["Rock"]["average_precision"] == 1
    assert found["per_genre"]["Rock"]["roc_auc"] is None
    assert 0 < found["roc_auc_macro"] < 1


def test_hierarchical_f1_counts_ancestors_of_what_is_predicted():
    truth = np.array([[1, 1, 0, 0, 0]], bool)  # Rock, Punk
    punk = np.array([[0.1, 0.9, 0.1, 0.1, 0.1]])
    assert scores(punk, truth)["f1_micro"] == pytest.approx(2 / 3)
    assert scores(punk, truth)["hierarchical_f1"] == 1
    assert scores(punk, truth, FLAT)["hierarchical_f1"] == pytest.approx(2 / 3)
    rock = np.array([[0.9, 0.1, 0.1, 0.1, 0.1]])
    assert scores(rock, truth)["hierarchical_f1"] == pytest.approx(2 / 3)


def test_the_calibration_error_is_the_distance_of_probabilities_and_shares():
    truth = np.zeros((100, len(GENRES)), bool)
    truth[:30] = True
    assert scores(np.full(truth.shape, 0.3), truth)["calibration_error"] == pytest.approx(0, abs=1e-12)
    assert scores(np.full(truth.shape, 0.8), truth)["calibration_error"] == pytest.approx(0.5)


def test_no_child_is_above_its_parent_and_nothing_is_lowered():
    values, _ = some_tracks(50, decimals=6)
    kept = keep_consistent(values, ancestors(GENRES, TREE))
    assert (kept >= values).all()
    assert (kept[:, 0] == np.maximum(values[:, 0], values[:, 1])).all()
    assert (kept[:, 0] >= kept[:, 1]).all()
    assert (kept[:, 3] >= kept[:, 4]).all()
    assert (kept[:, [1, 2, 4]] == values[:, [1, 2, 4]]).all()


def test_thresholds_have_the_highest_f1_of_their_genre():
    values, truth = some_tracks(200, decimals=2)
    chosen = choose_thresholds(values, truth)
    for at in range(len(GENRES)):
        f1 = [
            sklearn_metrics.f1_score(truth[:, at], values[:, at] >= threshold)
            for threshold in (chosen[at], *np.linspace(0, 1, 101))
        ]
        assert f1[0] == pytest.approx(max(f1))


def test_a_genre_without_a_track_takes_the_threshold_of_all_genres_together():
    values, truth = some_tracks(200, decimals=2)
    truth[:, 2] = False
    chosen = choose_thresholds(values, truth)
    pairs = [
        sklearn_metrics.f1_score(truth.ravel(), values.ravel() >= threshold)
        for threshold in (chosen[2], *np.linspace(0, 1, 101))
    ]
    assert pairs[0] == pytest.approx(max(pairs))
    assert (choose_thresholds(values, np.zeros_like(truth)) == 0.5).all()


def test_what_is_not_a_number_and_tracks_without_any_of_the_genres_are_refused():
    values, truth = some_tracks(10)
    with pytest.raises(FmaError, match="none of the tracks has one of the 5 genres"):
        scores(values, np.zeros_like(truth))
    values[3, 2] = np.nan
    with pytest.raises(FmaError, match="not a number"):
        scores(values, truth)
