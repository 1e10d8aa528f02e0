"""The numbers behind `fma report`: intervals, tests, the rule on overfitting, the leakage experiment."""

import numpy as np
import pytest

from tests.trainers.synthetic import write_dataset
from trainers.evaluation.metrics import difference, holm, mcnemar, wilson
from trainers.report.curves import assess
from trainers.report.leaks import (
    REPEATS,
    Windows,
    claims_of,
    measure_leakage,
    read_windows,
    split_by_track,
    split_by_window,
)
from transforms.dataset.manifest import load
from transforms.errors import UsageError


@pytest.mark.parametrize(
    ("right", "count", "interval"),
    [  # Newcombe, Statistics in Medicine 17 (1998), table I, method 3
        (81, 263, (0.2553, 0.3662)),
        (15, 148, (0.0624, 0.1605)),
        (0, 20, (0.0, 0.1611)),
        (1, 29, (0.0061, 0.1718)),
    ],
)
def test_wilsons_interval_has_the_published_values(right, count, interval):
    assert wilson(right, count) == pytest.approx(interval, abs=5e-5)


def test_the_interval_of_a_perfect_model_is_no_point():
    low, high = wilson(16, 16)
    assert 0.75 < low < 0.85
    assert high == 1.0


def outcomes(both: int, first: int, second: int, neither: int) -> tuple[np.ndarray, np.ndarray]:
    """Two models' right and wrong, by how many tracks both, only one, or none gets right."""
    one = [True] * (both + first) + [False] * (second + neither)
    other = [True] * both + [False] * first + [True] * second + [False] * neither
    return np.array(one), np.array(other)


def test_mcnemar_looks_at_the_tracks_that_only_one_model_gets_right():
    assert mcnemar(*outcomes(30, 7, 1, 6)) == pytest.approx(2 * (1 + 8) / 2**8)
    assert mcnemar(*outcomes(30, 1, 7, 6)) == pytest.approx(2 * (1 + 8) / 2**8)
    assert mcnemar(*outcomes(3000, 7, 1, 6000)) == pytest.approx(2 * (1 + 8) / 2**8)
    assert mcnemar(*outcomes(5, 3, 3, 5)) == 1.0
    assert mcnemar(*outcomes(5, 0, 0, 5)) == 1.0


def test_mcnemar_is_a_binomial_test():
    from scipy.stats import binomtest

    for first, second in ((0, 5), (12, 3), (40, 61), (200, 300)):
        want = binomtest(first, first + second, 0.5).pvalue
        assert mcnemar(*outcomes(1, first, second, 1)) == pytest.approx(want)


def test_holms_correction_keeps_order_and_never_falls():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


def test_the_difference_of_two_models_is_paired():
    one, other = outcomes(50, 10, 2, 38)
    low, high = difference(one, other)
    assert low < 0.08 < high
    assert low > 0, "unpaired, the interval would hold 0"
    assert difference(one, one) == (0.0, 0.0)
    assert difference(one, other) == difference(one, other)


def history(losses, val_losses, accuracies=0.5, val_accuracies=0.5, phases="") -> list[dict]:
    """Rows of history.csv."""
    rows = []
    for i, (loss, val_loss) in enumerate(zip(losses, val_losses, strict=True)):
        phase = phases[i] if phases else "train"
        values = {"loss": loss, "val_loss": val_loss, "accuracy": accuracies, "val_accuracy": val_accuracies}
        rows.append({"epoch": i + 1, "phase": phase, "learning_rate": 0.001} | values)
    return rows


def test_validation_loss_that_rises_while_training_loss_falls_is_overfitting():
    verdict = assess(history([3, 2, 1, 0.5], [3, 2, 2.1, 2.5]), best_epoch=2)
    assert verdict.overfits
    assert verdict.word == "overfits"
    assert "after epoch 2" in verdict.sentences[0]
    assert "25%" in verdict.sentences[0]


def test_overfitting_is_unknown_where_validation_has_too_few_tracks_to_choose_an_epoch():
    for losses in ([3, 2, 2.1, 2.5], [3, 2, 1.5, 1]):
        verdict = assess(history([3, 2, 1, 0.5], losses), best_epoch=4, chosen=False)
        assert verdict.word == "unknown"
        assert not verdict.bad
        assert "too few tracks to choose an epoch by" in verdict.sentences[0]


def test_a_small_rise_is_no_overfitting():
    verdict = assess(history([3, 2, 1, 0.5], [3, 2, 2.02, 2.05]), best_epoch=2)
    assert not verdict.bad
    assert "stayed near its lowest value, that of epoch 2" in verdict.sentences[0]


