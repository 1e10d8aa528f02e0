"""trainers/models: what every model must do, at tiny sizes, and what is particular to those from scratch."""

import io
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import h5py
import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.trainers.small_models import CLASSES, DROPOUT_FREE, batch_of, build, fake_yamnet, ready
from tests.trainers.training import two_devices
from trainers.models import MODELS, find_model, waveform_cnn
from trainers.models.layers import MultiCrop, Standardise, resize_matrix
from trainers.models.spec import ModelInput, ModelOptions
from transforms.config import DatasetConfig
from transforms.errors import UsageError

os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0")
"""What is compiled here runs a few steps: compiling it faster is worth more than running it faster."""

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="session")
def yamnet_file(tmp_path_factory):
    return fake_yamnet(tmp_path_factory.mktemp("weights") / "yamnet.keras")


@pytest.mark.parametrize("name", MODELS)
def test_every_model_gives_float32_logits(name, yamnet_file):
    model = build(name, yamnet_file)
    logits = model(batch_of(name)[0], training=False)
    assert logits.shape == (8, CLASSES)
    assert logits.dtype == "float32"
    assert np.isfinite(logits).all()


@pytest.mark.parametrize("name", MODELS)
def test_logits_stay_float32_in_mixed_precision(name, yamnet_file):
    keras.mixed_precision.set_global_policy("mixed_bfloat16")
    try:
        logits = build(name, yamnet_file)(batch_of(name)[0], training=False)
    finally:
        keras.mixed_precision.set_global_policy("float32")
    assert logits.dtype == "float32"
    assert np.isfinite(logits).all()


@pytest.mark.long
@pytest.mark.parametrize("name", MODELS)
def test_a_saved_model_answers_the_same(name, yamnet_file, tmp_path):
    model, values = ready(name, build(name, yamnet_file)), batch_of(name)[0]
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded(values), model(values))


def test_a_model_of_crops_keeps_the_names_that_files_of_earlier_versions_have(yamnet_file, tmp_path):
    """Keras finds the class by its registered name, and its weights by the class's own name."""
    build("waveform_cnn", yamnet_file).save(tmp_path / "model.keras")
    with zipfile.ZipFile(tmp_path / "model.keras") as file:
        assert '"registered_name": "fma>OverCrops"' in file.read("config.json").decode()
        with h5py.File(io.BytesIO(file.read("model.weights.h5"))) as weights:
            assert "network" in weights["layers/over_crops"]


@pytest.mark.long
@pytest.mark.parametrize("name", MODELS)
def test_a_training_step_under_xla_has_the_same_loss(name, yamnet_file):
    losses = {jit: _losses(name, yamnet_file, jit) for jit in (False, True)}
    np.testing.assert_allclose(losses[True], losses[False], rtol=1e-4)
    assert losses[True][-1] < 0.999 * losses[True][0]


def _losses(name, yamnet_file, jit):
    keras.utils.set_random_seed(3)
    model = ready(name, build(name, yamnet_file, DROPOUT_FREE))
    model.compile(keras.optimizers.SGD(0.01), keras.losses.CategoricalCrossentropy(from_logits=True), jit_compile=jit)
    values, labels = batch_of(name)
    return [float(model.train_on_batch(values, labels)) for _ in range(3)]


@pytest.fixture(scope="session")
def distributed(yamnet_file):
    """Losses of three steps on one CPU and on two logical ones, by model; devices are split before TF starts."""
    command = [sys.executable, "-m", "tests.trainers.training.two_devices", str(yamnet_file)]
    ran = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT, timeout=240)
    assert ran.returncode == 0, ran.stderr[-2000:]
    return json.loads(ran.stdout.splitlines()[-1])


@pytest.mark.long
@pytest.mark.parametrize("name", two_devices.MODELS)
def test_two_devices_train_to_the_same_loss_as_one(name, distributed):
    one, two = distributed["losses"][name]
    np.testing.assert_allclose(two, one, rtol=1e-5)
    assert one[-1] < 0.999 * one[0]


@pytest.mark.long
@pytest.mark.parametrize("name", two_devices.MODELS)
def test_two_devices_give_the_answers_of_one(name, distributed):
    one, two = distributed["answers"][name]
    assert np.shape(one) == (7, CLASSES)
    np.testing.assert_allclose(two, one, rtol=1e-4, atol=1e-6)


@pytest.mark.long
def test_each_device_answers_for_its_share_of_a_batch(distributed):
    assert distributed["share"] == [[[7]] * 7, [[4]] * 7]


