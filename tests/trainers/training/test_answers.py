"""What a model is trained to answer where a track has many genres: targets, weights, loss and score."""

import keras
import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from tests.trainers import tiny
from trainers.training.answers import HEAVIEST, ManyGenres, MeanAveragePrecision, positive_weights
from trainers.training.objective import compile_part

TRUTH = np.array([[1, 1, 0], [1, 0, 0], [0, 0, 1], [1, 0, 1]], bool)
LABEL = np.array([2, 0, 3])
WEIGHTS = np.array([1, 4, 2], np.float32)


def sigmoid(logits) -> np.ndarray:
    return 1 / (1 + np.exp(-np.asarray(logits, np.float64)))


def identity_part(weights: np.ndarray = WEIGHTS, **settings):
    """A part whose logits are its input."""
    inputs = keras.Input((3,))
    part = keras.Model(inputs, keras.layers.Identity()(inputs))
    return compile_part(part, tiny.phase(**settings), ManyGenres(TRUTH, weights), 2)


def test_a_label_is_a_tracks_row_of_the_targets():
    np.testing.assert_array_equal(ManyGenres(TRUTH, WEIGHTS)(LABEL), TRUTH[LABEL])


def test_a_positive_counts_as_much_as_all_negatives_up_to_a_limit():
    share = np.array([0.5, 0.1, 0.0001, 0.9])
    np.testing.assert_allclose(positive_weights(share, "balanced"), [1, 9, HEAVIEST, 1], rtol=1e-6)
    np.testing.assert_allclose(positive_weights(share, "sqrt"), [1, 3, np.sqrt(9999), 1], rtol=1e-4)
    np.testing.assert_array_equal(positive_weights(share, "none"), np.ones(4))


@pytest.mark.parametrize("mixed", [False, True])
def test_the_training_loss_is_the_weighted_cross_entropy_of_logits_that_know_the_weights(mixed):
    answer = ManyGenres(TRUTH, WEIGHTS)
    logits = np.random.default_rng(0).standard_normal((3, 3)).astype(np.float32)
    target = TRUTH[LABEL].astype(np.float32)
    target = 0.3 * target + 0.7 * np.roll(target, 1, axis=0) if mixed else target
    step = answer.weigh(logits, target)
    p = sigmoid(logits + np.log(WEIGHTS))
    expected = -(WEIGHTS * target * np.log(p) + (1 - target) * np.log(1 - p)).mean()
    np.testing.assert_allclose(answer.loss()(step["target"], step["logits"], step["weight"]), expected, rtol=1e-5)


def test_whatever_its_weight_a_genre_is_learned_as_often_as_it_is_there():
    """Of a model that hears nothing, the best logits are the log-odds of the shares."""
    truth, weights = np.arange(20)[:, None] < [10, 2, 5], np.array([1, 30, 1], np.float32)
    answer, odds = ManyGenres(truth, weights), np.array([10, 2, 5]) / [10, 18, 15]

    def loss(logits: np.ndarray) -> float:
        step = answer.weigh(np.tile(logits.astype(np.float32), (20, 1)), answer(np.arange(20)))
        return float(answer.loss()(step["target"], step["logits"], step["weight"]))

    for genre in range(3):
        for change in (-0.2, 0.2):
            assert loss(np.log(odds)) < loss(np.log(odds) + change * np.eye(3)[genre])


def test_validation_loss_is_the_plain_cross_entropy_and_padding_does_not_count():
    logits = np.random.default_rng(1).standard_normal((3, 3)).astype(np.float32)
    batch = {"input": logits, "label": LABEL, "weight": np.float32([1.5, 1.5, 0])}
    found = identity_part().evaluate(batch, verbose=0, return_dict=True)
    p, target = sigmoid(logits[:2]), TRUTH[LABEL[:2]]
    assert found["loss"] == pytest.approx(-np.log(np.where(target, p, 1 - p)).mean(), rel=1e-5)
    assert set(found) == {"loss", "average_precision"}


def test_average_precision_while_training_is_that_of_scikit_learn_but_for_the_bins():
    rng = np.random.default_rng(2)
    truth = rng.random((400, 4)) < [0.5, 0.05, 0.2, 0]  # no example has the last genre
    logits = np.round(rng.standard_normal((400, 4)) + 2 * truth, 1).astype(np.float32)
    metric = MeanAveragePrecision(4)
    for rows in (slice(0, 250), slice(250, 400)):
        metric.update_state(truth[rows].astype(np.float32), logits[rows])
    padding = np.ones((5, 4), np.float32)
    metric.update_state(padding, padding, np.zeros((5, 1), np.float32))
    expected = np.mean([average_precision_score(truth[:, genre], logits[:, genre]) for genre in range(3)])
    assert float(metric.result()) == pytest.approx(expected, abs=1e-3)


def test_mixup_mixes_the_genres_of_two_tracks():
    found = identity_part(np.ones(3), mixup=1.0)({"input": np.eye(3, dtype=np.float32), "label": LABEL}, training=True)
    own = np.asarray(found["logits"])
    np.testing.assert_allclose(found["target"], own @ TRUTH[LABEL], rtol=1e-5, atol=1e-6)
    assert ((own > 0) & (own < 1)).any()


def test_the_step_compiles_for_an_accelerator():
    inputs = keras.Input((3,))
    part = keras.Model(inputs, keras.layers.Dense(3)(inputs))
    part = compile_part(part, tiny.phase(mixup=1.0), ManyGenres(TRUTH, WEIGHTS), 2, jit="on")
    batch = {"input": np.eye(3, dtype=np.float32), "label": LABEL}
    history = part.fit(batch, batch_size=3, shuffle=False, verbose=0).history
    assert np.isfinite([history["loss"], history["average_precision"]]).all()
