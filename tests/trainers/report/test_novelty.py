"""Doubt in the report: the test tracks that are unlike what a model was trained on."""

from dataclasses import replace

import numpy as np

from tests.trainers.finished_runs import GENRES, write_genre_run, write_run
from tests.trainers.report.test_report import Parsed, report
from trainers.runs.genre_predictions import read_genre_predictions, write_genre_predictions
from trainers.runs.predictions import read_predictions, write_predictions

TITLE = "Tracks unlike the music that a model was trained on"


def answers(predicted: list[int]) -> np.ndarray:
    """Log-probabilities of a model that is 80% sure of each answer."""
    return np.log(np.eye(len(GENRES), dtype=np.float32)[predicted] * 0.7 + 0.1)


def measured(run: str, **novelty: list[float]) -> str:
    """Writes how novel each test track is for a model; 1 is the limit."""
    found = {name: np.array(values, np.float32) for name, values in novelty.items()}
    write_predictions(run, "test", replace(read_predictions(run, "test"), novelty=found))
    return run


def test_tracks_beyond_the_limit_are_counted_scored_and_named(tmp_path):
    label = [0, 0, 0, 0, 1, 1, 1, 1]
    common = {"track_id": range(10, 18), "label": label}
    values = {"svm": answers([0, 0, 0, 1, 0, 1, 1, 0]), "gnb": answers([0, 0, 0, 1, 0, 1, 1, 1])}
    classical = write_run(tmp_path / "baselines", ("svm", "gnb"), values=values, **common)
    plain = Parsed(report(tmp_path / "plain.html", classical)).text
    assert "unlike" not in plain
    measured(classical, svm=[0.2, 1.0, 1.2, 5.0, 0.9, 0.9, 0.9, 0.9])
    page = Parsed(report(tmp_path / "page.html", classical)).text
    assert TITLE in page
    assert "svm2 of 850.0%66.7%" in page, "the limit itself is not beyond it"
    assert "Without a limit: gnb." in page
    (remark,) = [line for line in page.split("track ") if "unlike the music that svm learned from" in line]
    assert remark.startswith("13labelled Folk")


def test_a_model_that_knows_all_tracks_has_a_dash_and_only_common_tracks_count(tmp_path):
    deep = write_run(
        tmp_path / "cnn", track_id=range(10, 16), label=[0] * 6, values={"mel_cnn": answers([0] * 5 + [1])}
    )
    other = write_run(
        tmp_path / "svm", ("svm",), track_id=range(13, 18), label=[0] * 5, values={"svm": answers([0] * 3 + [1] * 2)}
    )
    measured(deep, mel_cnn=[3.0, 3.0, 3.0, 0.5, 0.5, 3.0])
    measured(other, svm=[0.5] * 3 + [2.0] * 2)
    page = Parsed(report(tmp_path / "page.html", deep, other)).text
    assert "mel_cnn1 of 30.0%100.0%" in page
    assert "svm0 of 3–100.0%" in page
    assert "Without a limit" not in page


def test_models_with_many_genres_have_a_count_and_their_tracks_a_remark(tmp_path):
    run = write_genre_run(tmp_path / "run", {"Rock": "", "Punk": "Rock", "Jazz": ""}, track_id=range(12))
    assert "unlike" not in Parsed(report(tmp_path / "plain.html", run)).text
    found = read_genre_predictions(run)
    write_genre_predictions(run, "test", replace(found, novelty={"mel_cnn": np.linspace(0.5, 1.5, 12)}))
    page = Parsed(report(tmp_path / "page.html", run)).text
    assert TITLE in page
    assert "mel_cnn6 of 12" in page
    assert "; unlike the music that mel_cnn learned from" in page
