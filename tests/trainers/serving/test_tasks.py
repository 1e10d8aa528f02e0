"""What follows from a model's logits where a track has many genres: along the tree, and at thresholds of their own."""

import numpy as np
import pytest

from trainers.evaluation.calibration import Calibration
from trainers.serving.answers import Answer, tables
from trainers.serving.tasks import UNSURE, ManyGenres, OneLabel, read_task
from transforms.errors import FmaError
from transforms.runtime.console import format_table

PARENTS = {"Electronic": "", "House": "Electronic", "Punk": "Rock", "Rock": "", "Hardcore": "Punk", "Jazz": ""}
TASK = ManyGenres(list(PARENTS), PARENTS, [0.5, 0.4, 0.3, 0.9, 0.5, 0.5], fitted=True)
SONG = np.array([0.2, 0.1, 0.35, 0.6, 0.05, 0.3])  # Punk alone reaches its threshold


def answer(probabilities: np.ndarray = SONG, *, silent: bool = False) -> Answer:
    none = np.empty((0, 0))
    return Answer(TASK, probabilities, probabilities[None], 2.0, 2.0, 65.0, silent, none, none, 0.0)


def test_a_songs_probability_is_the_mean_over_its_windows():
    logits = np.log([[0.9 / 0.1] * 6, [0.2 / 0.8] * 6])
    np.testing.assert_allclose(TASK.of_windows(logits)[:, 0], [0.9, 0.2])
    np.testing.assert_allclose(TASK.of_song(logits), 0.55)
    with pytest.raises(FmaError, match="not a number"):
        TASK.of_song(np.full((1, 6), np.nan))


def test_a_genre_is_predicted_from_its_own_threshold_on_and_so_are_those_above_it():
    assert TASK.predicted(SONG, unsure=False).tolist() == [False, False, True, True, False, False]
    assert TASK.verdicts(SONG, unsure=False) == ["Punk", "Rock"]
    assert TASK.predicted(np.array(TASK.thresholds), unsure=False).all()


def test_one_threshold_can_take_the_place_of_all():
    assert TASK.at(0.6).verdicts(SONG, unsure=False) == ["Rock"]
    assert TASK.at(0.99).verdicts(SONG, unsure=False) == [UNSURE]


def test_silence_has_no_genre():
    assert TASK.verdicts(np.ones(6), unsure=True) == [UNSURE]
    assert not any(genre["predicted"] for genre in answer(np.ones(6), silent=True).to_json()["genres"])


def test_the_json_has_every_genre_after_its_parent_and_the_likeliest_first():
    assert answer().to_json() == {
        "labels": "all",
        "genres": [
            {"genre": "Rock", "parent": "", "probability": 0.6, "threshold": 0.9, "predicted": True},
            {"genre": "Punk", "parent": "Rock", "probability": 0.35, "threshold": 0.3, "predicted": True},
            {"genre": "Hardcore", "parent": "Punk", "probability": 0.05, "threshold": 0.5, "predicted": False},
            {"genre": "Jazz", "parent": "", "probability": 0.3, "threshold": 0.5, "predicted": False},
            {"genre": "Electronic", "parent": "", "probability": 0.2, "threshold": 0.5, "predicted": False},
            {"genre": "House", "parent": "Electronic", "probability": 0.1, "threshold": 0.4, "predicted": False},
        ],
        "seconds": 65.0,
        "windows": 1,
        "silent": False,
    }


def test_people_see_a_tree_of_what_is_predicted_and_of_the_next_most_likely():
    (found,) = tables([("song.mp3", answer())])
    assert format_table(*found).splitlines() == [
        "song.mp3, 1 min 5 s",
        "genre       probability  threshold  predicted",
        "----------  -----------  ---------  ---------",
        "Rock               0.60       0.90  yes",
        "  Punk             0.35       0.30  yes",
        "Jazz               0.30       0.50",
        "Electronic         0.20       0.50",
        "  House            0.10       0.40",
    ]


def test_what_is_above_a_genre_is_shown_with_it():
    shown = TASK.shown(np.array([0, 0, 0, 0, 0.6, 0]), 0)
    assert [(TASK.labels[at], depth) for at, depth in shown] == [("Rock", 0), ("Punk", 1), ("Hardcore", 2)]


def test_silence_is_a_line():
    ((title, _, rows),) = tables([("song.mp3", answer(silent=True))])
    assert (title, rows) == ("song.mp3, 1 min 5 s: digital silence", [])


@pytest.mark.parametrize("task", [TASK, OneLabel(["Folk", "Rock"], Calibration(1.5, fitted=True))])
def test_a_task_is_the_same_after_it_was_stored(task):
    assert read_task(task.to_json() | {"model": "mel_cnn"}) == task


def test_the_task_of_a_bundle_of_earlier_versions_is_one_label():
    assert read_task({"labels": ["Folk"]}) == OneLabel(["Folk"], Calibration(1.0, fitted=True))
