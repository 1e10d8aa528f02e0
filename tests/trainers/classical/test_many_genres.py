import argparse
import json
from pathlib import Path

import numpy as np
import pytest

import fma
from tests.trainers.synthetic import write_dataset
from trainers.classical.finished import evaluate_baselines
from trainers.commands import baselines
from trainers.runs.directory import load_config, read_metrics
from trainers.runs.genre_predictions import read_genre_predictions
from transforms.errors import UsageError

TREE = {"Folk": "", "Rock": "", "Indie": "Rock", "Punk": "Rock"}
TRACKS = {"training": 60, "validation": 18, "test": 18}


def run_command(*words: str) -> int:
    parser = argparse.ArgumentParser()
    baselines.add_arguments(parser)
    return baselines.run(parser.parse_args([*words, "--labels", "all", "--min-tracks", "5", "--jobs", "1"]))


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> str:
    folder = tmp_path_factory.mktemp("data") / "dataset"
    write_dataset(folder, ("stats",), tracks=TRACKS, tree=TREE)
    return str(folder)


@pytest.fixture(scope="module")
def finished(dataset, tmp_path_factory) -> str:
    run = str(tmp_path_factory.mktemp("runs") / "run")
    assert run_command("--data", dataset, "--run", run) == 0
    return run


def test_all_models_beat_the_prior_by_far(finished):
    found = read_metrics(finished)["models"]
    assert list(found) == ["logreg", "knn", "gnb", "svm_linear"]
    for name, entry in found.items():
        assert entry["per_track"]["map_macro"] > 0.25 + entry["per_track"]["prior"]["map_macro"], name
        (fit,) = entry["fits"]
        assert fit["rows"] == 60 and fit["validation"]["map_macro"] > 0.5


def test_a_child_is_never_more_likely_than_its_parent(finished):
    found, config = read_genre_predictions(finished), load_config(finished)
    assert config.many and config.parents == {name: TREE[name] for name in config.labels}
    for values in found.probabilities.values():
        for child, parent in TREE.items():
            if parent:
                assert (values[:, found.genres.index(child)] <= values[:, found.genres.index(parent)]).all()


def test_evaluating_such_a_run_again_gives_the_same_numbers(finished, dataset):
    again, predictions = evaluate_baselines(finished, dataset, "test")
    kept = read_genre_predictions(finished)
    for name, entry in read_metrics(finished)["models"].items():
        for metric in ("map_macro", "f1_macro", "calibration_error", "tracks"):
            assert again["models"][name]["per_track"][metric] == pytest.approx(entry["per_track"][metric], rel=1e-5)
        np.testing.assert_allclose(predictions.probabilities[name], kept.probabilities[name], rtol=1e-4, atol=1e-6)
    assert again["left_out"] == {}


def test_fma_evaluate_scores_such_a_run_on_another_split(finished, dataset, capsys):
    assert fma.main(["evaluate", finished, "--data", dataset, "--split", "validation"]) == 0
    out = capsys.readouterr().out
    assert "average precision by track, validation split" in out and "svm_linear" in out


def test_another_dataset_is_scored_by_genre_name_and_says_what_is_left_out(finished, tmp_path):
    write_dataset(tmp_path / "d", ("stats",), tracks={"test": 6}, tree={"Jazz": "", "Rock": "", "Punk": "Rock"})
    found, predictions = evaluate_baselines(finished, str(tmp_path / "d"), "test")
    assert set(found["left_out"]) == {"Jazz"} and len(predictions.track_id) == 6


def test_chosen_models_are_those_with_the_best_validation_score(finished):
    lines = (Path(finished) / "search.csv").read_text().splitlines()
    scores = {name: [] for name in read_metrics(finished)["models"]}
    for line in lines[1:]:
        name, rest = line.split(",", 1)
        scores[name].append(tuple(map(float, rest.rsplit(",", 2)[1:])))
    for found in scores.values():
        assert sum(chosen for _, chosen in found) == 1
        assert max(found)[0] == next(score for score, chosen in found if chosen)


