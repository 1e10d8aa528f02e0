"""Degradation of training batches: what it leaves and what it takes of log-mel and of samples."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from trainers.models.normalize import NormalizeMel, NormalizeRaw
from trainers.training.augment import Augment
from trainers.training.degrade import CUTOFF, choose_degradation
from transforms.audio.mel import band_edges
from transforms.dataset.normalization import Normalization

RATE, BATCH, BANDS, FRAMES = 22_050, 64, 64, 20
CENTRES = band_edges(RATE, BANDS)[1:-1]


def mel_layer(range_db: float | None = 60.0) -> NormalizeMel:
    layer = NormalizeMel(0.5, -80.0, range_db)
    layer.build((None, BANDS, FRAMES))
    layer.set_from(Normalization("mel", np.linspace(0, -30, BANDS, dtype=np.float32), np.full(BANDS, 12, np.float32)))
    return layer


def mel_values(layer: NormalizeMel) -> np.ndarray:
    """Normalised values of windows whose bands lie 0 to 40 dB below full loudness."""
    steps = np.random.default_rng(0).integers(80, 160, (BATCH, BANDS, FRAMES)).astype(np.uint8)
    return keras.ops.convert_to_numpy(layer(steps))


def degraded(normalize: keras.layers.Layer, values: np.ndarray, seed: int = 0) -> np.ndarray:
    found = choose_degradation(normalize, RATE)(values, keras.random.SeedGenerator(seed))
    return keras.ops.convert_to_numpy(found)


@pytest.mark.parametrize("range_db", [60.0, None])
def test_bands_above_a_cutoff_fall_to_the_floor_of_some_records(range_db):
    layer = mel_layer(range_db)
    values = mel_values(layer)
    mean, deviation, floor = layer.spectrum()
    found = degraded(layer, values) * deviation[:, None] + mean[:, None]
    assert found.min() >= floor - 1e-3
    silent = (found <= floor + 1e-3).all(axis=2)  # [batch, bands]
    limited = silent[:, -1]
    assert 0.4 < limited.mean() < 0.8
    for record in silent[limited]:
        first = record.argmax()
        assert record[first:].all()
        assert CENTRES[first] > CUTOFF[0]


def test_some_records_of_mel_stay_as_they_are_and_all_are_finite():
    layer = mel_layer()
    values = mel_values(layer)
    found = degraded(layer, values)
    assert np.isfinite(found).all()
    assert found.shape == values.shape
    same = np.abs(found - values).max(axis=(1, 2)) < 1e-3
    assert 0.01 < same.mean() < 0.3


def test_samples_lose_their_upper_band_or_get_noise():
    values = 0.1 * np.random.default_rng(0).standard_normal((BATCH, 8192)).astype(np.float32)
    found = degraded(NormalizeRaw(), values)
    assert np.isfinite(found).all()
    power = np.square(np.abs(np.fft.rfft(found)))
    limited = power[:, -200:].mean(axis=1) < 1e-6 * power[:, :1000].mean(axis=1)
    assert 0.4 < limited.mean() < 0.8
    untouched = np.abs(found - values).max(axis=1) < 1e-4
    assert 0.05 < untouched.mean() < 0.4
    below = np.fft.rfftfreq(8192, 1 / RATE) < CUTOFF[0]
    change = np.abs(np.fft.rfft(found) - np.fft.rfft(values))[:, below].mean() / np.sqrt(power[:, below].mean())
    assert change < 0.1


@pytest.mark.parametrize("kind", ["mel", "raw"])
def test_equal_seeds_degrade_alike_and_xla_compiles_it(kind):
    normalize = mel_layer() if kind == "mel" else NormalizeRaw()
    values = mel_values(normalize) if kind == "mel" else np.ones((4, 1024), np.float32)
    degrade, labels = choose_degradation(normalize, RATE), np.eye(2, dtype=np.float32)[[0] * len(values)]

    def step(jit: bool) -> np.ndarray:
        layer = Augment(3, gain_db=0.0, mixup=0.0, spec_augment=False, degrade=degrade)
        return tf.function(layer, jit_compile=jit)(tf.constant(values), tf.constant(labels))[0].numpy()

    for jit in (False, True):  # which draw other numbers
        np.testing.assert_array_equal(step(jit), step(jit))
        assert np.isfinite(step(jit)).all()
