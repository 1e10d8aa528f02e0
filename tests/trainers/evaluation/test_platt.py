import numpy as np

from trainers.evaluation.platt import fit_platt


def test_probabilities_of_every_genre_are_right_on_average_and_keep_the_order_of_tracks():
    rng = np.random.default_rng(0)
    logits = rng.standard_normal((4000, 3)) * [1, 2, 3] + [0, -2, -4]
    truth = rng.random(logits.shape) < 1 / (1 + np.exp(-logits))
    scores = logits * [1, 30, 0.01] + [5, -100, 0]  # in units of their own
    found = fit_platt(scores, truth, truth.mean(axis=0)).apply(scores)
    np.testing.assert_allclose(found.mean(axis=0), truth.mean(axis=0), atol=0.01)
    assert np.abs(found - 1 / (1 + np.exp(-logits))).mean() < 0.02
    for genre in range(3):
        assert (np.diff(found[np.argsort(scores[:, genre]), genre]) >= 0).all()


def test_a_genre_without_validation_tracks_is_about_as_likely_as_in_training():
    rng = np.random.default_rng(1)
    scores = rng.standard_normal((500, 2))
    truth = np.stack([scores[:, 0] > 0.5, np.zeros(500, bool)], axis=1)
    found = fit_platt(scores, truth, np.array([0.3, 0.002])).apply(scores)
    assert 0 < found[:, 1].mean() < 0.01


def test_scores_that_mislead_on_validation_do_not_turn_the_order_around():
    scores = np.linspace(-1, 1, 200)[:, None]
    found = fit_platt(scores, scores < 0, np.array([0.5])).apply(scores)
    assert (np.diff(found[:, 0]) >= 0).all()
