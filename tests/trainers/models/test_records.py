"""The whole model: it normalises records as they are stored exactly as the graph of `fma statistics` does."""

from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

import fma
from tests.trainers import tiny
from tests.trainers.synthetic import CONFIG, write_dataset
from trainers.models.keras_file import load_keras_file
from trainers.models.records import add_normalization, network_of, normalization_of, takes_records
from trainers.runs.normalization import find_normalization
from transforms.dataset.manifest import load

MEL = np.random.default_rng(0).integers(0, 256, (64, 32, 32)).astype(np.uint8)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("normalised") / "dataset"
    write_dataset(folder, ("mel",), shards=2)
    assert fma.main(["statistics", str(folder)]) == 0
    return folder


def whole(dataset: Path, *, loudness: bool = False) -> keras.Model:
    network = tiny.build(tiny.ModelInput((32, 32)), 2, tiny.ModelOptions())
    found = find_normalization(str(dataset), load(str(dataset)), "mel")
    return add_normalization(network, "mel", CONFIG, found, loudness=loudness)


def raw(*, loudness: bool = False) -> keras.Model:
    network = tiny.build(tiny.ModelInput((16384,)), 2, tiny.ModelOptions())
    return add_normalization(network, "raw", CONFIG, None, loudness=loudness)


def test_mel_is_normalised_exactly_as_by_the_graph_of_the_statistics(dataset):
    layer = normalization_of(whole(dataset))
    graph = dataset / load(str(dataset)).transform_fn.path / "mel" / "transform_fn"
    expected = tf.saved_model.load(str(graph)).transform_fn({"mel": tf.constant(MEL)})["mel"]
    for normalize in (layer, tf.function(layer), tf.function(layer, jit_compile=True)):
        np.testing.assert_array_equal(normalize(MEL), expected)


def test_raw_is_scaled_to_1():
    samples = np.random.default_rng(0).integers(-32768, 32768, (3, 16384)).astype(np.int16)
    found = normalization_of(raw())(samples)
    assert found.dtype == "float32"
    np.testing.assert_array_equal(found, samples / np.float32(32768))


def test_a_gain_changes_nothing_of_mel_where_loudness_is_normalised(dataset):
    layer, steps = normalization_of(whole(dataset, loudness=True)), MEL // 2 + 60
    quiet = (steps - round(20 / CONFIG.db_step)).astype(np.uint8)
    np.testing.assert_allclose(layer(quiet), layer(steps), atol=1e-3)
    plain = normalization_of(whole(dataset))
    assert np.abs(np.asarray(plain(quiet)) - np.asarray(plain(steps))).min() > 0.5


def test_a_gain_changes_nothing_of_raw_where_loudness_is_normalised():
    layer, samples = normalization_of(raw(loudness=True)), np.random.default_rng(0).standard_normal((3, 16384))
    loud, quiet = ((scale * samples).astype(np.int16) for scale in (6000, 600))
    np.testing.assert_allclose(layer(quiet), layer(loud), atol=5e-4)
    assert np.sqrt(np.mean(np.square(layer(loud)))) == pytest.approx(0.1, rel=1e-3)


def test_what_lies_far_below_a_windows_loudness_is_cut_off(dataset):
    layer, steps = normalization_of(whole(dataset, loudness=True)), MEL // 2 + 128
    deep = steps.copy()
    deep[:, 5], steps[:, 5] = 0, 10  # both more than 60 dB below the loudness, which they do not change
    np.testing.assert_allclose(layer(deep), layer(steps), atol=1e-3)


def test_silence_stays_silence_where_loudness_is_normalised(dataset):
    assert not np.any(normalization_of(raw(loudness=True))(np.zeros((2, 16384), np.int16)))
    layer = normalization_of(whole(dataset, loudness=True))
    silence, hum = (np.asarray(layer(np.full((2, 32, 32), level, np.uint8))) for level in (0, 100))
    assert np.isfinite(silence).all()
    assert (silence < hum).all()


@pytest.mark.parametrize("kind", ["mel", "raw"])
def test_a_model_of_normalised_loudness_is_saved_with_it(dataset, tmp_path, kind):
    model = whole(dataset, loudness=True) if kind == "mel" else raw(loudness=True)
    records = MEL if kind == "mel" else np.arange(2 * 16384, dtype=np.int16).reshape(2, -1)
    model.save(tmp_path / "model.keras")
    np.testing.assert_array_equal(load_keras_file(str(tmp_path / "model.keras"))(records), model(records))


def test_a_saved_model_takes_records_and_gives_the_logits_of_its_network(dataset, tmp_path):
    model = whole(dataset)
    model.save(tmp_path / "model.keras")
    loaded = load_keras_file(str(tmp_path / "model.keras"))
    assert takes_records(loaded)
    assert not takes_records(network_of(loaded))
    np.testing.assert_array_equal(loaded(MEL), model(MEL))
    np.testing.assert_array_equal(model(MEL), network_of(model)(normalization_of(model)(MEL)))


def test_half_precision_normalises_in_full(dataset):
    keras.mixed_precision.set_global_policy("mixed_bfloat16")
    try:
        half = normalization_of(whole(dataset))(MEL)
    finally:
        keras.mixed_precision.set_global_policy("float32")
    np.testing.assert_array_equal(half, normalization_of(whole(dataset))(MEL))
