"""What is said of a song unlike all that a run was trained on, and that nothing is said where the run does not know."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

import fma
from tests.trainers.synthetic import write_dataset
from trainers.classical.features import read_features
from trainers.runs.novelty import FOLDER, UNLIKE
from trainers.runs.predictions import read_predictions, read_run_predictions, write_predictions
from trainers.serving.scorers import open_scorer
from transforms.dataset.manifest import load

TRACKS = {"training": 40, "validation": 12, "test": 12}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> str:
    folder = str(tmp_path_factory.mktemp("doubt") / "dataset")
    write_dataset(folder, ("stats",), ("Folk", "Rock"), TRACKS)
    return folder


@pytest.fixture(scope="module")
def run(dataset, tmp_path_factory) -> str:
    folder = str(tmp_path_factory.mktemp("doubt") / "run")
    words = ["--models", "logreg,gnb", "--jobs", "1"]
    assert fma.main(["baselines", "--data", dataset, "--run", folder, *words]) == 0
    return folder


@pytest.fixture(scope="module")
def sine(tmp_path_factory) -> str:
    path = str(tmp_path_factory.mktemp("doubt") / "sine.wav")
    soundfile.write(path, 0.5 * np.sin(2 * np.pi * 440 / 22_050 * np.arange(7 * 22_050)), 22_050)
    return path


@pytest.fixture
def said(capsys):
    def run(*words: str) -> str:
        capsys.readouterr()
        assert fma.main(list(words)) == 0
        return capsys.readouterr().out

    return run


def test_a_sine_has_no_verdict_and_a_listener_reads_why(run, sine, said):
    (answer,) = json.loads(said("predict", run, sine, "--json"))
    assert answer["unlike_training"] and answer["novelty"] > 1
    assert answer["verdict"] == "unsure" and len(answer["genres"]) == 2
    assert f"unsure   {UNLIKE} (" in said("predict", run, sine)


def test_a_track_is_as_novel_for_predict_as_in_the_predictions_and_in_explain(run, dataset, said):
    table = read_features(dataset, load(dataset), splits=("test",))
    scorer = open_scorer(run, "gnb")
    found = read_run_predictions(run)["gnb"]
    novelty = [scorer.song(np.empty((1, 0)), {"stats": row.astype(np.float64)})[2] for row in table.values]
    np.testing.assert_allclose(novelty, found.novelty, rtol=1e-5)
    explained = json.loads(said("explain", dataset, str(table.track_ids[0]), "--runs", run, "--json"))
    of_models = {one["model"]: one for one in explained["predictions"]}
    assert of_models["gnb"]["novelty"] == pytest.approx(novelty[0], abs=1e-4)
    assert of_models["gnb"]["unlike_training"] is (novelty[0] > 1)
    said("evaluate", run, "--data", dataset)
    np.testing.assert_allclose(read_run_predictions(run)["gnb"].novelty, found.novelty, rtol=1e-5)


def test_explain_says_of_a_track_with_foreign_features_that_it_is_unlike_the_music(run, dataset, said, tmp_path):
    own = str(shutil.copytree(run, tmp_path / "run"))
    found = read_predictions(own, "test")
    write_predictions(own, "test", replace(found, novelty={"gnb": np.full(len(found.label), 2.5, np.float32)}))
    lines = said("explain", dataset, str(found.track_id[0]), "--runs", own).splitlines()
    (gnb,), (logreg,) = ([line for line in lines if f"{own}  {name}" in line] for name in ("gnb", "logreg"))
    assert gnb.endswith(f"; {UNLIKE}") and UNLIKE not in logreg


def test_a_run_of_an_earlier_version_says_nothing(run, dataset, sine, said, tmp_path):
    own = str(shutil.copytree(run, tmp_path / "run"))
    shutil.rmtree(Path(own) / FOLDER)
    said("evaluate", own, "--data", dataset)
    (answer,) = json.loads(said("predict", own, sine, "--json"))
    assert "novelty" not in answer and "unlike_training" not in answer
    assert UNLIKE not in said("predict", own, sine)
    track_id = read_run_predictions(own)["gnb"].track_id[0]
    assert UNLIKE not in said("explain", dataset, str(track_id), "--runs", own)


def test_with_many_genres_none_is_predicted_for_such_a_song_and_the_title_says_why(several, sine, said, tmp_path):
    run = str(tmp_path / "run")
    words = ["--labels", "all", "--min-tracks", "5", "--models", "gnb"]
    said("baselines", "--data", str(several), "--run", run, *words)
    (answer,) = json.loads(said("predict", run, sine, "--json"))
    assert answer["unlike_training"] and not any(genre["predicted"] for genre in answer["genres"])
    assert said("predict", run, sine).startswith(f"{sine}, 7.0 s: {UNLIKE}\n")
    table = said("explain", str(several), str(load_test_track(several)), "--runs", run, "--json")
    (tree,) = json.loads(table)["predictions"]
    assert tree["unlike_training"] is (tree["novelty"] > 1)


def load_test_track(dataset: Path) -> int:
    from transforms.dataset.ledger import read_tracks

    tracks = read_tracks(str(dataset), load(str(dataset)))
    return next(track.track_id for track in tracks if track.split == "test" and track.genres)


def test_silence_is_called_silence_whatever_else_is_known(run, said, tmp_path):
    path = str(tmp_path / "silence.wav")
    soundfile.write(path, np.zeros(7 * 22_050), 22_050)
    text = said("predict", run, path)
    assert "digital silence" in text and UNLIKE not in text
