"""Encoders' files: what they are asked, in which shapes they answer, and what is said of those that cannot be used."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import soxr

from tests.encoders import OUTPUTS, reference, to_tflite, write_encoder, write_waveform_network
from transforms.config import DatasetConfig
from transforms.dataset.embed import Moments, batch_size, to_input
from transforms.encoders.encoder import inspect_encoder, open_encoder, read_facts
from transforms.errors import FmaError, UsageError

CONFIG = DatasetConfig(n_mels=32, window_frames=32, window_hop_frames=32)
RATE = 16_000
ONNX = Path(__file__).parents[2] / "data" / "level.onnx"
"""[batch, samples] -> level [batch, 2], mean square and mean, in opset 13."""


@pytest.fixture(scope="module")
def windows() -> np.ndarray:
    return to_input(np.random.default_rng(1).integers(-20_000, 20_000, (3, CONFIG.window_samples), np.int16))


def levels(waveforms: np.ndarray) -> np.ndarray:
    """What `write_waveform_network`'s gives for waveforms [..., samples]."""
    values = waveforms.astype(np.float64)
    return np.stack([(values**2).mean(-1), values.mean(-1)], -1)


def resampled(windows: np.ndarray) -> np.ndarray:
    return np.stack([soxr.resample(window, CONFIG.sample_rate, RATE, "HQ") for window in windows])


def asked(path: Path, windows: np.ndarray) -> np.ndarray:
    """What a foreign file of one output gives for windows, by way of its facts."""
    facts = inspect_encoder(str(path), CONFIG, None, RATE)
    assert facts.outputs == {next(iter(facts.outputs)): 2}
    return next(iter(open_encoder(str(path), facts, CONFIG).encode(windows).values()))


def test_an_exported_folder_is_asked_for_windows_as_they_are(tmp_path, windows):
    folder = write_encoder(tmp_path / "tiny", CONFIG)
    facts = inspect_encoder(str(folder), CONFIG, None, None)
    assert (facts.name, facts.outputs, facts.kind) == ("tiny", OUTPUTS, "embedding/tiny")
    found = open_encoder(str(folder), facts, CONFIG).encode(windows)
    want = reference(windows)
    np.testing.assert_allclose(found["embedding"], want["embedding"], atol=1e-5)
    np.testing.assert_allclose(found["logits"][:, 0], want["logits"], atol=1e-5)
    assert inspect_encoder(str(folder), CONFIG, "mine", None).name == "mine"


def test_an_exported_folder_that_reads_images_is_given_them_as_stored(tmp_path):
    folder = write_encoder(tmp_path / "tiny", CONFIG, reads="mel")
    images = np.random.default_rng(1).integers(0, 255, (2, 32, 32), np.uint8)
    found = open_encoder(str(folder), read_facts(str(folder)), CONFIG).encode(images)
    np.testing.assert_allclose(found["embedding"], reference(images)["embedding"], atol=1e-4)