def test_without_a_validation_split_artists_are_held_out(tmp_path, capsys):
    data, run = str(tmp_path / "d"), str(tmp_path / "run")
    write_dataset(data, ("stats",), tracks={"training": 60, "test": 12}, tree=TREE)
    assert run_command("--data", data, "--run", run, "--models", "gnb") == 0
    assert "a fifth of the training artists is held out" in capsys.readouterr().err
    assert read_metrics(run)["models"]["gnb"]["fits"][0]["rows"] == 60


def test_the_chosen_model_can_be_fitted_on_validation_too(dataset, tmp_path):
    run = str(tmp_path / "run")
    words = ["--data", dataset, "--run", run, "--models", "gnb,logreg", "--refit", "train+val"]
    assert run_command(*words, "--features-group", "mfcc", "mfcc+contrast") == 0
    found = read_metrics(run)["models"]
    assert list(found) == ["gnb@mfcc", "logreg@mfcc", "gnb@mfcc+contrast", "logreg@mfcc+contrast"]
    assert {entry["fits"][0]["rows"] for entry in found.values()} == {78}


def test_the_same_settings_again_do_nothing_and_one_label_is_another_run(finished, dataset, capsys):
    before = (Path(finished) / "metrics.json").read_bytes()
    assert run_command("--data", dataset, "--run", finished) == 0
    assert "nothing to do" in capsys.readouterr().err and (Path(finished) / "metrics.json").read_bytes() == before
    with pytest.raises(UsageError, match="labels are all, not top"):
        fma_one_label(dataset, finished)


def fma_one_label(dataset: str, run: str) -> None:
    parser = argparse.ArgumentParser()
    baselines.add_arguments(parser)
    baselines.run(parser.parse_args(["--data", dataset, "--run", run]))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--models", "svm"], "choose some of logreg, knn, gnb, svm_linear"),
        (["--svm-rows", "5"], "--svm-rows is for --labels top"),
        (["--min-tracks", "500"], "no genre has 500 training tracks; give a lower --min-tracks"),
    ],
)
def test_what_does_not_fit_many_genres_is_refused(words, message, dataset, tmp_path):
    parser = argparse.ArgumentParser()
    baselines.add_arguments(parser)
    given = ["--data", dataset, "--run", str(tmp_path / "run"), "--labels", "all", "--jobs", "1", *words]
    with pytest.raises(UsageError, match=message):
        baselines.run(parser.parse_args(given))
    assert not (tmp_path / "run").exists()


def test_fma_s_own_table_is_read_with_all_genres_and_their_ancestors(tmp_path):
    groups = ["set", "set", "track", "track", "artist", "album", "track", "track", "track"]
    names = ["split", "subset", "genre_top", "genres", "name", "title", "duration", "license", "title"]
    rows, features = [], []
    rng = np.random.default_rng(0)
    for i in range(10, 90):
        split = ("training", "training", "training", "validation", "test")[i % 5]
        ids = [[1], [3], [1, 3], []][i // 5 % 4]
        rows.append(f'{i},{split},large,,"{ids}",artist {i},,30,,\n')
        values = rng.standard_normal(8) + 3 * np.isin(np.arange(8) % 2, [one // 2 for one in ids])
        features.append(",".join(map(str, [i, *values])))
    header = "".join(",".join(["", *line]) + "\n" for line in (groups, names)) + "track_id,,,,,,,,,\n"
    columns = "acousticness,danceability,energy,instrumentalness,liveness,speechiness,tempo,valence"
    (tmp_path / "tracks.csv").write_text(header + "".join(rows))
    (tmp_path / "genres.csv").write_text("genre_id,parent,title\n1,0,Folk\n2,0,Rock\n3,2,Punk\n")
    (tmp_path / "echonest.csv").write_text(f"track_id,{columns}\n" + "\n".join(features) + "\n")
    run = str(tmp_path / "run")
    words = ["--features-csv", str(tmp_path / "echonest.csv"), "--subset", "large", "--run", run]
    assert run_command(*words, "--models", "gnb") == 0
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["parents"] == {"Folk": "", "Punk": "Rock", "Rock": ""}
    found = read_genre_predictions(run)
    assert len(found.track_id) == 12  # the tracks without a genre are left out
    assert (found.truth[:, 1] == found.truth[:, 2]).all()  # Punk and the Rock above it
    assert read_metrics(run)["models"]["gnb"]["per_track"]["map_macro"] > 0.8
