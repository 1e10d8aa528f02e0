"""Runs that give each track many genres: what they store, and who has no answer to them."""

import json
from dataclasses import replace

import numpy as np
import pytest

from tests.trainers.conftest import TREE
from tests.trainers.finished_runs import write_genre_run, write_run
from trainers.runs.directory import CONFIG, load_config, open_run
from trainers.runs.files import read_identity, write_identity
from trainers.runs.genre_facts import GENRES, read_genre_facts
from trainers.runs.genre_predictions import read_genre_predictions
from trainers.runs.predictions import collect_predictions, read_run_predictions
from transforms.errors import FmaError, UsageError


@pytest.fixture
def run(tmp_path) -> str:
    return write_genre_run(tmp_path / "many", TREE)


def test_its_config_has_the_tree_and_its_predictions_read_back(run):
    config = load_config(run)
    assert (config.many, config.labels, config.parents) == (True, list(TREE), TREE)
    assert config.taxonomy.line("Punk") == ("Punk", "Rock")
    found = read_genre_predictions(run)
    assert found.genres == list(TREE)
    assert found.truth.dtype == bool and found.truth.shape == found.probabilities["mel_cnn"].shape
    assert found.probabilities["mel_cnn"].dtype == np.float32
    predicted = found.probabilities["mel_cnn"] >= found.thresholds["mel_cnn"]
    np.testing.assert_array_equal(found.predicted("mel_cnn"), predicted)


def test_genres_json_has_thresholds_and_shares_and_a_damaged_one_is_noticed(run):
    facts, found = read_genre_facts(run), read_genre_predictions(run)
    np.testing.assert_array_equal(facts.prior, found.prior)
    np.testing.assert_array_equal(facts.thresholds["mel_cnn"], found.thresholds["mel_cnn"])
    path = f"{run}/{GENRES}"
    with open(path) as file:
        text = file.read()
    with open(path, "w") as file:
        file.write(text.replace("0.5", "0.4", 1))
    with pytest.raises(FmaError, match=r"genres\.json is damaged"):
        read_genre_facts(run)


def test_predictions_of_one_kind_are_not_taken_for_those_of_the_other(run, tmp_path):
    with pytest.raises(UsageError, match=r"gives each track many genres \(--labels all\)"):
        read_run_predictions(run)
    with pytest.raises(UsageError, match=r"gives each track one label \(--labels top\)"):
        read_genre_predictions(write_run(tmp_path / "one"))
    predictions, missing = collect_predictions([run], "test", 100)
    assert not predictions
    assert "many genres" in missing[0]


def test_a_run_does_not_carry_on_with_the_other_kind_of_labels(run):
    config = load_config(run)
    with pytest.raises(UsageError, match="labels are all, not top"):
        open_run(run, replace(config, parents=None, options={"width": 1.0}))
    with pytest.raises(UsageError, match="min-tracks is 20, not 5"):
        open_run(run, replace(config, options=config.options | {"min_tracks": 5}))


def test_a_run_of_format_2_has_one_label_for_each_track(tmp_path):
    run = write_run(tmp_path / "run")
    values = read_identity(run, CONFIG)
    del values["parents"]
    write_identity(run, CONFIG, values | {"format_version": 2})
    assert json.loads((tmp_path / "run" / CONFIG).read_text())["format_version"] == 2
    config = load_config(run)
    assert (config.many, config.parents) == (False, None)
    assert list(read_run_predictions(run)) == ["mel_cnn"]


@pytest.mark.parametrize("parents", [{"Rock": ""}, 3, {**TREE, "Rock": "Rock"}])
def test_parents_that_cannot_have_been_written_are_damage(run, parents):
    values = read_identity(run, CONFIG)
    write_identity(run, CONFIG, values | {"parents": parents})
    with pytest.raises(FmaError, match=r"config\.json is damaged"):
        load_config(run)
