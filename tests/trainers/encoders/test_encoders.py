"""trainers/encoders and `fma export --encoder`: what encoders give, and that their folders give the same."""

from dataclasses import replace

import keras
import numpy as np
import pytest
import soxr
import tensorflow as tf

import fma
from tests.conftest import DATA, tone
from tests.trainers.models.published_yamnet import published_yamnet, randomise, write_h5
from trainers.encoders.export import export_encoder
from trainers.encoders.own import load_own
from trainers.encoders.table import ENCODERS, build_encoder
from trainers.models.layers import LogMelPatches
from trainers.models.normalize import bring_to_level
from trainers.models.yamnet import load_yamnet
from transforms.audio.features import KINDS
from transforms.config import DatasetConfig
from transforms.encoders.encoder import open_encoder, read_facts
from transforms.errors import UsageError

CONFIG = DatasetConfig(sample_rate=16_000, window_frames=60, window_hop_frames=60, n_mels=32)
NAMES = [name for name in ENCODERS if name != "musicnn_mtt"]  # which is musicnn but for its weights
REAL = {
    "yamnet": DATA / "models" / "yamnet" / "yamnet_float_from_tflite.keras",
    "mobilenet_v2": DATA / "models" / "mobilenet_v2" / "mobilenet_v2_1.0_224_imagenet_from_ptq_notop.weights.h5",
}


@pytest.fixture(scope="module")
def weights(tmp_path_factory, fake_wheel):
    """Files of random weights, by encoder, as they are published."""
    folder = tmp_path_factory.mktemp("weights")
    mobilenet = keras.applications.MobileNetV2(input_shape=(32, 32, 3), include_top=False, weights=None)
    randomise(mobilenet, np.random.default_rng(0))
    mobilenet.save_weights(folder / "mobilenet.weights.h5")
    yamnet = write_h5(published_yamnet(np.random.default_rng(0)), folder / "yamnet.h5")
    return {
        "yamnet": str(yamnet),
        "mobilenet_v2": str(folder / "mobilenet.weights.h5"),
        "musicnn": str(fake_wheel[0]),
    }


@pytest.fixture(scope="module")
def encoders(weights):
    """Networks with random weights, and their facts, by name."""
    return {name: build_encoder(name, CONFIG, weights[name]) for name in NAMES}


def assert_close(found, expected):
    """Compare with how much an output differs between windows, which it does."""
    spread = np.std(expected - np.mean(expected, axis=0))
    assert spread > 0.01 * np.std(expected)
    np.testing.assert_allclose(found, expected, rtol=0, atol=0.01 * spread)


def windows_of(name, count=3):
    random = np.random.default_rng(1)
    if ENCODERS[name].reads == "mel":
        return random.integers(0, 255, (count, CONFIG.n_mels, CONFIG.window_frames), np.uint8)
    level = np.geomspace(0.01, 0.3, CONFIG.window_samples)  # so that no two patches are alike
    return (level * random.standard_normal((count, CONFIG.window_samples))).astype(np.float32)


@pytest.mark.long
@pytest.mark.parametrize("name", NAMES)
def test_an_exported_encoder_gives_what_it_gave_before(name, encoders, tmp_path):
    network, facts = encoders[name]
    folder = tmp_path / "encoder"
    export_encoder(network, facts, str(folder))
    assert read_facts(str(folder)) == facts
    encode = open_encoder(str(folder), read_facts(str(folder)), CONFIG).encode
    windows = windows_of(name)
    found, expected = encode(windows), network(windows)
    assert set(found) == set(facts.outputs)
    for output, dimensions in facts.outputs.items():
        assert found[output].shape[::2] == (3, dimensions)
        np.testing.assert_allclose(found[output], expected[output], rtol=1e-4, atol=1e-4)
        alone = encode(windows[1:2])[output]
        np.testing.assert_allclose(alone[0], found[output][1], rtol=1e-4, atol=1e-4)


def test_yamnet_gives_each_patch_of_a_window_in_time(encoders, weights):
    windows = windows_of("yamnet")
    found = encoders["yamnet"][0](windows)
    patches = LogMelPatches()(bring_to_level(windows))
    assert patches.shape[1] > 1
    network = load_yamnet(weights["yamnet"], logits=True)
    for at in range(patches.shape[1]):
        expected = network(patches[:, at])
        for output, values in expected.items():
            assert_close(found[output][:, at], values)


@pytest.mark.parametrize("name", ["yamnet", "musicnn"])
def test_a_gain_changes_nothing_of_what_an_encoder_of_raw_windows_gives_but_of_earlier_versions(
    name, encoders, weights
):
    network, facts = encoders[name]
    windows = windows_of(name)
    expected = network(windows)
    before, its_facts = build_encoder(name, CONFIG, weights[name], version=1)
    assert (facts.version, its_facts) == (2, replace(facts, version=1))
    levelled, quiet, moved = before(bring_to_level(windows)), network(0.1 * windows), before(0.1 * windows)
    for output, values in expected.items():
        atol = 1e-3 * np.abs(moved[output] - values).max()
        np.testing.assert_allclose(quiet[output], values, rtol=0, atol=atol)
        np.testing.assert_allclose(levelled[output], values, rtol=0, atol=atol)


def test_mobilenet_gives_each_point_of_its_maps_whatever_the_level(encoders):
    network, _ = encoders["mobilenet_v2"]
    windows = windows_of("mobilenet_v2") // 2
    found, louder = network(windows), network(windows + 40)
    shapes = {output: values.shape for output, values in found.items()}
    assert shapes == {"block_6": (3, 28 * 28, 192), "block_9": (3, 14 * 14, 384), "out": (3, 7 * 7, 1280)}
    for output in shapes:
        assert_close(louder[output], found[output])