@pytest.mark.long
def test_each_device_draws_an_augmentation_of_its_own_at_each_step(distributed):
    (one,), two = distributed["gains"]
    draws = np.array([one, *two]).reshape(3, -1)  # of two steps with three records each
    assert all(len(np.unique(drawn)) == 6 for drawn in draws)
    np.testing.assert_array_equal(draws[0], draws[1])  # the first of several draws what one alone does
    assert not set(draws[1]) & set(draws[2])


def test_an_unknown_model_is_refused_with_the_names_there_are():
    with pytest.raises(UsageError, match=r"mel_cmn.*mel_cnn"):
        find_model("mel_cmn")


def test_a_model_reads_the_shape_of_its_kind():
    config = DatasetConfig(n_mels=32, window_frames=20, window_hop_frames=20, sample_rate=16_000)
    assert ModelInput.of("mel", config) == ModelInput((32, 20), 16_000)
    assert ModelInput.of("raw", config) == ModelInput((20 * 512,), 16_000)


def test_waveform_cnn_has_the_layers_of_the_article():
    network = waveform_cnn.crop_network(10_000, 8, ModelOptions())
    assert [layer.count_params() for layer in network.layers if layer.count_params()] == [
        512,  # 3 x 128 + 128
        24_640,  # 3 x 128 x 64 + 64
        15_987_300,  # 2498 x 64 x 100 + 100
        2_020,
        168,
    ]
    assert [layer.rate for layer in network.layers if isinstance(layer, keras.layers.Dropout)] == [0.5, 0.5]


def test_published_sizes_of_the_other_models():
    sizes = {
        "mel_cnn": (ModelInput((224, 224)), 598_436),
        "waveform_resnet": (ModelInput((114_688,)), 955_428),
    }
    for name, (model_input, size) in sizes.items():
        assert MODELS[name].build(model_input, 4, ModelOptions()).count_params() == size


def ends(size):
    """A stand-in for a network: the first and the last sample of a crop."""
    crop = keras.Input((size, 1))
    return keras.Model(crop, keras.ops.concatenate([crop[:, 0], crop[:, -1]], axis=-1))


def test_evaluation_averages_the_log_probabilities_of_fixed_crops():
    signal = np.random.default_rng(0).standard_normal((3, 100)).astype("float32")
    found = MultiCrop(ends(40), size=40, crops=3, seed=0)(signal, training=False)
    logits = np.stack([signal[:, [start, start + 39]] for start in (0, 30, 60)])
    expected = (logits - np.log(np.exp(logits).sum(-1, keepdims=True))).mean(0)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_training_sees_a_random_crop_that_its_seed_decides():
    ramp = np.broadcast_to(np.arange(100, dtype="float32"), (64, 100))
    first, again, other = (MultiCrop(ends(40), size=40, crops=3, seed=seed) for seed in (1, 1, 2))
    crops = np.asarray(first(ramp, training=True))
    np.testing.assert_array_equal(crops[:, 1] - crops[:, 0], 39)
    assert crops[:, 0].min() < 5
    assert crops[:, 0].max() > 55
    assert crops[:, 1].max() <= 99
    np.testing.assert_array_equal(crops, again(ramp, training=True))
    assert (crops != np.asarray(other(ramp, training=True))).any()
    assert (crops != np.asarray(first(ramp, training=True))).any()


def test_standardised_features_are_means_and_deviations():
    rng = np.random.default_rng(0)
    activations = rng.gamma(2.0, size=(200, 9, 5)) * np.arange(1, 6)
    moments = np.concatenate([activations.mean(1), (activations**2).mean(1)], axis=1).astype("float32")
    layer = Standardise()
    plain = np.asarray(layer(moments))
    np.testing.assert_allclose(plain[:, :5], activations.mean(1), rtol=1e-4)
    np.testing.assert_allclose(plain[:, 5:], activations.std(1), rtol=1e-3)
    layer.set_from(moments)
    standard = np.asarray(layer(moments))
    np.testing.assert_allclose(standard.mean(0), 0, atol=1e-4)
    np.testing.assert_allclose(standard.std(0), 1, atol=1e-4)


def test_a_constant_feature_stays_finite():
    layer = Standardise()
    moments = np.tile(np.float32([0.5, 0.25]), (10, 1))
    layer(moments)
    layer.set_from(moments)
    np.testing.assert_allclose(layer(moments), 0, atol=1e-4)


@pytest.mark.parametrize(("old", "new"), [(20, 32), (32, 20), (7, 7), (224, 96)])
def test_resizing_is_that_of_tensorflow(old, new):
    column = np.random.default_rng(0).standard_normal((old, 1, 1)).astype("float32")
    expected = tf.image.resize(column, (new, 1), method="bilinear", antialias=True)
    np.testing.assert_allclose(resize_matrix(old, new) @ column[:, 0], expected[:, 0], atol=1e-5)
