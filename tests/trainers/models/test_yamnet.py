"""trainers/models/yamnet.py and layers.py: the front end against references, and the weights."""

import hashlib
import shutil
from dataclasses import replace

import h5py
import keras
import numpy as np
import pytest
import soxr
import tensorflow as tf

from tests.conftest import DATA
from tests.trainers.models.published_yamnet import EPSILON, published_yamnet, write_h5
from tests.trainers.small_models import fake_yamnet
from trainers.models import yamnet
from trainers.models.layers import LogMelPatches, Resample, count_patches, mel_matrix
from trainers.models.spec import ModelInput, ModelOptions, front_of
from transforms.errors import UsageError
from transforms.weights.table import WEIGHTS

FOLDER = DATA / "models" / "yamnet"
KERAS_FILE = FOLDER / "yamnet_float_from_tflite.keras"
needs_weights = pytest.mark.skipif(not KERAS_FILE.exists(), reason=f"YAMNet's weights are not at {KERAS_FILE}")


def tone(hz, rate, seconds=1.0):
    return np.sin(2 * np.pi * hz * np.arange(round(rate * seconds)) / rate).astype("float32")


def noise(samples, seed=0):
    return (0.1 * np.random.default_rng(seed).standard_normal(samples)).astype("float32")


def reference_patches(signal):
    """Log-mel patches by tf.signal, float32 [patches, 96, 64]."""
    spectra = tf.abs(tf.signal.stft(signal, 400, 160, 512))
    matrix = tf.signal.linear_to_mel_weight_matrix(64, 257, 16_000, 125.0, 7_500.0)
    return tf.signal.frame(tf.math.log(spectra @ matrix + 0.001), 96, 48, axis=0)


@pytest.mark.parametrize("rate", [22_050, 44_100, 48_000, 8_000, 16_000])
def test_a_tone_keeps_its_pitch_and_level_at_16_khz(rate):
    resampled = np.asarray(Resample(rate)(tone(1_000, rate)[None]))[0]
    assert len(resampled) == 16_000
    np.testing.assert_allclose(resampled[1_000:-1_000], tone(1_000, 16_000)[1_000:-1_000], atol=2e-3)


def test_what_16_khz_cannot_hold_is_removed():
    resampled = np.asarray(Resample(22_050)(tone(9_000, 22_050)[None]))[0]
    assert np.abs(resampled[1_000:-1_000]).max() < 1e-3


@pytest.mark.parametrize("samples", [441, 1_000, 1_001])
def test_every_length_of_window_is_resampled(samples):
    layer = Resample(22_050)
    assert layer(noise((2, samples))).shape == layer.compute_output_shape((2, samples))


def test_the_mel_matrix_is_that_of_tf_signal():
    expected = tf.signal.linear_to_mel_weight_matrix(64, 257, 16_000, 125.0, 7_500.0)
    np.testing.assert_allclose(mel_matrix(), expected, atol=2e-5)


@pytest.mark.skipif(not FOLDER.exists(), reason=f"YAMNet is not at {FOLDER}")
def test_the_mel_matrix_is_yamnets_own():
    (path,) = FOLDER.glob("yamnet_mel_matrix_*.npz")
    np.testing.assert_allclose(mel_matrix(), np.load(path)["mel"], atol=2e-5)


@pytest.mark.parametrize("seconds", [0.975, 1.5, 3.2])
def test_patches_are_those_of_tf_signal(seconds):
    signal = noise(round(16_000 * seconds)) + tone(440, 16_000, seconds)
    patches = LogMelPatches()(signal[None])
    assert patches.shape == (1, count_patches(len(signal)), 96, 64)
    np.testing.assert_allclose(patches[0], reference_patches(signal), atol=1e-3)


def test_a_short_window_is_filled_up_with_silence():
    short = noise(4_000)
    padded = np.concatenate([short, np.zeros(15_600 - 4_000, "float32")])
    np.testing.assert_array_equal(LogMelPatches()(short[None]), LogMelPatches()(padded[None]))