SHAPES = {
    "[batch, samples] to [batch, d]": ([None, None], 0),
    "[batch, samples] to [batch, time, d]": ([None, None], 4),
    "[samples] to [time, d]": ([None], 4),
    "[samples] to [d]": ([None], 0),
    "[1, samples] to [1, time, d]": ([1, None], 4),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_anybodys_network_hears_the_windows_at_its_rate(tmp_path, windows, shape):
    size, positions = SHAPES[shape]
    found = asked(write_waveform_network(tmp_path / "level", size, positions=positions), windows)
    parts = resampled(windows)
    parts = parts[:, : parts.shape[1] // max(1, positions) * max(1, positions)]
    np.testing.assert_allclose(found, levels(parts.reshape(3, max(1, positions), -1)), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("batch", [None, 1])
def test_a_network_of_a_fixed_length_hears_one_piece_after_the_other(tmp_path, windows, batch):
    found = asked(write_waveform_network(tmp_path / "level", [batch, 5000]), windows)
    np.testing.assert_allclose(found, levels(resampled(windows)[:, :10_000].reshape(3, 2, -1)), rtol=1e-4, atol=1e-6)


def test_outputs_have_the_order_of_their_names_however_a_file_has_them(tmp_path):
    import tensorflow as tf

    module = tf.Module()
    module.of = tf.function(
        lambda waveform: {f"output_{i}": tf.fill([3, i + 1], waveform[i]) for i in (4, 2, 0, 5, 1, 3)},
        input_signature=[tf.TensorSpec([None], tf.float32, name="waveform")],
    )
    tf.saved_model.save(module, str(tmp_path / "many"), {"serving_default": module.of})
    facts = inspect_encoder(str(tmp_path / "many"), CONFIG, None, RATE)
    assert list(facts.outputs.items()) == [(f"output_{i}", i + 1) for i in range(6)]


@pytest.mark.parametrize("size", [[1, 5000], [5000]])
def test_tflite_gives_what_its_saved_model_gives(tmp_path, windows, size):
    folder = write_waveform_network(tmp_path / "level", size, positions=5)
    lite = to_tflite(folder, tmp_path / "Level 5.tflite")
    np.testing.assert_allclose(asked(lite, windows), asked(folder, windows), rtol=1e-5, atol=1e-7)
    assert inspect_encoder(str(lite), CONFIG, None, RATE).name == "level-5"


def test_onnx_hears_a_batch_of_waveforms(windows):
    pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")
    np.testing.assert_allclose(asked(ONNX, windows)[:, 0], levels(resampled(windows)), rtol=1e-4, atol=1e-6)
    assert inspect_encoder(str(ONNX), CONFIG, None, RATE).outputs == {"level": 2}


def test_onnx_without_its_runtime_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(UsageError, match=r"level\.onnx needs ONNX Runtime: pip install 'fma-genres\[onnx\]'"):
        inspect_encoder(str(ONNX), CONFIG, None, RATE)


def test_a_network_that_cannot_be_used_is_refused_in_one_line(tmp_path):
    def refused(path: Path, rate: int | None = RATE, config: DatasetConfig = CONFIG) -> str:
        with pytest.raises(FmaError) as error:
            inspect_encoder(str(path), config, None, rate)
        assert len(str(error.value).splitlines()) == 1
        return str(error.value)

    level = write_waveform_network(tmp_path / "level", [None, None])
    assert "does not say at which rate it hears: give --encoder-rate" in refused(level, None)
    tiny = write_encoder(tmp_path / "tiny", CONFIG)
    assert "leave --encoder-rate out" in refused(tiny)
    long = write_waveform_network(tmp_path / "long", [None, 20_000])
    assert "takes 20,000 samples, and a window has 11,889" in refused(long)
    loud = write_waveform_network(tmp_path / "loud", [None, None], scale=float("nan"))
    assert "not finite numbers" in refused(loud)
    (tmp_path / "file.tflite").write_bytes(b"not a model")
    assert "cannot be loaded as TFLite" in refused(tmp_path / "file.tflite")
    (tmp_path / "empty").mkdir()
    assert "cannot be loaded as a SavedModel" in refused(tmp_path / "empty")
    (tmp_path / "file.pth").write_bytes(b"torch")
    assert "give a folder with a SavedModel, or a file .tflite or .onnx" in refused(tmp_path / "file.pth")
    assert "there is no such file" in refused(tmp_path / "nothing.tflite")


def test_an_exported_folder_of_other_windows_or_with_other_outputs_than_it_says_is_refused(tmp_path):
    folder = write_encoder(tmp_path / "tiny", CONFIG)
    facts = read_facts(str(folder))
    other = DatasetConfig(n_mels=32, window_frames=40, window_hop_frames=40)
    with pytest.raises(UsageError, match=r"takes windows \[16384\], and the dataset's are \[20480\]: export the enc"):
        open_encoder(str(folder), facts, other)
    values = json.loads((folder / "encoder.json").read_text())
    (folder / "encoder.json").write_text(json.dumps(values | {"outputs": {"embedding": 7}}))
    with pytest.raises(FmaError, match=r"gives embedding \[6\], logits \[3\], where embedding \[7\] was expected"):
        open_encoder(str(folder), read_facts(str(folder)), CONFIG)
    (folder / "encoder.json").write_text("{")
    with pytest.raises(FmaError, match=r"encoder\.json is damaged .*export the encoder again"):
        read_facts(str(folder))


def test_moments_are_those_of_all_rows_however_they_come_in_blocks():
    values = np.random.default_rng(0).standard_normal((100, 3)).astype(np.float32) + np.float32(1000)
    values[:, 2] = np.float32(0.1)
    moments = Moments()
    for part in np.split(values, [1, 7, 50]):
        moments.add(part)
    found = moments.finish()
    np.testing.assert_allclose(found, [values.mean(0, np.float64), values.std(0, dtype=np.float64)], rtol=1e-9)
    assert found[1, 2] == 0


@pytest.mark.parametrize(("frames", "batch"), [(224, 5), (64, 10), (1292, 1), (20, 16), (12_920, 1)])
def test_a_batch_has_the_windows_of_30_s_or_a_part_of_them(frames, batch):
    assert batch_size(DatasetConfig(window_frames=frames, window_hop_frames=frames)) == batch
