import json
import subprocess
import sys

import numpy as np
import pytest
from sklearn import metrics as reference

from trainers.evaluation.metrics import bootstrap, by_track, calibration_error, confusion_matrix, evaluate, wilson
from transforms.errors import FmaError

GENRES = ["Folk", "Jazz", "Rock", "Spoken"]


def predictions(tracks: int = 60, seed: int = 0):
    """log-probabilities, labels, track ids of 1 to 5 windows a track in mixed order; right about half of the time.

    No label is Spoken, but some predictions are.
    """
    rng = np.random.default_rng(seed)
    ids = rng.permutation(np.repeat(np.arange(100, 100 + tracks), rng.integers(1, 6, tracks)))
    labels = (ids * 7) % 3
    logits = rng.normal(0, 1.5, (len(ids), 4))
    logits[np.arange(len(ids)), labels] += 1
    return logits - np.log(np.exp(logits).sum(axis=1, keepdims=True)), labels, ids


def test_window_metrics_are_those_of_scikit_learn():
    values, labels, ids = predictions()
    found = evaluate(values, labels, ids, GENRES)["per_window"]
    predicted = values.argmax(axis=1)
    assert 3 in predicted
    assert found["accuracy"] == pytest.approx(reference.accuracy_score(labels, predicted))
    want = reference.f1_score(labels, predicted, labels=[0, 1, 2], average="macro")
    assert found["macro_f1"] == pytest.approx(want)
    assert found["confusion"] == reference.confusion_matrix(labels, predicted, labels=range(4)).tolist()
    scores = reference.precision_recall_fscore_support(labels, predicted, labels=range(4), zero_division=0)
    for i, genre in enumerate(GENRES):
        want = {name: scores[j][i] for j, name in enumerate(("precision", "recall", "f1", "support"))}
        assert found["genres"][genre] == pytest.approx(want)
    assert (found["records"], found["tracks"]) == (len(ids), 60)


def test_track_metrics_take_the_mean_of_the_windows_log_probabilities():
    values, labels, ids = predictions()
    found = evaluate(values, labels, ids, GENRES)["per_track"]
    by_hand = {}
    for track_id in np.unique(ids):
        mean = np.mean([value for value, i in zip(values, ids, strict=True) if i == track_id], axis=0)
        by_hand[track_id] = int(np.argmax(mean)) == (track_id * 7) % 3
    assert found["accuracy"] == pytest.approx(np.mean(list(by_hand.values())))
    assert found["tracks"] == np.sum(found["confusion"]) == 60


def test_a_tracks_probabilities_are_the_scaled_geometric_mean():
    probabilities = np.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]])
    tracks = by_track(np.log(probabilities), np.array([0, 0, 1]), np.array([8, 8, 3]))
    assert tracks.track_ids.tolist() == [3, 8]
    assert tracks.labels.tolist() == [1, 0]
    assert tracks.of_window.tolist() == [1, 1, 0]
    together = np.sqrt([0.9 * 0.2, 0.1 * 0.8])
    np.testing.assert_allclose(np.exp(tracks.log_probabilities), [[0.6, 0.4], together / together.sum()])


def test_the_order_of_the_windows_does_not_matter():
    values, labels, ids = predictions()
    order = np.random.default_rng(1).permutation(len(ids))
    first, second = (
        evaluate(values, labels, ids, GENRES),
        evaluate(values[order], labels[order], ids[order], GENRES),
    )
    first_error, second_error = (result["per_window"].pop("calibration_error") for result in (first, second))
    assert first_error == pytest.approx(second_error)
    assert first["per_window"] == second["per_window"]
    assert first["per_track"]["interval"] == second["per_track"]["interval"]


def test_the_interval_by_track_is_wilsons_which_is_no_point_where_all_are_right():
    values, labels, ids = predictions()
    found = evaluate(values, labels, ids, GENRES)["per_track"]
    right = round(found["accuracy"] * found["tracks"])
    assert found["interval"] == list(wilson(right, found["tracks"]))
    sure = np.log(np.eye(len(GENRES))[labels] * 0.9 + 0.01)
    low, high = evaluate(sure, labels, ids, GENRES)["per_track"]["interval"]
    assert low < 0.95
    assert high == pytest.approx(1)


def test_the_interval_of_independent_tracks_is_that_of_the_normal_approximation():
    hits = (np.arange(1000) < 700).astype(float)
    low, high = bootstrap(hits, np.ones(1000), 2000, 0)
    error = 1.96 * np.sqrt(0.7 * 0.3 / 1000)
    assert (low, high) == pytest.approx((0.7 - error, 0.7 + error), abs=0.004)
    assert bootstrap(hits, np.ones(1000), 2000, 0) == [low, high] != bootstrap(hits, np.ones(1000), 2000, 1)


