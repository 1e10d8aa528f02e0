"""A model of this project that JAX has trained is predicted with, exported and served as one of TensorFlow."""

from contextlib import closing
from pathlib import Path

import keras
import numpy as np
import pytest

import fma
from tests.trainers.serving.conftest import LIMITS
from tests.trainers.small_models import fake_yamnet
from tests.trainers.training.test_jax import succeed
from trainers.runs.directory import load_config
from trainers.serving import scorers
from trainers.serving.engine import Engine
from trainers.serving.keras_scorer import KerasScorer
from trainers.serving.lite import LITE, LiteScorer
from trainers.serving.scorers import Scorer, open_scorer

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def trained(music, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("jax")
    weights = fake_yamnet(folder / "weights.keras")
    words = ("train", "yamnet", "--data", music.dataset, "--run", folder / "run", "--weights", weights, "--epochs", 2)
    said = succeed(1, "fma", *words)
    assert "will start TensorFlow" not in said
    return folder / "run"


def probabilities(scorer: Scorer, path: str) -> np.ndarray:
    with closing(Engine(scorer, LIMITS, 1)) as engine:
        return engine.predict(path).probabilities


def test_it_answers_without_tensorflow_and_as_tensorflow_does(trained, music, monkeypatch):
    assert (trained / LITE).exists()
    monkeypatch.setattr(scorers, "may_have_accelerator", lambda: True)  # which may be one of JAX alone
    quick, whole = open_scorer(str(trained)), KerasScorer(str(trained), load_config(str(trained)))
    assert isinstance(quick, LiteScorer)
    for track in music.of("test"):
        np.testing.assert_allclose(probabilities(quick, track.path), probabilities(whole, track.path), atol=1e-4)


def test_its_export_gives_the_probabilities_that_jax_gave(trained, music, tmp_path):
    out = tmp_path / "exported"
    assert fma.main(["export", str(trained), "--out", str(out)]) == 0
    exported = open_scorer(str(out))
    with np.load(trained / "predictions" / "test.npz") as arrays:
        expected = dict(zip(arrays["track_id"].tolist(), arrays["log_probabilities/yamnet"], strict=True))
    for track in music.of("test"):
        of_jax = exported.task.calibration.apply(expected[track.track_id][None])[0]
        np.testing.assert_allclose(probabilities(exported, track.path), of_jax, atol=1e-4)
    assert keras.config.backend() == "tensorflow"
