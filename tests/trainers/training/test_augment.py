import keras
import numpy as np
import pytest

from trainers.training import augment
from trainers.training.augment import Augment

OFF = {"gain_db": 0.0, "mixup": 0.0, "spec_augment": False}
ON = {"gain_db": 6.0, "mixup": 0.2, "spec_augment": True}
BATCH, BANDS, FRAMES = 64, 20, 30
UNITS = tuple(np.linspace(0.05, 0.2, BANDS))


def batch_of(kind: str, seed: int = 0):
    """Random normalised values and one-hot labels of 3 classes."""
    rng = np.random.default_rng(seed)
    shape = (BATCH, BANDS, FRAMES) if kind == "mel" else (BATCH, 500)
    values = rng.standard_normal(shape).astype(np.float32)
    labels = np.eye(3, dtype=np.float32)[rng.integers(0, 3, BATCH)]
    return np.clip(values / 4, -1, 1) if kind == "raw" else values, labels


def augmented(values, labels, seed: int = 0, **settings) -> tuple[np.ndarray, np.ndarray]:
    layer = Augment(seed, **OFF | settings, units_per_db=UNITS)
    return tuple(keras.ops.convert_to_numpy(part) for part in layer(values, labels))


@pytest.mark.parametrize("kind", ["mel", "raw"])
def test_with_everything_off_a_batch_stays_as_it_is(kind):
    values, labels = batch_of(kind)
    found, soft = augmented(values, labels)
    np.testing.assert_array_equal(found, values)
    np.testing.assert_array_equal(soft, labels)


@pytest.mark.parametrize("switch", [{"gain_db": 6.0}, {"mixup": 0.4}, {"spec_augment": True}])
def test_each_augmentation_repeats_for_a_seed_and_changes_with_the_step(switch):
    values, labels = batch_of("mel")

    def two_steps(seed: int) -> list[np.ndarray]:
        layer = Augment(seed, **OFF | switch, units_per_db=UNITS)
        return [np.asarray(keras.ops.convert_to_numpy(part)) for _ in range(2) for part in layer(values, labels)]

    first, soft, later, _ = two_steps(3)
    for found, again in zip(two_steps(3), (first, soft, later), strict=False):
        np.testing.assert_array_equal(found, again)
    assert not np.array_equal(first, later)
    assert not np.array_equal(first, values)
    assert not np.array_equal(first, two_steps(4)[0])
    assert np.array_equal(soft, labels) == ("mixup" not in switch)


def test_a_gain_of_log_mel_adds_the_same_decibels_to_each_band():
    values, labels = batch_of("mel")
    found, _ = augmented(values, labels, gain_db=6.0)
    db = (found - values) / np.array(UNITS)[:, None]
    np.testing.assert_allclose(db, np.broadcast_to(db[:, :1, :1], db.shape), atol=1e-4)
    assert 4 < np.abs(db).max() <= 6.0001
    assert len(np.unique(db[:, 0, 0].round(3))) > BATCH / 2
    assert db.min() < 0 < db.max()


def test_a_gain_of_raw_multiplies_and_clips():
    values, labels = batch_of("raw")
    found, _ = augmented(values, labels, gain_db=20.0)
    quiet = np.abs(values) < 0.1  # at most 1 after 20 dB
    factors = np.array([np.median(f[q] / x[q]) for f, x, q in zip(found, values, quiet, strict=True)])
    assert 0.1 <= factors.min() < 0.2
    assert 5 < factors.max() <= 10
    np.testing.assert_allclose(found, np.clip(values * factors[:, None], -1, 1), atol=1e-4)


def test_mixup_blends_values_and_labels_with_the_same_share():
    values, labels = batch_of("mel")
    found, soft = augmented(values, labels, mixup=1.0)
    other = np.roll(values, 1, axis=0)
    share = np.median((found - other) / (values - other), axis=(1, 2))
    np.testing.assert_allclose(found, other + share[:, None, None] * (values - other), atol=1e-4)
    np.testing.assert_allclose(soft, share[:, None] * labels + (1 - share[:, None]) * np.roll(labels, 1, 0), atol=1e-4)
    np.testing.assert_allclose(np.sum(soft, axis=1), 1, atol=1e-6)
    assert share.min() >= 0
    assert share.max() <= 1


@pytest.mark.parametrize("alpha", [0.1, 0.4, 1.0, 4.0])
def test_the_shares_of_mixup_are_beta_distributed(alpha):
    from scipy.stats import beta

    records = np.eye(2, dtype=np.float32)[np.arange(4000) % 2]
    shares = augmented(records, records, seed=1, mixup=alpha)[1][:, 0]
    shares = np.where(np.arange(4000) % 2 == 0, shares, 1 - shares)
    at = np.linspace(0.01, 0.99, 99)
    below = (shares[:, None] <= at).mean(axis=0)
    assert np.abs(below - beta.cdf(at, alpha, alpha)).max() < 0.03


def test_masks_are_groups_of_neighbours_within_their_share_and_become_the_mean(monkeypatch):
    for name, value in {"FREQUENCY_MASKS": 1, "FREQUENCY_SHARE": 0.3, "TIME_MASKS": 1, "TIME_SHARE": 0.2}.items():
        monkeypatch.setattr(augment, name, value)
    ones = np.ones((500, BANDS, FRAMES), np.float32)
    found, _ = augmented(ones, np.zeros((500, 3), np.float32), spec_augment=True)
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
    values, labels = batch_of("raw")
    np.testing.assert_array_equal(augmented(values, labels, spec_augment=True)[0], values)
