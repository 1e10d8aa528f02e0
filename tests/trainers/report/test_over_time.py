"""How a model's answer changes over a track: lines below the pictures of the tracks that have a card."""

import re
import shutil
from dataclasses import replace

import keras
import numpy as np
import pytest

from tests.trainers.finished_runs import write_run
from tests.trainers.report.test_report import Parsed, report
from tests.trainers.synthetic import CONFIG, write_dataset
from trainers.report.collect import compare, read_runs
from trainers.report.over_time import HEIGHT, MARGIN, MOST_STEPS, WIDTH, OverTime, draw_over_time
from trainers.report.thumbnails import read_windows
from trainers.runs.predictions import RunPredictions, read_predictions, write_predictions
from transforms.dataset.manifest import load

GENRES = ("Folk", "Rock")


@pytest.fixture(scope="module")
def wrong(finished, tmp_path_factory) -> str:
    """The finished run, as if it had been wrong about every test track."""
    run = str(shutil.copytree(finished, tmp_path_factory.mktemp("wrong") / "run"))
    found = read_predictions(run, "test")
    values = np.log([[0.9, 0.1], [0.1, 0.9]])[1 - found.label].astype(np.float32)
    write_predictions(run, "test", replace(found, log_probabilities={"tiny": values}))
    return run


def shares(strip: str, tone: str) -> np.ndarray:
    """The probabilities that a line of a strip shows, by window."""
    (points,) = re.findall(rf'<polyline points="([^"]+)" class="{tone}"/>', strip)
    x, y = np.array([point.split(",") for point in points.split()], float).T
    assert x[0] == 0 and x[-1] == WIDTH
    np.testing.assert_array_equal(y[::2], y[1::2])
    return (HEIGHT - MARGIN - y[::2]) / (HEIGHT - 2 * MARGIN)


def draw(run: str, dataset) -> OverTime:
    """What there is to show of all test tracks."""
    comparison = compare(read_runs([run])[0])
    return draw_over_time(comparison, str(dataset), load(str(dataset)), comparison.track_id.tolist())


def test_lines_show_what_the_model_finds_in_each_window(wrong, dataset):
    network = keras.models.load_model(f"{wrong}/model.keras")
    found, strips = read_predictions(wrong, "test"), draw(wrong, dataset).strips
    assert set(strips) == set(found.track_id.tolist())
    for track_id, label in zip(found.track_id.tolist(), found.label.tolist(), strict=True):
        windows = [one for _, one in read_windows(str(dataset), load(str(dataset)), "mel", {track_id}, title="windows")]
        assert len(windows) == 2
        probabilities = keras.ops.convert_to_numpy(keras.ops.softmax(network(np.stack(windows), training=False)))
        for tone, genre in (("labelled", label), ("answered", 1 - label)):
            np.testing.assert_allclose(shares(strips[track_id], tone), probabilities[:, genre], atol=0.01)
        (said,) = (value for key, value in Parsed(strips[track_id]).attributes if key == "aria-label")
        assert said.startswith("tiny over 2 windows: ")
        for genre, values in zip(GENRES, probabilities.T, strict=True):
            (numbers,) = re.findall(rf"{genre} ([\d.]+)% to ([\d.]+)%, mean ([\d.]+)%", said)
            expected = 100 * values.min(), 100 * values.max(), 100 * values.mean()
            assert list(map(float, numbers)) == pytest.approx(expected, abs=0.2)


def test_each_card_has_its_lines_and_the_page_says_once_what_they_are(wrong, dataset, tmp_path):
    text = report(tmp_path / "r.html", wrong)
    cards = re.findall(r'<ul class="tracks">.*?</ul>', text)
    assert sum(card.count("<li>") for card in cards) == text.count('class="plot strip"') == 6
    page = Parsed(text)
    assert not page.open
    assert page.text.count("follow tiny through the track") == 1
    assert report(tmp_path / "again.html", wrong) == text


def test_a_long_track_has_a_short_line(wrong, tmp_path):
    windows = 3 * MOST_STEPS
    data = str(tmp_path / "data")
    write_dataset(data, ("mel",), GENRES, {"training": 1, "test": 1}, windows=windows)
    run = shutil.copytree(wrong, tmp_path / "run")
    values = {"tiny": np.log(np.array([[0.2, 0.8]], np.float32))}
    write_predictions(
        str(run), "test", RunPredictions(np.array([2]), np.array([0]), list(GENRES), values, np.zeros(1, int))
    )
    (strip,) = draw(str(run), data).strips.values()
    assert len(shares(strip, "labelled")) == MOST_STEPS
    assert f"over {windows} windows" in strip


def test_runs_without_a_network_and_records_that_it_does_not_take_have_no_lines(wrong, dataset, tmp_path):
    found, tracks = read_predictions(wrong, "test"), {"training": 16, "validation": 6, "test": 6}
    classical = write_run(tmp_path / "svm", ("svm", "gnb"), genres=GENRES, track_id=found.track_id, label=found.label)
    assert draw(classical, dataset) == OverTime()
    write_dataset(tmp_path / "raw", ("raw",), GENRES, tracks)
    write_dataset(tmp_path / "other", ("mel",), GENRES, tracks, config=replace(CONFIG, n_mels=16))
    for data in (tmp_path / "raw", tmp_path / "other"):
        assert draw(wrong, data) == OverTime()
