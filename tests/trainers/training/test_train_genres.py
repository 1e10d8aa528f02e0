"""`fma train --labels all`: many genres for each track, along their tree."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

import fma
from tests.trainers.conftest import TREE
from tests.trainers.synthetic import write_dataset
from tests.trainers.training.test_resume import epochs, kill_at
from tests.trainers.training.test_train import weights
from trainers.evaluation.many_genres import sigmoid
from trainers.evaluation.multilabel import THRESHOLD, choose_thresholds
from trainers.runs.directory import load_config, read_metrics
from trainers.runs.genre_facts import read_genre_facts
from trainers.runs.genre_predictions import read_genre_predictions
from trainers.runs.state import load_state

pytestmark = pytest.mark.usefixtures("tiny_models")


def train(dataset: Path, run: Path, *options: str, model: str = "tiny", labels: str = "all") -> int:
    words = ["train", model, "--data", str(dataset), "--run", str(run), "--device", "cpu", "--labels", labels]
    return fma.main([*words, *options])


def learn(dataset: Path, run: Path, model: str, *options: str) -> Path:
    """Trains long enough for the pattern of each genre to be found."""
    epochs = {"tiny": "8", "two_phases": "2,8", "tiny_transfer": "8,4", "tiny_pooled": "12"}[model]
    words = ["--epochs", epochs, "--learning-rate", "0.05", "--min-tracks", "2", "--no-augment"]
    assert train(dataset, run, *words, *options, model=model) == 0
    return run


@pytest.fixture(scope="module")
def trained(tiny_models, several, tmp_path_factory) -> Path:
    return learn(several, tmp_path_factory.mktemp("genres") / "tiny", "tiny")


def check_tree(run: Path) -> None:
    """No genre of a finished run's predictions is above its parent, and the mean is far above the prior's."""
    config = load_config(str(run))
    assert config.parents is not None
    for split in ("validation", "test"):
        found = read_genre_predictions(str(run), split)
        (probabilities,) = found.probabilities.values()
        for name, parent in config.parents.items():
            if parent:
                child, above = (config.labels.index(genre) for genre in (name, parent))
                assert (probabilities[:, child] <= probabilities[:, above]).all()
        scores = read_metrics(str(run))[split]["per_track"]
        assert scores["map_macro"] > scores["prior"]["map_macro"] + 0.25


def test_a_run_beats_the_prior_by_far_and_keeps_the_tree(trained):
    check_tree(trained)
    config = load_config(str(trained))
    assert config.labels == list(TREE)
    assert config.parents == TREE
    assert (config.options["labels"], config.options["min_tracks"]) == ("all", 2)


@pytest.mark.long
@pytest.mark.parametrize("model", ["two_phases", "tiny_transfer", "tiny_pooled"])
def test_every_kind_of_model_and_of_phase_learns_many_genres(several, tmp_path, model):
    check_tree(learn(several, tmp_path / "run", model))


def test_a_run_has_what_other_programs_read(trained):
    history = (trained / "history.csv").read_text().splitlines()
    assert history[0] == "epoch,phase,learning_rate,loss,average_precision,val_loss,val_average_precision"
    assert len(history) == 9
    facts, validation = read_genre_facts(str(trained)), read_genre_predictions(str(trained), "validation")
    chosen = choose_thresholds(validation.probabilities["tiny"], validation.truth)
    np.testing.assert_array_equal(facts.thresholds["tiny"], chosen)
    np.testing.assert_array_equal(read_genre_predictions(str(trained)).thresholds["tiny"], chosen)
    np.testing.assert_allclose(facts.prior, validation.prior)


def test_the_first_epoch_starts_at_the_prior(trained):
    prior = read_genre_facts(str(trained)).prior
    entropy = -(prior * np.log(prior) + (1 - prior) * np.log(1 - prior)).mean()
    assert load_state(str(trained)).history[0]["val_loss"] < 1.3 * entropy


@pytest.mark.long
def test_a_killed_run_ends_as_the_one_that_was_not_killed(several, tmp_path, monkeypatch):
    def run_it(name: str) -> int:
        return train(several, tmp_path / name, "--min-tracks", "2", model="tiny_transfer")

    assert run_it("whole") == 0
    kill_at(monkeypatch, "trainers.training.checkpoint.write", 4, lambda: run_it("killed"))
    assert epochs(tmp_path / "killed") == [1, 2, 3]
    assert run_it("killed") == 0
    for one, two in zip(weights(tmp_path / "whole"), weights(tmp_path / "killed"), strict=True):
        np.testing.assert_array_equal(one, two)
    assert read_metrics(str(tmp_path / "whole")) == read_metrics(str(tmp_path / "killed"))


@pytest.mark.long
def test_records_on_the_device_give_the_same_run(several, tmp_path):
    for cache in ("on", "device"):
        assert train(several, tmp_path / cache, "--min-tracks", "2", "--cache", cache) == 0
    assert read_metrics(str(tmp_path / "on")) == read_metrics(str(tmp_path / "device"))


def test_evaluate_gives_the_scores_of_the_training_again(trained, several, capsys):
    assert fma.main(["evaluate", str(trained), "--data", str(several), "--device", "cpu", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found == json.loads(json.dumps(read_metrics(str(trained))["test"]))
    assert set(found) == {"per_track", "labels", "left_out"}
    assert {"map_macro", "map_micro", "roc_auc_macro", "interval", "per_genre"} <= set(found["per_track"])


def test_another_dataset_is_scored_on_the_genres_that_both_know(trained, tmp_path, capsys):
    tree = {"Punk": "Rock", "Rock": "", "Klezmer": ""}
    write_dataset(tmp_path / "other", ("mel",), tracks={"test": 12}, tree=tree)
    assert fma.main(["evaluate", str(trained), "--data", str(tmp_path / "other"), "--device", "cpu"]) == 0
    said = capsys.readouterr().out
    assert "left out of test, since the model does not know the genre: 8 Klezmer" in said
    assert "  Punk" in said
    (stored,) = (trained / "evaluations").iterdir()
    assert json.loads(stored.read_text())["per_track"]["left_out"] == ["Metal", "Electronic", "House", "Techno"]


@pytest.mark.long
def test_rare_genres_are_left_out_and_named(several, tmp_path, capsys):
    assert train(several, tmp_path / "run", "--min-tracks", "20") == 0
    assert load_config(str(tmp_path / "run")).labels == ["Rock", "Electronic"]
    said = capsys.readouterr().out
    assert "left out of test, since the model does not know the genre: " in said
    assert all(name in said for name in ("Punk", "Metal", "House", "Techno"))


@pytest.mark.long
def test_without_a_validation_split_thresholds_are_a_half(tmp_path):
    write_dataset(tmp_path / "data", ("mel",), tracks={"training": 12, "test": 6}, tree=TREE)
    assert fma.main(["statistics", str(tmp_path / "data")]) == 0
    assert train(tmp_path / "data", tmp_path / "run", "--min-tracks", "2") == 0
    assert (read_genre_facts(str(tmp_path / "run")).thresholds["tiny"] == THRESHOLD).all()


@pytest.mark.parametrize(
    ("options", "labels", "said"),
    [
        (("--min-tracks", "9"), "top", "--min-tracks chooses genres for --labels all"),
        (("--label-smoothing", "0.1"), "all", "--label-smoothing is for one label a track"),
        (("--min-tracks", "1000"), "all", "no genre of .* has 1,000 training tracks"),
    ],
)
def test_what_does_not_fit_is_one_line(several, capsys, options, labels, said):
    assert train(several, several.parent / "never", *options, labels=labels) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert re.search(said, line)


def test_a_run_of_one_label_is_not_carried_on_with_many(several, tmp_path, capsys):
    assert train(several, tmp_path / "run", labels="top") == 0
    assert train(several, tmp_path / "run", "--min-tracks", "2") == 2
    assert "labels are top, not all" in capsys.readouterr().err


def test_probabilities_rise_with_their_logits():
    logits = np.sort(np.random.default_rng(0).normal(0, 20, (5000, 1)).astype(np.float32), axis=0)
    assert (np.diff(sigmoid(logits), axis=0) >= 0).all()
    assert sigmoid(np.float32([[-1000, 0, 1000]])).tolist() == [[0, 0.5, 1]]