def test_losses_that_rise_together_are_called_unsteady():
    verdict = assess(history([3, 2, 2.5, 3], [3, 2, 2.5, 3]), best_epoch=2)
    assert not verdict.overfits
    assert "unsteady" in verdict.sentences[0]


def test_a_new_phase_with_more_augmentation_is_not_compared_with_the_old_one():
    verdict = assess(history([3, 1, 2.5, 2.2], [3, 2, 2.2, 2.4], phases="hhff"), best_epoch=2)
    assert verdict.overfits


def test_a_wide_gap_is_named():
    verdict = assess(history([3, 2, 1], [3, 2, 1.5], 0.98, 0.7), best_epoch=3)
    assert verdict.word == "large gap"
    assert verdict.bad
    assert "a gap of 28 points" in verdict.sentences[1]
    assert "more epochs may help" in verdict.sentences[0]
    assert "of validation tracks" in assess(history([3, 2, 1], [3, 2, 1.5]), 3, "track").sentences[1]
    assert "no gap" in assess(history([3, 2, 1], [3, 2, 1.5], 0.5, 0.7), best_epoch=3).sentences[1]


def test_overfitting_that_cannot_be_measured_is_unknown():
    verdict = assess(history([3, 2, 1], [None] * 3, val_accuracies=None), best_epoch=3)
    assert verdict.word == "unknown"
    assert not verdict.bad
    assert "too few to tell" in assess(history([3, 2], [3, 9]), best_epoch=1).sentences[0]


def recognisable(tracks: int = 60, each: int = 5) -> Windows:
    """Windows that give away their track, and tell nothing about the genre of another one."""
    rng = np.random.default_rng(0)
    track_id = np.repeat(np.arange(tracks), each)
    features = rng.standard_normal((tracks, 40))[track_id] + 0.1 * rng.standard_normal((tracks * each, 40))
    split = np.repeat(np.array(["training", "validation", "test"]), [40, 5, 15])[track_id]
    label = rng.integers(0, 2, tracks)[track_id]
    return Windows(features.astype(np.float32), label, track_id, split, "mel")


def test_a_split_by_window_claims_what_recognising_the_recording_gives():
    official, by_tracks, by_windows = claims_of(recognisable())
    assert official.accuracy < 0.7
    assert by_tracks.accuracy < 0.7
    assert by_windows.accuracy > 0.85
    assert (official.known, by_tracks.known) == (0, 0)
    assert by_windows.known > 0.9
    assert {(claim.training, claim.test) for claim in (official, by_tracks, by_windows)} == {(200, 75)}
    assert official.spread[0] < official.accuracy < official.spread[1]
    assert by_windows.repeats == REPEATS


def test_random_splits_have_no_window_twice():
    windows = recognisable()
    for divide in (split_by_track, split_by_window):
        training, test = divide(windows, np.random.default_rng(1), 203, 72)
        assert (len(training), len(test)) == (203, 72)
        assert not np.isin(test, training).any()
    training, test = split_by_track(windows, np.random.default_rng(1), 203, 72)
    assert not np.isin(windows.track_id[test], windows.track_id[training]).any()


@pytest.mark.parametrize("kind", ["mel", "raw"])
def test_the_experiment_reads_what_the_dataset_has(tmp_path, kind):
    manifest = write_dataset(tmp_path / "d", (kind,))
    windows = read_windows(str(tmp_path / "d"), manifest)
    assert windows.features.shape == (40, 64)
    assert windows.kind == kind
    assert sorted(set(windows.split.tolist())) == ["test", "training", "validation"]
    found = measure_leakage(str(tmp_path / "d"), manifest)
    assert found == measure_leakage(str(tmp_path / "d"), manifest)
    assert found.claims[0].accuracy == 1.0, "the synthetic genres are easy"
    assert (found.tracks, found.of_tracks, found.bands) == (20, 20, 32)


def test_large_datasets_are_sampled_by_shard(tmp_path, monkeypatch):
    manifest = write_dataset(tmp_path / "d", ("mel",), tracks={"training": 40, "test": 20}, shards=10)
    monkeypatch.setattr("trainers.report.leaks.MOST_TRACKS", 30)
    windows = read_windows(str(tmp_path / "d"), manifest)
    assert 20 <= len(np.unique(windows.track_id)) <= 40


def test_the_experiment_needs_windows_and_two_splits(tmp_path):
    write_dataset(tmp_path / "stats", ("stats",))
    with pytest.raises(UsageError, match="no mel and no raw records"):
        measure_leakage(str(tmp_path / "stats"), load(str(tmp_path / "stats")))
    write_dataset(tmp_path / "train", ("mel",), tracks={"training": 4})
    with pytest.raises(UsageError, match="has no test records"):
        measure_leakage(str(tmp_path / "train"), load(str(tmp_path / "train")))
