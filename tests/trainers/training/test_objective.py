"""The pieces of the training loop."""

import numpy as np
import pytest

from tests.trainers import tiny
from tests.trainers.synthetic import write_dataset
from trainers.models.spec import CLASS_WEIGHTS, ModelInput, ModelOptions
from trainers.training.answers import OneLabel, class_weights, smooth_labels
from trainers.training.loop import epoch_seed
from trainers.training.objective import compile_part, cosine_schedule, count_by_label

COUNTS = np.array([100, 10, 0, 30])


def test_balanced_weights_let_each_class_count_the_same():
    np.testing.assert_allclose((COUNTS * class_weights(COUNTS, "balanced"))[[0, 1, 3]], 140 / 3, rtol=1e-6)


def test_sqrt_weights_go_half_the_way_and_none_go_nowhere():
    balanced, half = class_weights(COUNTS, "balanced"), class_weights(COUNTS, "sqrt")
    assert half[1] / half[0] == pytest.approx(np.sqrt(balanced[1] / balanced[0])) == pytest.approx(np.sqrt(10))
    np.testing.assert_array_equal(class_weights(COUNTS, "none"), [1, 1, 0, 1])


@pytest.mark.parametrize("weighting", CLASS_WEIGHTS)
def test_an_example_weighs_1_on_average(weighting):
    weights = class_weights(COUNTS, weighting)
    assert weights.dtype == np.float32
    assert weights[2] == 0
    assert (COUNTS * weights).sum() / COUNTS.sum() == pytest.approx(1)


def test_accuracy_counts_each_example_once_whatever_it_weighs():
    network = tiny.build(ModelInput((4, 3)), 2, ModelOptions())
    values = np.random.default_rng(0).standard_normal((4, 4, 3)).astype("float32")
    labels = np.asarray(network(values)).argmax(axis=1)
    labels[0] = 1 - labels[0]  # one of four is wrong, and outweighs the others
    weights = np.float32([9, 0.5, 0.5, 0])  # the last one is padding
    part = compile_part(network, tiny.phase(), OneLabel.of(np.ones(2), tiny.phase()), 10)
    found = part.evaluate({"input": values, "label": labels, "weight": weights}, verbose=0, return_dict=True)
    assert found["accuracy"] == pytest.approx(2 / 3)
    assert set(found) == {"loss", "accuracy"}


def test_records_are_counted_by_label_without_reading_them(tmp_path):
    manifest = write_dataset(
        tmp_path, ("mel", "stats"), ("Folk", "Rock", "Jazz"), {"training": 5, "validation": 3}, windows=4
    )
    for shard in manifest.shards("mel"):
        (tmp_path / shard.path).unlink()
    np.testing.assert_array_equal(count_by_label(str(tmp_path), manifest, "mel"), [8, 8, 4])
    np.testing.assert_array_equal(count_by_label(str(tmp_path), manifest, "stats"), [2, 2, 1])


def test_smoothing_spreads_a_share_over_all_classes():
    found = smooth_labels(np.float32([[1.0, 0, 0, 0], [0.5, 0.5, 0, 0]]), 0.2)
    np.testing.assert_allclose(found, [[0.85, 0.05, 0.05, 0.05], [0.45, 0.45, 0.05, 0.05]], rtol=1e-6)


def test_the_learning_rate_warms_up_and_falls_along_a_cosine():
    schedule = cosine_schedule(tiny.phase(epochs=5, learning_rate=0.1, warmup_epochs=1), 10)
    rates = np.array([float(schedule(step)) for step in range(51)])
    np.testing.assert_allclose(rates[:11], np.linspace(0, 0.1, 11), atol=1e-7)
    assert rates[30] == pytest.approx(0.05)
    assert rates[50] == pytest.approx(0, abs=1e-9)
    assert (np.diff(rates[10:]) < 0).all()


@pytest.mark.parametrize(("epochs", "warmup"), [(1, 0.0), (1, 1.0), (2, 5.0)])
def test_short_phases_have_a_schedule_too(epochs, warmup):
    schedule = cosine_schedule(tiny.phase(epochs=epochs, learning_rate=0.1, warmup_epochs=warmup), 1)
    rates = np.array([float(schedule(step)) for step in range(epochs + 1)])
    assert np.isfinite(rates).all()
    assert rates.max() == pytest.approx(0.1)


def test_what_is_trained_is_the_model_itself_and_kernels_only_decay():
    model = tiny.build(ModelInput((4, 3)), 2, ModelOptions())
    phase = tiny.phase(learning_rate=0.5, weight_decay=0.1, warmup_epochs=0)
    part = compile_part(model, phase, OneLabel.of(np.array([4, 0]), phase), 10)
    kernel, bias = model.get_layer("hidden").get_weights()
    model.get_layer("hidden").set_weights([kernel, bias + 1])
    weightless = {"input": np.zeros((2, 4, 3), "float32"), "label": np.array([1, 1])}  # of a class without examples
    part.fit(weightless, verbose=0, shuffle=False)
    np.testing.assert_allclose(model.get_layer("hidden").get_weights()[0], kernel * (1 - 0.5 * 0.1), rtol=1e-6)
    np.testing.assert_array_equal(model.get_layer("hidden").get_weights()[1], bias + 1)
    assert not model.compiled


def test_each_stretch_of_training_has_a_seed_of_its_own():
    seeds = {epoch_seed(seed, epoch) for seed in range(20) for epoch in range(20)}
    assert len(seeds) == 400
    assert all(0 <= seed < 2**31 for seed in seeds)
