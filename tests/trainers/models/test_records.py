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


def whole(dataset: Path) -> keras.Model:
    network = tiny.build(tiny.ModelInput((32, 32)), 2, tiny.ModelOptions())
    return add_normalization(network, "mel", CONFIG, find_normalization(str(dataset), load(str(dataset)), "mel"))


def test_mel_is_normalised_exactly_as_by_the_graph_of_the_statistics(dataset):
    layer = normalization_of(whole(dataset))
    graph = dataset / load(str(dataset)).transform_fn.path / "mel" / "transform_fn"
    expected = tf.saved_model.load(str(graph)).transform_fn({"mel": tf.constant(MEL)})["mel"]
    for normalize in (layer, tf.function(layer), tf.function(layer, jit_compile=True)):
        np.testing.assert_array_equal(normalize(MEL), expected)


def test_raw_is_scaled_to_1():
    network = tiny.build(tiny.ModelInput((16384,)), 2, tiny.ModelOptions())
    model = add_normalization(network, "raw", CONFIG, None)
    samples = np.random.default_rng(0).integers(-32768, 32768, (3, 16384)).astype(np.int16)
    found = normalization_of(model)(samples)
    assert found.dtype == "float32"
    np.testing.assert_array_equal(found, samples / np.float32(32768))


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
