"""JAX as Keras' backend: training on one device and on eight, files that both backends read."""

import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import keras
import numpy as np
import pytest

import fma
from tests.trainers import small_models
from tests.trainers.conftest import TREE
from tests.trainers.synthetic import CONFIG
from trainers.models.records import add_normalization
from trainers.runs.directory import load_config, read_metrics
from trainers.runs.genre_predictions import read_genre_predictions
from trainers.runs.state import load_state
from trainers.serving.lite import LITE
from trainers.training.checkpoint import load_model
from transforms.audio.features import KINDS
from transforms.dataset.normalization import Normalization

ROOT = Path(__file__).resolve().parents[3]
MODEL = "tiny_transfer"  # both kinds of phase: its head, on stored features, and then all of it, augmented

pytestmark = [pytest.mark.long, pytest.mark.usefixtures("tiny_models")]


def command(devices: int, *words: object) -> list[str]:
    return [sys.executable, "-m", "tests.trainers.training.jax_runs", str(devices), *map(str, words)]


def succeed(*words: object) -> str:
    ran = subprocess.run(command(*words), capture_output=True, text=True, check=False, cwd=ROOT, timeout=240)
    assert ran.returncode == 0, ran.stderr[-2000:]
    return ran.stderr


def train_words(dataset: Path, run: Path, devices: int) -> tuple[object, ...]:
    """Training with a batch of 8 over all devices."""
    return (devices, "fma", "train", MODEL, "--data", dataset, "--run", run, "--batch-size", 8 // devices)


def probabilities(run: Path, model: str) -> np.ndarray:
    """Those of the test tracks, as the last evaluation stored them."""
    with np.load(run / "predictions" / "test.npz") as arrays:
        return np.exp(arrays[f"log_probabilities/{model}"])


@pytest.fixture(scope="module")
def trained(dataset, tmp_path_factory) -> Path:
    """A run on one device, killed in its last epoch and carried on with."""
    run = tmp_path_factory.mktemp("jax") / "one"
    words = train_words(dataset, run, 1)
    with subprocess.Popen(command(*words), cwd=ROOT, stderr=subprocess.DEVNULL, start_new_session=True) as process:
        while load_state(str(run)).epoch < 4 and process.poll() is None:
            time.sleep(0.01)
        os.killpg(process.pid, signal.SIGKILL)
    assert not load_state(str(run)).finished
    said = succeed(*words)
    assert "carrying on after epoch" in said
    (run.parent / "said.txt").write_text(said)
    return run


def history(run: Path, column: str) -> list[float]:
    return [row[column] for row in load_state(str(run)).history]


def test_a_run_killed_and_carried_on_with_has_every_epoch_once_and_learns(trained):
    assert history(trained, "epoch") == [1, 2, 3, 4, 5]
    assert history(trained, "phase") == ["head"] * 3 + ["fine"] * 2
    losses = history(trained, "val_loss")
    assert losses[-1] < 0.7 * losses[0]
    made_with = load_config(str(trained)).made_with
    assert (made_with["backend"], made_with["replicas"]) == ("jax", 1)
    assert made_with["jax"]


def test_it_is_the_run_that_was_not_killed_to_the_last_bit(dataset, trained, tmp_path):
    run = tmp_path / "whole"
    succeed(*train_words(dataset, run, 1))
    assert load_state(str(run)).history == load_state(str(trained)).history
    for one, other in zip(load_model(str(run)).get_weights(), load_model(str(trained)).get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_eight_devices_train_to_the_loss_of_one(dataset, trained, tmp_path):
    run = tmp_path / "eight"
    succeed(*train_words(dataset, run, 8))
    assert load_config(str(run)).made_with["replicas"] == 8
    for column in ("loss", "val_loss"):
        np.testing.assert_allclose(history(run, column), history(trained, column), atol=1e-5)


def test_tensorflow_evaluates_a_model_that_jax_trained_to_the_same_probabilities(dataset, trained):
    before, scores = probabilities(trained, MODEL), read_metrics(str(trained))["test"]["per_track"]
    assert fma.main(["evaluate", str(trained), "--data", str(dataset), "--device", "cpu"]) == 0
    np.testing.assert_allclose(probabilities(trained, MODEL), before, atol=1e-4)
    assert read_metrics(str(trained))["test"]["per_track"]["confusion"] == scores["confusion"]


def test_jax_evaluates_a_model_that_tensorflow_trained_to_the_same_probabilities(dataset, finished, tmp_path):
    run = Path(shutil.copytree(finished, tmp_path / "run"))
    (run / "predictions" / "test.npz").unlink()
    succeed(8, "fma", "evaluate", run, "--data", dataset)
    np.testing.assert_allclose(probabilities(run, "tiny"), probabilities(finished, "tiny"), atol=1e-4)


def test_the_other_backend_does_not_carry_on_with_a_run(dataset, trained, capsys):
    words = ["train", MODEL, "--data", str(dataset), "--run", str(trained), "--batch-size", "8", "--epochs", "3,9"]
    assert fma.main([*words, "--device", "cpu"]) == 2
    assert f"{trained} was trained with --backend jax" in capsys.readouterr().err.splitlines()[-1]


def test_a_run_that_cannot_be_converted_to_tflite_is_finished_all_the_same(trained):
    """Its model is one that the child does not know, as if it had been renamed since."""
    said = (trained.parent / "said.txt").read_text().splitlines()
    assert any(line.startswith("fma: error: ") and MODEL in line for line in said)
    assert f"note: predictions of {trained} will start TensorFlow, which takes seconds: no conversion to TFLite" in said
    assert load_state(str(trained)).finished
    assert not (trained / LITE).exists()


def test_steps_are_queued_on_an_accelerator_only():
    """What is queued has to end before an interrupted training does: minutes on a CPU."""
    succeed(1, "queue")


def test_jax_reads_the_models_that_tensorflow_saved_and_answers_the_same(tmp_path):
    records, expected = {}, {}
    rng = np.random.default_rng(0)
    for name in ("mel_cnn", "yamnet"):
        spec = small_models.MODELS[name]
        keras.utils.set_random_seed(0)
        weights = str(small_models.fake_yamnet(tmp_path / "yamnet_weights.keras")) if name == "yamnet" else ""
        options = small_models.ModelOptions(weights=weights, **small_models.OPTIONS)
        network = spec.build(small_models.ModelInput.of(spec.kind, CONFIG), 3, options)
        ones = np.ones(CONFIG.n_mels, np.float32)
        model = add_normalization(network, spec.kind, CONFIG, Normalization("mel", -60 * ones, 20 * ones))
        stored = KINDS[spec.kind]
        limits = np.iinfo(stored.dtype)
        records[name] = rng.integers(limits.min, limits.max, (4, *stored.shape(CONFIG))).astype(stored.dtype)
        model.save(tmp_path / f"{name}.keras")
        np.save(tmp_path / f"{name}.keras.npy", records[name])
        expected[name] = np.asarray(keras.ops.softmax(model(records[name], training=False)))
    succeed(1, "answer", *(tmp_path / f"{name}.keras" for name in records))
    for name, probabilities in expected.items():
        found = keras.ops.softmax(np.load(tmp_path / f"{name}.keras.jax.npy"))
        np.testing.assert_allclose(found, probabilities, atol=1e-4, err_msg=name)


def test_without_jax_one_line_says_what_to_install(dataset, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    words = ["train", "tiny", "--data", str(dataset), "--run", str(tmp_path / "run"), "--backend", "jax"]
    assert fma.main(words) == 2
    assert "pip install 'fma-genres[jax]'" in capsys.readouterr().err.splitlines()[-1]


def test_many_genres_are_learned_on_one_device_and_on_two(several, tmp_path):
    for devices in (1, 2):
        run = tmp_path / str(devices)
        words = train_words(several, run, devices)
        succeed(*words, "--labels", "all", "--min-tracks", "2", "--epochs", "8,4", "--learning-rate", "0.05")
        found = read_genre_predictions(str(run))
        scores = read_metrics(str(run))["test"]["per_track"]
        assert scores["map_macro"] > scores["prior"]["map_macro"] + 0.25
        for genre, parent in TREE.items():
            if parent:
                below, above = (found.probabilities[MODEL][:, found.genres.index(name)] for name in (genre, parent))
                assert (below <= above).all()
