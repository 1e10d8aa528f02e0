"""trainers/encoders/musicnn.py: the network of the published checkpoints, and the spectrogram that it hears."""

import ast
import zipfile

import librosa
import numpy as np
import pytest
import soundfile
import tensorflow as tf

from tests.conftest import tone
from trainers.encoders import musicnn
from trainers.encoders.musicnn_network import PATCH_SAMPLES, MusicnnPatches
from trainers.encoders.table import ENCODERS, build_encoder
from transforms.config import DatasetConfig
from transforms.errors import FmaError
from transforms.weights.cache import cached, is_here
from transforms.weights.table import find_weights

OUTPUTS = ENCODERS["musicnn"].outputs
GRAPH_OUTPUTS = {
    "tags": "model/dense_1/BiasAdd:0",
    "penultimate": "model/batch_normalization_10/batchnorm/add_1:0",
    "max": "model/Max:0",
    "mean": "model/moments/Squeeze:0",
}
"""Names in the published graphs."""


@pytest.fixture(scope="module")
def wheel() -> str:
    """The published wheel; tests that use it are skipped where `fma weights musicnn` has not fetched it."""
    weights = find_weights("musicnn")
    if not is_here(weights):
        pytest.skip(f"musicnn's wheel is not at {cached(weights)}: fma weights musicnn fetches it")
    return cached(weights)


def spectrogram(samples):
    """log10(1 + 10000 power) of librosa's mel bands, float32 [frames, 96]."""
    mel = librosa.feature.melspectrogram(y=samples, sr=16_000, n_fft=512, hop_length=256, n_mels=96, center=False)
    return np.log10(1 + 10_000 * mel).T


def patches_of(*sounds):
    return np.concatenate([MusicnnPatches()(sound[None])[0] for sound in sounds])


def published_answers(wheel, name, patches, folder) -> dict[str, np.ndarray]:
    """What the wheel's own graph gives for patches, with the variables of its own checkpoint."""
    checkpoint, meta = musicnn.CHECKPOINTS[name], tf.compat.v1.MetaGraphDef()
    variables = tf.train.load_checkpoint(musicnn.unpack(wheel, checkpoint, str(folder)))
    with zipfile.ZipFile(wheel) as members:
        meta.ParseFromString(members.read(f"musicnn/{checkpoint}/.meta"))
    # Its gradients are not valid any more.
    wanted = [output.partition(":")[0] for output in GRAPH_OUTPUTS.values()]
    graph = tf.compat.v1.graph_util.extract_sub_graph(meta.graph_def, wanted)
    given = {"model/Placeholder:0": patches, "model/Placeholder_2:0": False}
    given |= {f"{node.name}/read:0": variables.get_tensor(node.name) for node in graph.node if node.op == "VariableV2"}
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        tf.graph_util.import_graph_def(graph, name="")
        return session.run(GRAPH_OUTPUTS, given)


@pytest.mark.parametrize("name", musicnn.TAGS)
def test_its_outputs_are_those_of_the_published_graph(name, wheel, tmp_path):
    patches = patches_of(tone(7, 16_000), 0.3 * tone(3, 16_000, hz=1_500), np.zeros(PATCH_SAMPLES, "float32"))
    expected = published_answers(wheel, name, patches, tmp_path)
    found = musicnn.load_network(wheel, name).predict_on_batch(patches)
    assert np.ptp(expected["tags"], axis=0).max() > 1  # the sounds differ, so a mix-up would show
    for output in OUTPUTS:
        scale = np.abs(expected[output]).max()
        np.testing.assert_allclose(found[output], np.squeeze(expected[output]), atol=1e-5 * scale, rtol=1e-4)


def test_the_names_of_the_tags_are_those_in_the_wheel(wheel):
    with zipfile.ZipFile(wheel) as members:
        module = ast.parse(members.read("musicnn/configuration.py"))
    lists = {node.targets[0].id: ast.literal_eval(node.value) for node in module.body if isinstance(node, ast.Assign)}
    assert {name: list(tags) for name, tags in musicnn.TAGS.items()} == {
        "musicnn": lists["MSD_LABELS"],
        "musicnn_mtt": lists["MTT_LABELS"],
    }


