"""The training step: what it makes of records as they are stored, in training and in evaluation."""

import keras
import numpy as np
import pytest

from tests.trainers import tiny
from tests.trainers.synthetic import CONFIG
from trainers.models.records import add_normalization, normalization_of
from trainers.training.answers import OneLabel, class_weights
from trainers.training.objective import compile_part
from transforms.dataset.normalization import Normalization

COUNTS = np.array([8, 6, 6])
RNG = np.random.default_rng(0)
BATCHES = {
    "mel": {"input": RNG.integers(0, 256, (12, 32, 32)).astype(np.uint8), "label": np.arange(12) % 3},
    "raw": {"input": RNG.integers(-9999, 9999, (12, 16384)).astype(np.int16), "label": np.arange(12) % 3},
}
NORMALIZATION = Normalization("mel", np.full(32, -60, np.float32), np.linspace(10, 20, 32, dtype=np.float32))
AUGMENTED = {"gain": True, "mixup": 1.0, "spec_augment": True}


def part_of(kind: str, *, seed: int = 0, jit: str = "auto", **settings):
    """A tiny network that is about to be trained on 3 genres."""
    keras.utils.set_random_seed(0)
    spec = {"mel": tiny.TINY, "raw": tiny.TINY_RAW}[kind]
    network = spec.build(tiny.ModelInput(BATCHES[kind]["input"].shape[1:]), 3, tiny.ModelOptions())
    model = add_normalization(network, kind, CONFIG, NORMALIZATION)
    phase = tiny.phase(**{"label_smoothing": 0.0} | settings)
    return compile_part(
        network, phase, OneLabel.of(COUNTS, phase), 2, seed=seed, jit=jit, normalize=normalization_of(model)
    )


def trained(kind: str, **settings) -> dict[str, np.ndarray]:
    found = part_of(kind, **settings)(BATCHES[kind], training=True)
    return {name: keras.ops.convert_to_numpy(value) for name, value in found.items()}


@pytest.mark.parametrize("kind", ["mel", "raw"])
def test_a_label_becomes_a_target_that_weighs_what_its_class_does(kind):
    found = trained(kind)
    np.testing.assert_array_equal(found["target"], np.eye(3)[BATCHES[kind]["label"]])
    np.testing.assert_allclose(found["weight"], (20 / 3 / COUNTS)[BATCHES[kind]["label"]], rtol=1e-6)
    np.testing.assert_array_equal(trained(kind, class_weights="none")["weight"], np.ones(12))


def test_smoothed_targets_weigh_what_the_labels_weigh():
    found = trained("mel", label_smoothing=0.3)
    np.testing.assert_allclose(found["target"].max(axis=1), 0.8, rtol=1e-6)
    np.testing.assert_array_equal(found["weight"], trained("mel")["weight"])


def test_mixed_records_weigh_what_their_mixed_labels_weigh():
    found = trained("mel", mixup=1.0)
    assert (np.count_nonzero(found["target"], axis=1) == 2).any()
    np.testing.assert_allclose(found["weight"], found["target"] @ class_weights(COUNTS, "balanced"), rtol=1e-5)


@pytest.mark.parametrize("kind", ["mel", "raw"])
def test_evaluation_takes_every_example_as_it_is(kind):
    batch = BATCHES[kind] | {"weight": np.linspace(0, 1, 12, dtype=np.float32)}
    plain, augmented = (part_of(kind, **settings)(batch, training=False) for settings in ({}, AUGMENTED))
    for name in ("logits", "target", "weight"):
        np.testing.assert_array_equal(augmented[name], plain[name])
    np.testing.assert_array_equal(plain["weight"], batch["weight"])


@pytest.mark.parametrize("kind", ["mel", "raw"])
def test_the_seed_of_the_augmentation_decides_what_is_seen_at_each_step(kind):
    def two_steps(seed: int) -> list[np.ndarray]:
        part = part_of(kind, seed=seed, **AUGMENTED)
        return [np.asarray(part(BATCHES[kind], training=True)["target"]) for _ in range(2)]

    np.testing.assert_array_equal(two_steps(1), two_steps(1))
    assert not np.array_equal(two_steps(1), two_steps(2))
    assert not np.array_equal(*two_steps(1))


@pytest.mark.parametrize("kind", ["mel", "raw"])
def test_the_augmented_step_compiles_for_an_accelerator(kind):
    part = part_of(kind, jit="on", **AUGMENTED)
    assert np.isfinite(part.fit(BATCHES[kind], batch_size=12, shuffle=False, verbose=0).history["loss"]).all()


def test_features_of_a_front_are_mixed_and_nothing_else():
    keras.utils.set_random_seed(0)
    inputs = keras.Input((4,))
    head = keras.Model(inputs, keras.layers.Identity()(inputs))
    phase = tiny.phase(label_smoothing=0.0, **AUGMENTED)
    part = compile_part(head, phase, OneLabel.of(np.ones(4), phase), 2)
    values = np.eye(4, dtype=np.float32)
    found = part({"input": values, "label": np.arange(4)}, training=True)
    np.testing.assert_allclose(found["logits"], found["target"])
    assert (np.count_nonzero(found["target"], axis=1) == 2).any()


def test_half_precision_is_the_layers_own_and_not_that_of_features_targets_and_weights():
    keras.mixed_precision.set_global_policy("mixed_bfloat16")
    try:
        inputs = keras.Input((4,))
        head = keras.Model(inputs, keras.layers.Identity(dtype="float32")(inputs))
        part = compile_part(head, tiny.phase(), OneLabel.of(np.ones(4), tiny.phase()), 2)
        batch = {"input": np.full((4, 4), 0.1, np.float32), "label": np.arange(4)}
        found = part(batch | {"weight": np.full(4, 0.1, np.float32)}, training=False)
    finally:
        keras.mixed_precision.set_global_policy("float32")
    np.testing.assert_array_equal(found["logits"], batch["input"])
    np.testing.assert_array_equal(found["weight"], np.full(4, 0.1, np.float32))
