"""A fusion on embeddings of raw and of mel windows: what it answers for a song is what it was scored by."""

import json
import shutil

import numpy as np
import pytest
from scipy.special import log_softmax

import fma
from tests.encoders import write_encoder
from trainers.classical.fusion import fit_fusion
from trainers.runs.predictions import read_run_predictions
from trainers.serving.lite import open_export
from transforms.dataset.manifest import load


@pytest.fixture(scope="module")
def files(music, tmp_path_factory) -> list[str]:
    folder = tmp_path_factory.mktemp("encoders")
    config = music.manifest.config
    return [str(write_encoder(folder / name, config, name, reads=name[4:])) for name in ("tinyraw", "tinymel")]


@pytest.fixture(scope="module")
def run(music, files, tmp_path_factory) -> str:
    folder = tmp_path_factory.mktemp("fusion")
    dataset, run = str(folder / "dataset"), str(folder / "run")
    shutil.copytree(music.dataset, dataset)
    for file in files:
        assert fma.main(["embed", dataset, "--encoder", file]) == 0
    features = "embedding/tinyraw,embedding/tinymel"
    words = ["--features", features, "--models", "fusion,gnb", "--jobs", "1"]
    assert fma.main(["baselines", "--data", dataset, "--run", run, *words]) == 0
    assert list(load(dataset).encoders) == ["tinyraw", "tinymel"]
    return run


@pytest.mark.parametrize("genres", [2, 3])
def test_in_a_graph_it_computes_what_its_pipeline_does_columns_that_it_leaves_out_included(genres):
    from trainers.serving.linear_network import Linear

    rng = np.random.default_rng(0)
    labels = np.arange(60) % genres
    values = (rng.standard_normal((60, 6)) + labels[:, None] + 5).astype(np.float32)
    pipeline = fit_fusion({"one": np.array([4, 1]), "other": np.array([1, 2, 5])}, 10.0, values, labels)
    wide = np.concatenate([np.zeros((60, 2), np.float32), values], axis=1)  # the run's columns are the last six
    found = Linear.of(pipeline, np.arange(2, 8), genres, 2.0).logits(wide).numpy()
    expected = log_softmax(pipeline.predict_log_proba(values) / 2.0, axis=1)
    np.testing.assert_allclose(log_softmax(found, axis=1), expected, atol=1e-4)


def predict(run, song, files, capsys, *words) -> dict[str, float]:
    capsys.readouterr()
    encoders = [word for file in files for word in ("--encoder", file)]
    assert fma.main(["predict", run, song.path, "--json", *encoders, *words]) == 0
    (answer,) = json.loads(capsys.readouterr().out)
    return {genre["genre"]: genre["probability"] for genre in answer["genres"]}


@pytest.mark.long
@pytest.mark.parametrize("model", ["fusion", "gnb"])
def test_a_song_gets_the_probabilities_that_it_was_scored_by(music, run, files, capsys, model):
    song = music.of("test")[0]
    found = read_run_predictions(run)[model]
    expected = np.exp(found.log_probabilities[found.track_id.tolist().index(song.track_id)])
    answer = predict(run, song, files, capsys, "--model", model)
    np.testing.assert_allclose([answer[genre] for genre in found.genres], expected, atol=1e-3)


@pytest.mark.long
def test_its_export_answers_alike_without_the_encoders(music, run, files, tmp_path, capsys):
    encoders = [word for file in files for word in ("--encoder", file)]
    assert fma.main(["export", run, "--model", "fusion", "--out", str(tmp_path / "out"), *encoders]) == 0
    assert open_export(str(tmp_path / "out")).kinds == ("raw", "mel")
    song = music.of("test")[0]
    answer = predict(str(tmp_path / "out"), song, (), capsys)
    expected = predict(run, song, files, capsys, "--model", "fusion")
    np.testing.assert_allclose([answer[genre] for genre in expected], list(expected.values()), atol=1e-3)


@pytest.mark.long
def test_an_encoder_that_is_not_here_is_asked_for(music, run, files, capsys):
    assert fma.main(["predict", run, music.of("test")[0].path, "--encoder", files[0]]) == 2
    assert "was fitted on embeddings of tinymel" in (err := capsys.readouterr().err) and "--encoder FILE" in err
