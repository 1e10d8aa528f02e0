import numpy as np
import pytest

from trainers.data import augment
from trainers.data.augment import Augmentation, seed_stream

OFF = {"gain_db": 0.0, "mixup": 0.0, "spec_augment": False}
BATCH, BANDS, FRAMES = 64, 20, 30


def batch_of(kind: str, seed: int = 0):
    """Random features and one-hot labels of 3 classes."""
    import tensorflow as tf

    rng = np.random.default_rng(seed)
    shape = (BATCH, BANDS, FRAMES) if kind == "mel" else (BATCH, 500)
    features = rng.standard_normal(shape).astype(np.float32)
    labels = np.eye(3, dtype=np.float32)[rng.integers(0, 3, BATCH)]
    return tf.constant(np.clip(features / 4, -1, 1) if kind == "raw" else features), tf.constant(labels)


@pytest.mark.parametrize("kind", ["mel", "raw"])
def test_with_everything_off_a_batch_stays_as_it_is(kind):
    features, labels = batch_of(kind)
    found, soft = Augmentation(**OFF).augment(features, labels, (1, 2))
    np.testing.assert_array_equal(found, features)
    np.testing.assert_array_equal(soft, labels)


@pytest.mark.parametrize("switch", [{"gain_db": 6.0}, {"mixup": 0.4}, {"spec_augment": True}])
def test_each_augmentation_repeats_for_a_seed_and_changes_with_the_step(switch):
    features, labels = batch_of("mel")
    augmentation = Augmentation(**OFF | switch)
    first, again, later = (augmentation.augment(features, labels, seed) for seed in ((3, 7), (3, 7), (3, 8)))
    np.testing.assert_array_equal(first[0], again[0])
    np.testing.assert_array_equal(first[1], again[1])
    assert not np.array_equal(first[0], later[0])
    assert not np.array_equal(first[0], features)
    assert np.array_equal(first[1], labels) == ("mixup" not in switch)


def test_a_gain_of_log_mel_adds_the_same_decibels_to_each_band():
    features, labels = batch_of("mel")
    units = tuple(np.linspace(0.05, 0.2, BANDS))
    found, _ = Augmentation(**OFF | {"gain_db": 6.0, "units_per_db": units}).augment(features, labels, (0, 0))
    db = (found - features).numpy() / np.array(units)[:, None]
    np.testing.assert_allclose(db, np.broadcast_to(db[:, :1, :1], db.shape), atol=1e-4)
    assert 4 < np.abs(db).max() <= 6
    assert len(np.unique(db[:, 0, 0].round(3))) > BATCH / 2
    assert db.min() < 0 < db.max()


def test_a_gain_of_raw_multiplies_and_clips():
    features, labels = batch_of("raw")
    found = Augmentation(**OFF | {"gain_db": 20.0}).augment(features, labels, (0, 0))[0].numpy()
    features = features.numpy()
    quiet = np.abs(features) < 0.1  # at most 1 after 20 dB
    factors = np.array([np.median(f[q] / x[q]) for f, x, q in zip(found, features, quiet, strict=True)])
    assert 0.1 <= factors.min() < 0.2
    assert 5 < factors.max() <= 10
    np.testing.assert_allclose(found, np.clip(features * factors[:, None], -1, 1), atol=1e-4)


def test_mixup_blends_features_and_labels_with_the_same_share():
    features, labels = batch_of("mel")
    found, soft = Augmentation(**OFF | {"mixup": 1.0}).augment(features, labels, (0, 0))
    features, labels = features.numpy(), labels.numpy()
    other = np.roll(features, 1, axis=0)
    share = ((found - other) / (features - other)).numpy()
    share = np.median(share, axis=(1, 2))
    np.testing.assert_allclose(found, other + share[:, None, None] * (features - other), atol=1e-4)
    np.testing.assert_allclose(soft, share[:, None] * labels + (1 - share[:, None]) * np.roll(labels, 1, 0), atol=1e-4)
    np.testing.assert_allclose(np.sum(soft, axis=1), 1, atol=1e-6)
    assert share.min() >= 0
    assert share.max() <= 1


@pytest.mark.parametrize("alpha", [0.1, 0.4, 1.0, 4.0])
def test_the_shares_of_mixup_are_beta_distributed(alpha):
    import tensorflow as tf
    from scipy.stats import beta

    records = tf.one_hot(tf.range(4000) % 2, 2)
    shares = np.asarray(augment.mix(records, records, tf.constant([1, 2]), alpha)[1])[:, 0]
    shares = np.where(np.arange(4000) % 2 == 0, shares, 1 - shares)
    at = np.linspace(0.01, 0.99, 99)
    below = (shares[:, None] <= at).mean(axis=0)
    assert np.abs(below - beta.cdf(at, alpha, alpha)).max() < 0.03


def test_masks_are_groups_of_neighbours_within_their_share_and_become_the_mean(monkeypatch):
    import tensorflow as tf

    for name, value in {"FREQUENCY_MASKS": 1, "FREQUENCY_SHARE": 0.3, "TIME_MASKS": 1, "TIME_SHARE": 0.2}.items():
        monkeypatch.setattr(augment, name, value)
    ones = tf.ones([500, BANDS, FRAMES])
    found = Augmentation(**OFF | {"spec_augment": True}).augment(ones, tf.zeros([500, 3]), (0, 0))[0].numpy()
    assert set(np.unique(found)) == {0.0, 1.0}
    bands, frames = found.max(axis=2) == 0, found.max(axis=1) == 0
    np.testing.assert_array_equal(found == 0, bands[:, :, None] | frames[:, None, :])
    for hidden, widest in ((bands, 6), (frames, 6)):
        widths = hidden.sum(axis=1)
        assert set(widths) == set(range(widest + 1))
        edges = np.abs(np.diff(np.pad(hidden.astype(int), ((0, 0), (1, 1))), axis=1)).sum(axis=1)
        np.testing.assert_array_equal(edges, np.where(widths > 0, 2, 0))
        assert hidden.any(axis=0).all()  # each place can be hidden, the first and the last too


def test_raw_is_not_masked():
    features, labels = batch_of("raw")
    found, _ = Augmentation(**OFF | {"spec_augment": True}).augment(features, labels, (0, 0))
    np.testing.assert_array_equal(found, features)


@pytest.mark.parametrize("kind", ["mel", "raw"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_shapes_are_static_and_it_compiles_for_an_accelerator(kind, dtype):
    import tensorflow as tf

    features, labels = batch_of(kind)
    features = tf.cast(features, dtype)
    compiled = tf.function(Augmentation().augment, jit_compile=True)
    seed = tf.constant([1, 2], tf.int64)
    traced = compiled.get_concrete_function(features, labels, seed).structured_outputs
    assert [(value.shape, value.dtype) for value in traced] == [(features.shape, dtype), (labels.shape, "float32")]
    plain = Augmentation().augment(features, labels, seed)
    tolerance = 1e-5 if dtype == "float32" else 0.05
    for found, want in zip(compiled(features, labels, seed), plain, strict=True):
        np.testing.assert_allclose(tf.cast(found, "float32"), tf.cast(want, "float32"), atol=tolerance)


def test_seeds_repeat_for_a_run_and_are_new_every_epoch():
    def two_epochs(seed):
        seeds = seed_stream(seed).take(3)
        return [[tuple(pair) for pair in seeds.as_numpy_iterator()] for _ in range(2)]

    assert two_epochs(1) == two_epochs(1) != two_epochs(2)
    assert len({pair for epoch in two_epochs(1) for pair in epoch}) == 6