def test_the_interval_over_windows_knows_that_a_tracks_windows_are_alike():
    hits, sizes = np.array([10.0, 0.0] * 50), np.full(100, 10)
    low, high = bootstrap(hits, sizes, 2000, 0)
    alone = bootstrap(np.array([1.0, 0.0] * 50), np.ones(100), 2000, 0)
    assert [low, high] == alone
    as_if_independent = bootstrap(np.array([1.0, 0.0] * 500), np.ones(1000), 2000, 0)
    assert high - low > 2.5 * (as_if_independent[1] - as_if_independent[0])


def test_a_track_counts_in_the_window_interval_as_often_as_it_has_windows():
    hits, sizes = np.array([90.0, 0.0]), np.array([90, 10])
    assert bootstrap(hits, sizes, 2000, 0) == [0.0, 1.0]
    assert bootstrap(np.array([45.0, 5.0]), sizes, 2000, 0) == [0.5, 0.5]


def test_calibration_error_is_the_gap_between_confidence_and_accuracy():
    values = np.log(np.tile([0.9, 0.1], (100, 1)))
    assert calibration_error(values, np.zeros(100)) == pytest.approx(0.1)
    assert calibration_error(values, np.arange(100) % 2) == pytest.approx(0.4)
    assert calibration_error(values, (np.arange(100) >= 90).astype(int)) == pytest.approx(0.0, abs=1e-12)


def test_calibration_error_is_taken_bin_by_bin():
    """Too sure in one bin and not sure enough in another do not cancel out; scikit-learn's curve has the same bins."""
    from sklearn.calibration import calibration_curve

    values, labels, _ = predictions(200)
    confidence = np.exp(values.max(axis=1))
    right = values.argmax(axis=1) == labels
    share_right, mean_confidence = calibration_curve(right, confidence, n_bins=15)
    counts = np.histogram(confidence, np.linspace(0, 1, 16))[0]
    want = np.sum(counts[counts > 0] * np.abs(share_right - mean_confidence)) / len(labels)
    assert calibration_error(values, labels) == pytest.approx(want)
    opposite = np.log([[0.95, 0.05]] * 50 + [[0.65, 0.35]] * 50)
    assert calibration_error(opposite, np.r_[np.arange(50) % 2, np.zeros(50)]) == pytest.approx(0.4)


def test_certainty_belongs_to_the_last_bin():
    assert calibration_error(np.array([[0.0, -np.inf]]), np.array([0])) == 0.0
    assert calibration_error(np.array([[1e-9, -50.0]]), np.array([1])) == 1.0
    sure_and_wrong, nearly_sure_and_right = [0.0, -np.inf], [np.log(0.95), np.log(0.05)]
    values = np.array([sure_and_wrong, nearly_sure_and_right])
    assert calibration_error(values, np.array([1, 0])) == pytest.approx((1.95 - 1) / 2)


def test_a_window_that_is_certain_does_not_make_a_track_undefined():
    values = np.array([[0.0, -np.inf, -np.inf], [-np.inf, 0.0, -np.inf], [-np.inf, 0.0, -np.inf]])
    found = evaluate(values, np.array([1, 1, 1]), np.array([5, 5, 5]), GENRES[:3])
    assert found["per_track"]["accuracy"] == 1.0
    assert np.isfinite(found["per_track"]["calibration_error"])


def test_the_result_is_plain_json():
    values, labels, ids = predictions()
    found = evaluate(values.astype(np.float32), labels, ids, GENRES)
    assert json.loads(json.dumps(found)) == found


def test_confusion_has_true_classes_in_rows():
    assert confusion_matrix(np.array([0, 0, 1]), np.array([2, 2, 1]), 3).tolist() == [[0, 0, 2], [0, 1, 0], [0, 0, 0]]


def test_a_model_that_diverged_is_a_clear_error():
    values, labels, ids = predictions()
    values[3] = np.nan
    with pytest.raises(FmaError, match="not a number"):
        evaluate(values, labels, ids, GENRES)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda v, y, i: (v[:0], y[:0], i[:0]), "log-probabilities of shape"),
        (lambda v, y, i: (v[:, :3], y, i), "for .* labels and 4 genres"),
        (lambda v, y, i: (v, y + 2, i), "labels from 2 to 4 for 4 genres"),
        (lambda v, y, i: (v, np.arange(len(y)) % 2, i), "different labels"),
    ],
)
def test_input_that_contradicts_itself_stays_loud(change, message):
    with pytest.raises(ValueError, match=message):
        evaluate(*change(*predictions()), GENRES)


def test_metrics_need_no_tensorflow():
    heavy = "any(name in sys.modules for name in ('tensorflow', 'keras'))"
    script = f"import sys, trainers.evaluation.metrics; sys.exit({heavy})"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