def test_real_songs_have_tags_that_fit(wheel, fma_sample):
    encoder = musicnn.build("musicnn", DatasetConfig(sample_rate=44_100), wheel)
    size = encoder.input_shape[1]
    likely = {}
    for genre, name in (("classical", "000003"), ("rock", "000105"), ("electronic", "000210")):
        sound, rate = soundfile.read(fma_sample / "audio" / "000" / f"{name}.mp3", dtype="float32")
        assert rate == 44_100
        logits = np.asarray(encoder(sound.mean(axis=1)[None, 10 * rate :][:, :size])["tags"]).mean(axis=(0, 1))
        likely[genre] = dict(zip(musicnn.TAGS["musicnn"], logits, strict=True))
    for tag in ("rock", "electronic"):
        assert max(likely, key=lambda genre: likely[genre][tag]) == tag


def test_the_spectrogram_is_librosas():
    sound = tone(8, 16_000)
    patches = np.asarray(MusicnnPatches()(sound[None]))[0]
    frames = spectrogram(sound)
    assert patches.shape == (3, 187, 96)
    assert len(frames) == 499
    for patch, start in zip(patches, (0, 156, 312), strict=True):
        np.testing.assert_allclose(patch, frames[start : start + 187], atol=2e-4)


@pytest.mark.parametrize(("samples", "patches"), [(PATCH_SAMPLES, 1), (PATCH_SAMPLES + 256, 2), (100_000, 3)])
def test_the_patches_begin_and_end_with_the_window(samples, patches):
    sound = tone(samples / 16_000, 16_000)
    found = np.asarray(MusicnnPatches()(sound[None]))[0]
    assert len(found) == patches
    frames = spectrogram(sound)
    np.testing.assert_allclose(found[0], frames[:187], atol=2e-4)
    np.testing.assert_allclose(found[-1], frames[-187:], atol=2e-4)


def test_a_short_window_is_filled_up_with_silence():
    short = tone(1, 16_000)
    padded = np.pad(short, (0, PATCH_SAMPLES - len(short)))
    np.testing.assert_array_equal(MusicnnPatches()(short[None]), MusicnnPatches()(padded[None]))


@pytest.mark.parametrize("name", musicnn.TAGS)
def test_a_network_is_read_from_a_wheel(name, fake_wheel):
    patches = patches_of(tone(3, 16_000), tone(3, 16_000, hz=900))
    expected = fake_wheel[1][name].predict_on_batch(patches)
    found = musicnn.load_network(str(fake_wheel[0]), name).predict_on_batch(patches)
    for output, size in OUTPUTS.items():
        assert found[output].shape == (2, size)
        np.testing.assert_allclose(found[output], expected[output], rtol=1e-5, atol=1e-6)
    assert np.abs(found["tags"][0] - found["tags"][1]).max() > 1e-3


def test_an_encoder_hears_each_window_on_its_own_at_the_rate_of_a_dataset(fake_musicnn):
    encoder, facts = build_encoder("musicnn", DatasetConfig())
    windows = np.stack([tone(114_688 / 22_050, 22_050, hz=hz) for hz in (220, 880)])
    together = encoder(windows)
    assert {name: together[name].shape for name in facts.outputs} == {name: (2, 2, n) for name, n in OUTPUTS.items()}
    for i in range(2):
        alone = encoder(windows[i : i + 1])
        for name in OUTPUTS:
            np.testing.assert_allclose(together[name][i], alone[name][0], atol=1e-5)
    assert (facts.name, facts.reads, facts.sample_rate, facts.license) == ("musicnn", "raw", 22_050, "ISC")


def without(wheel, target, left_out):
    with zipfile.ZipFile(wheel) as source, zipfile.ZipFile(target, "w") as archive:
        for name in source.namelist():
            if left_out not in name:
                archive.writestr(name, source.read(name))
    return str(target)


def test_a_wheel_that_is_damaged_is_an_error_of_one_line(fake_wheel, tmp_path):
    whole = fake_wheel[0].read_bytes()
    damaged = bytearray(whole)
    damaged[len(whole) // 4 : len(whole) // 4 + 64] = bytes(64)
    wheels = [without(fake_wheel[0], tmp_path / "part.whl", "MSD_musicnn/.index")]
    for name, data in (("damaged", damaged), ("half", whole[: len(whole) // 2]), ("empty", b"")):
        (tmp_path / name).write_bytes(data)
        wheels.append(str(tmp_path / name))
    for wheel in wheels:
        with pytest.raises(FmaError, match="does not hold the network of musicnn: ") as raised:
            musicnn.load_network(wheel, "musicnn")
        assert "\n" not in str(raised.value)
