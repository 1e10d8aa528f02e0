"""The last layer of models that give a track many genres: the prior, and the tree."""

import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

from tests.marks import long_but
from tests.trainers.small_models import CLASSES, batch_of, build, fake_yamnet
from trainers.evaluation.multilabel import ancestors, keep_consistent
from trainers.models import MODELS
from trainers.models.genre_output import GenreOutput, add_genre_output, find_below
from trainers.models.keras_file import load_keras_file
from trainers.models.spec import head_of
from transforms.taxonomy import Taxonomy

NAMES = ["Rock", "Punk", "Oi", "Folk"]
PARENTS = [-1, 0, 1, -1]
TREE = Taxonomy({"Rock": "", "Punk": "Rock", "Oi": "Punk", "Folk": ""})
LOGITS = np.random.default_rng(0).standard_normal((50, 4)).astype(np.float32) * 5
SHARE = np.array([0.5, 0.25, 0.0, 1.0])


@pytest.fixture(scope="session")
def yamnet_file(tmp_path_factory):
    return fake_yamnet(tmp_path_factory.mktemp("weights") / "yamnet.keras")


def test_in_inference_no_genre_is_below_one_of_its_own_tree():
    found = np.asarray(GenreOutput(PARENTS)(LOGITS))
    np.testing.assert_array_equal(found, keep_consistent(LOGITS, ancestors(NAMES, TREE)))
    assert (found[:, 0] >= found[:, 1]).all()
    assert (found[:, 1] >= found[:, 2]).all()
    assert (found != LOGITS).any()


def test_in_training_each_genre_is_a_question_of_its_own():
    np.testing.assert_array_equal(GenreOutput(PARENTS)(LOGITS, training=True), LOGITS)


def test_scores_of_0_give_the_share_of_the_training_tracks():
    layer = GenreOutput([-1, -1, -1, -1])
    layer.build((None, 4))
    layer.set_prior(SHARE, 100)
    found = keras.ops.sigmoid(layer(np.zeros((1, 4), np.float32)))
    np.testing.assert_allclose(found, [[0.5, 0.25, 0.005, 0.995]], rtol=1e-5)


def test_a_genre_is_listed_with_all_that_are_below_it():
    assert find_below(PARENTS).tolist() == [[0, 1, 2], [1, 2, 1], [2, 2, 2], [3, 3, 3]]
    assert find_below([-1, -1]).tolist() == [[0], [1]]


@pytest.mark.parametrize("name", long_but("mel_cnn", MODELS))
def test_every_model_can_end_with_it_and_is_saved_and_loaded(name, yamnet_file, tmp_path):
    scores = build(name, yamnet_file, {"many": True})
    model = add_genre_output(scores, [-1, 0, 1], np.array([0.5, 0.25, 0.1]), 100)
    values = batch_of(name)[0]
    found = np.asarray(model(values, training=False))
    assert model.name == scores.name
    assert found.shape == (8, CLASSES)
    assert (found[:, 0] >= found[:, 1]).all()
    assert (found[:, 1] >= found[:, 2]).all()
    prior = np.log(np.array([0.5, 0.25, 0.1]) / [0.5, 0.75, 0.9])
    expected = np.maximum.accumulate((np.asarray(scores(values, training=False)) + prior)[:, ::-1], axis=1)[:, ::-1]
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    model.save(tmp_path / "model.keras")
    np.testing.assert_array_equal(load_keras_file(str(tmp_path / "model.keras"))(values, training=False), found)


def test_a_transfer_models_head_ends_with_it(yamnet_file):
    model = add_genre_output(build("yamnet", yamnet_file), [-1, 0, 0], np.array([0.5, 0.25, 0.1]), 100)
    head = head_of(model)
    found = np.asarray(head(np.ones((2, *head.input_shape[1:]), np.float32)))  # its kernel is 0 at first
    np.testing.assert_allclose(1 / (1 + np.exp(-found)), [[0.5, 0.25, 0.1]] * 2, rtol=1e-5)
    head.get_layer("standardise").set_from(np.ones((3, *head.input_shape[1:]), np.float32))


def test_a_model_of_crops_averages_the_logits_of_many_genres(yamnet_file):
    model, values = build("waveform_cnn", yamnet_file, {"many": True}), batch_of("waveform_cnn")[0]
    crops = model.get_layer("over_crops")
    logits = np.asarray(crops.network(crops.fixed_crops(values))).reshape(crops.crops, 8, CLASSES)
    np.testing.assert_allclose(model(values, training=False), logits.mean(axis=0), rtol=1e-5, atol=1e-6)
    assert "many" in crops.get_config()
    assert "many" not in build("waveform_cnn", yamnet_file).get_layer("over_crops").get_config()


@pytest.mark.long
def test_jax_gives_the_logits_of_tensorflow(tmp_path):
    model = add_genre_output(build("mel_cnn", Path()), [-1, 0, 1], np.array([0.5, 0.25, 0.1]), 100)
    model.save(tmp_path / "model.keras")
    values = batch_of("mel_cnn")[0]
    np.save(tmp_path / "model.keras.npy", values)
    command = [sys.executable, "-m", "tests.trainers.training.jax_runs", "1", "answer", str(tmp_path / "model.keras")]
    ran = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ, timeout=240)
    assert ran.returncode == 0, ran.stderr[-2000:]
    np.testing.assert_allclose(np.load(tmp_path / "model.keras.jax.npy"), model(values), rtol=1e-4, atol=1e-5)