def test_features_of_windows_average_to_those_of_the_track(tmp_path):
    front = front_of(build(fake_yamnet(tmp_path / "yamnet.keras"), samples=22_050))
    windows = noise((3, 22_050))
    network = keras.saving.load_model(tmp_path / "yamnet.keras")
    patches = LogMelPatches()(Resample(22_050)(windows))
    embeddings = network(np.reshape(patches, (-1, 96, 64)))[0]
    features = np.mean(front(windows), axis=0)
    np.testing.assert_allclose(features[:1024], np.mean(embeddings, axis=0), rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(features[1024:], np.mean(np.square(embeddings), axis=0), rtol=1e-3, atol=1e-5)


def build(weights, samples=16_000, rate=22_050):
    return yamnet.build(ModelInput((samples,), rate), 3, ModelOptions(weights=str(weights)))


def test_without_weights_it_is_a_control_with_random_ones():
    assert front_of(build("none")).output_shape == (None, 2048)


def test_a_file_that_is_no_network_is_refused(tmp_path):
    for name in ("x.keras", "x.h5", "x.txt"):
        (tmp_path / name).write_bytes(b"not a network at all")
        with pytest.raises(UsageError, match="is not YAMNet") as raised:
            build(tmp_path / name)
        assert "\n" not in str(raised.value)


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(UsageError, match="no such file"):
        build(tmp_path / "absent.keras")


def test_another_network_is_refused(tmp_path):
    inputs = keras.Input((96, 64))
    keras.Model(inputs, keras.layers.Flatten(name="embedding")(inputs)).save(tmp_path / "other.keras")
    with pytest.raises(UsageError, match="is not YAMNet: it must map"):
        build(tmp_path / "other.keras")


def test_a_rate_that_shares_no_divisor_with_16_khz_is_refused():
    with pytest.raises(UsageError, match="22051 Hz"):
        build("", rate=22_051)


@pytest.fixture(scope="module")
def network():
    """A YAMNet with batch norms, with random values."""
    return published_yamnet(np.random.default_rng(0))


@pytest.fixture(scope="module")
def published(network, tmp_path_factory):
    """Its weights as yamnet.h5 has them."""
    return write_h5(network, tmp_path_factory.mktemp("published") / "yamnet.h5")


def patches(count=3):
    return np.random.default_rng(1).standard_normal((count, 96, 64)).astype("float32")


def test_the_published_file_gives_what_the_network_with_its_batch_norms_does(network, published):
    embedding, logits = network(patches())
    found = yamnet.load_yamnet(str(published), logits=True)(patches())
    np.testing.assert_allclose(found["embedding"], embedding, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(found["logits"], logits, rtol=1e-3, atol=1e-4)


def test_an_h5_file_of_another_network_is_refused(network, published, tmp_path):
    copy = shutil.copy(published, tmp_path)
    with h5py.File(copy, "r+") as file:
        del file["layer9"]
    with pytest.raises(UsageError, match=r"--weights .*yamnet\.h5 is not YAMNet's: it has no layer layer9/depth"):
        yamnet.load_yamnet(copy)
    keras.Sequential([keras.Input((2,)), keras.layers.Dense(2)]).save(tmp_path / "other.h5")
    with pytest.raises(UsageError, match=r"--weights .*other\.h5 is not YAMNet's"):
        yamnet.load_yamnet(str(tmp_path / "other.h5"))


def test_by_default_the_published_file_is_fetched_and_a_broken_download_resumed(
    server, published, monkeypatch, tmp_path
):
    server.body, server.cuts = published.read_bytes(), [5_000_000]
    size, sha256 = len(server.body), hashlib.sha256(server.body).hexdigest()
    monkeypatch.setitem(WEIGHTS, "yamnet", replace(WEIGHTS["yamnet"], size=size, sha256=sha256))
    monkeypatch.setenv("FMA_WEIGHTS_DIR", str(tmp_path))
    monkeypatch.setenv("FMA_WEIGHTS_URL", server.url)
    found = yamnet.load_yamnet("")
    assert len(server.asked) == 2
    np.testing.assert_array_equal(found(patches()), yamnet.load_yamnet(str(published))(patches()))
    yamnet.load_yamnet("audioset")
    assert len(server.asked) == 2


@needs_weights
def test_the_real_weights_give_the_same_from_both_forms(tmp_path):
    """Their batch norms are part of the convolutions already, so the others have none of their own to add."""
    folded = keras.saving.load_model(KERAS_FILE)
    network = published_yamnet(np.random.default_rng(0))
    own = [layer.get_weights() for layer in folded.layers if layer.weights]
    layers = [layer for layer in network.layers if layer.weights]
    for convolution, norm, (kernel, bias) in zip(layers[:-1:2], layers[1::2], own[:-1], strict=True):
        convolution.set_weights([kernel])
        norm.set_weights([bias, np.zeros_like(bias), np.full_like(bias, 1 - EPSILON)])
    layers[-1].set_weights(own[-1])
    path = write_h5(network, tmp_path / "yamnet.h5")
    values = patches()
    found, expected = (yamnet.load_yamnet(str(file), logits=True)(values) for file in (path, KERAS_FILE))
    for name, size in (("embedding", 1024), ("logits", 521)):
        assert found[name].shape == (3, size)
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-4, atol=1e-4)
    scores = folded(values)[1]
    np.testing.assert_allclose(keras.ops.sigmoid(found["logits"]), scores, rtol=1e-3, atol=1e-5)


@needs_weights
def test_the_real_front_agrees_with_soxr_and_tf_signal():
    window = noise(65_536) + 0.3 * tone(440, 22_050, 65_536 / 22_050)
    signal = soxr.resample(window, 22_050, 16_000, "VHQ")
    network = keras.saving.load_model(KERAS_FILE)
    expected = np.mean(network(reference_patches(signal))[0], axis=0)
    found = np.asarray(front_of(build(KERAS_FILE, samples=65_536))(window[None]))[0, :1024]
    assert np.linalg.norm(found - expected) < 0.05 * np.linalg.norm(expected)


@needs_weights
def test_the_real_network_hears_music_apart_from_noise():
    front = front_of(build(KERAS_FILE, samples=22_050))
    chord = sum(tone(hz, 22_050) for hz in (220, 277, 330)) / 4
    features = np.asarray(front(np.stack([chord, 0.9 * chord, noise(22_050)])))[:, :1024]
    near, far = np.linalg.norm(features[0] - features[1]), np.linalg.norm(features[0] - features[2])
    assert near < 0.5 * far