def test_the_command_writes_an_encoder_for_a_datasets_windows(weights, tmp_path, capsys):
    words = ["export", "--encoder", "yamnet", "--weights", weights["yamnet"], "--sample-rate", "22050"]
    assert fma.main([*words, "--out", str(tmp_path / "encoder")]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed[0].startswith("yamnet, raw windows at 22,050 Hz, ")
    assert [line.split() for line in printed[3:5]] == [["embedding", "1,024"], ["logits", "521"]]
    encode = tf.saved_model.load(str(tmp_path / "encoder")).signatures["encode"]
    window = tone(DatasetConfig().window_seconds)[None, : DatasetConfig().window_samples]
    assert encode(windows=tf.constant(window))["logits"].shape == (1, 9, 521)


def own_network(time):
    """A network that hears 1 s at 8 kHz."""
    inputs = keras.Input((8_000, 1) if time == "channels" else (8_000,))
    values = inputs if time == "channels" else keras.layers.Reshape((8_000, 1))(inputs)
    values = keras.layers.Conv1D(5, 400, strides=200)(values)
    return keras.Model(inputs, values if time else keras.layers.GlobalAveragePooling1D()(values))


@pytest.mark.parametrize("time", [False, True])
def test_a_keras_file_of_ones_own_becomes_an_encoder(time, tmp_path, capsys):
    network = own_network(time)
    network.save(tmp_path / "My Ears.keras")
    words = ["export", "--encoder", str(tmp_path / "My Ears.keras"), "--sample-rate", "8000"]
    assert fma.main([*words, "--out", str(tmp_path / "out")]) == 0
    assert capsys.readouterr().out.startswith("my-ears, raw windows at 8,000 Hz")
    config = DatasetConfig(sample_rate=16_000, window_frames=70, window_hop_frames=70)
    encoder = open_encoder(str(tmp_path / "out"), read_facts(str(tmp_path / "out")), config)
    windows = np.random.default_rng(0).standard_normal((3, config.window_samples)).astype(np.float32)
    found = encoder.encode(windows)["embedding"]
    heard = np.stack([soxr.resample(window, 16_000, 8_000, "HQ") for window in windows])
    expected = network(heard[:, :16_000].reshape(6, 8_000))  # two whole seconds of each
    np.testing.assert_allclose(found, np.reshape(expected, (3, -1, 5)), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--encoder", "yamet", "--sample-rate", "16000"], "no encoder of the name yamet (did you mean yamnet?)"),
        (["--encoder", "yamnet"], "--encoder yamnet: give --data, whose windows it is to read, or --sample-rate"),
        (["--encoder", "ears.keras"], "--encoder ears.keras: give --sample-rate, of what it hears"),
        (["--encoder", "ears.keras", "--sample-rate", "8000"], "ears.keras: there is no such file"),
        (
            ["--encoder", "ears.keras", "--sample-rate", "8000", "--encoder-version", "1"],
            "and no --weights or --encoder-v",
        ),
        (
            ["--encoder", "yamnet", "--sample-rate", "16000", "--encoder-version", "3"],
            "yamnet version 3 is not known here, where the newest is 2",
        ),
        (["--encoder", "yamnet", "run"], "run is not a run"),
        (["--encoder", "yamnet", "--encoder", "mobilenet_v2"], "give a RUN or an --encoder, one of the two"),
        ([], "give a RUN or an --encoder, one of the two"),
    ],
)
def test_what_cannot_be_exported_is_one_line(words, message, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert fma.main(["export", *words, "--out", "out"]) == 2
    assert message in capsys.readouterr().err.splitlines()[-1]
    assert not (tmp_path / "out").exists()


def test_a_keras_file_that_is_no_encoder_is_refused(tmp_path):
    own_network("channels").save(tmp_path / "channels.keras")
    with pytest.raises(UsageError, match=r"must take a waveform \[batch, samples\]"):
        load_own(str(tmp_path / "channels.keras"), 8_000)
    inputs = keras.Input((8_000,))
    keras.Model(inputs, keras.layers.Reshape((8, 10, 100))(inputs)).save(tmp_path / "map.keras")
    with pytest.raises(UsageError, match=r"must give \[batch, d\] or \[batch, time, d\]"):
        load_own(str(tmp_path / "map.keras"), 8_000)
    (tmp_path / "bytes.keras").write_bytes(b"no network")
    with pytest.raises(UsageError, match=r"cannot be loaded .*: save it as a SavedModel instead"):
        load_own(str(tmp_path / "bytes.keras"), 8_000)


@pytest.mark.parametrize("name", REAL)
def test_the_real_encoders_hear_a_chord_apart_from_noise(name):
    if not REAL[name].exists():
        pytest.skip(f"the weights are not at {REAL[name]}")
    config = DatasetConfig()
    chord = sum(tone(config.window_seconds, hz=hz) for hz in (220, 277, 330)) / 3
    noise = (0.2 * np.random.default_rng(0).standard_normal(len(chord))).astype(np.float32)
    kind = KINDS[ENCODERS[name].reads]
    windows = np.stack([_window(kind, config, sound) for sound in (chord, 0.5 * chord, noise)])
    network, facts = build_encoder(name, config, str(REAL[name]))
    for output in facts.outputs:
        means = np.asarray(network(windows)[output]).mean(axis=1)
        near, far = np.linalg.norm(means[0] - means[1]), np.linalg.norm(means[0] - means[2])
        assert near < 0.5 * far, output


def _window(kind, config, sound):
    """The first window of a sound as an encoder is given it."""
    feature = next(iter(kind.extractor(config).push(np.concatenate([sound, sound]))))
    values = np.frombuffer(feature.payload, kind.dtype).reshape(kind.shape(config))
    return values if kind.name == "mel" else (values / np.float32(32768)).astype(np.float32)
