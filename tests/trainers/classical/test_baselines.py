import argparse
import json
import math
import re
from pathlib import Path

import numpy as np
import pytest

import fma
from tests.trainers.synthetic import write_dataset
from trainers.classical.features import read_features
from trainers.classical.finished import evaluate_baselines, load_finished
from trainers.classical.models import load_model
from trainers.commands import baselines
from trainers.evaluation.metrics import wilson
from trainers.runs.predictions import read_predictions
from transforms.dataset.manifest import load
from transforms.errors import FmaError, UsageError
from transforms.fma_statistics import COLUMNS

NAMES = tuple("/".join(column) for column in COLUMNS)
TRACKS = {"training": 40, "validation": 15, "test": 12}


def options(**changes) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    baselines.add_arguments(parser)
    words = [f"--{name.replace('_', '-')}={value}" for name, value in changes.items()]
    return parser.parse_args([*words, "--jobs=1"])


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> str:
    folder = tmp_path_factory.mktemp("data") / "dataset"
    write_dataset(folder, ("stats",), ("Folk", "Pop", "Rock"), TRACKS)
    return str(folder)


@pytest.fixture(scope="module")
def finished(dataset, tmp_path_factory) -> str:
    run = str(tmp_path_factory.mktemp("runs") / "run")
    assert baselines.run(options(data=dataset, run=run, models="logreg,knn,gnb,svm")) == 0
    return run


def metrics_of(run) -> dict:
    return json.loads((Path(run) / "metrics.json").read_text())["models"]


def test_stats_records_become_one_row_a_track_in_the_order_of_ids(dataset):
    table = read_features(dataset, load(dataset))
    assert table.values.shape == (67, 518) and table.values.dtype == np.float32
    assert table.track_ids.tolist() == list(range(1, 68))
    assert table.columns == NAMES
    assert [int((table.splits == split).sum()) for split in TRACKS] == list(TRACKS.values())
    assert table.artists[0] == "artist 1"


def test_a_split_can_be_read_alone(dataset):
    assert set(read_features(dataset, load(dataset), splits=("test",)).splits) == {"test"}


def test_a_dataset_without_stats_is_refused_with_the_way_out(tmp_path):
    write_dataset(tmp_path / "d", ("raw",))
    with pytest.raises(UsageError, match="--features stats"):
        read_features(str(tmp_path / "d"), load(str(tmp_path / "d")))


def test_a_missing_shard_is_named(tmp_path):
    manifest = write_dataset(tmp_path / "d", ("stats",))
    shard = tmp_path / "d" / manifest.shards("stats", "test")[0].path
    shard.unlink()
    with pytest.raises(FmaError, match=f"{shard.name} is missing: run fma verify"):
        read_features(str(tmp_path / "d"), manifest)


def test_models_learn_what_can_be_learned(finished):
    found = metrics_of(finished)
    assert list(found) == ["logreg", "knn", "gnb", "svm"]
    for name, entry in found.items():
        assert entry["per_track"]["accuracy"] >= 0.9, name
        assert entry["per_track"]["tracks"] == 12
        (fit,) = entry["fits"]
        assert 0 <= fit["validation"]["accuracy"] <= 1 and fit["rows"] == 40 and fit["folds"] == 1


def test_predictions_are_kept_for_the_comparison(finished):
    found = read_predictions(finished, "test")
    assert found.track_id.tolist() == list(range(56, 68)) and found.genres == ["Folk", "Pop", "Rock"]
    for name, entry in metrics_of(finished).items():
        right = found.log_probabilities[name].argmax(axis=1) == found.label
        assert math.isclose(right.mean(), entry["per_track"]["accuracy"])
        np.testing.assert_allclose(np.exp(found.log_probabilities[name]).sum(axis=1), 1, atol=1e-5)


def test_evaluating_a_run_again_gives_the_same_numbers(finished, dataset):
    again, predictions = evaluate_baselines(finished, dataset, "test")
    assert {name: entry["per_track"] for name, entry in metrics_of(finished).items()} == {
        name: entry["per_track"] for name, entry in again["models"].items()
    }
    kept = read_predictions(finished, "test")
    for name, values in predictions.log_probabilities.items():
        np.testing.assert_allclose(values, kept.log_probabilities[name], rtol=1e-5, atol=1e-5)
    assert evaluate_baselines(finished, dataset, "validation")[0]["models"]["svm"]["per_track"]["tracks"] == 15


def test_fma_evaluate_scores_a_baselines_run_and_leaves_its_metrics_alone(finished, dataset, capsys):
    before = (Path(finished) / "metrics.json").read_bytes()
    assert fma.main(["evaluate", finished, "--data", dataset, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["models"]
    assert found["gnb"]["per_track"]["accuracy"] == metrics_of(finished)["gnb"]["per_track"]["accuracy"]
    assert (Path(finished) / "metrics.json").read_bytes() == before


def test_one_accuracy_and_one_interval_everywhere(finished, dataset, tmp_path, capsys):
    found = metrics_of(finished)["gnb"]["per_track"]
    assert found["interval"] == list(wilson(round(12 * found["accuracy"]), 12))
    assert baselines.run(options(data=dataset, run=finished, models="logreg,knn,gnb,svm")) == 0
    assert fma.main(["evaluate", finished, "--data", dataset]) == 0
    said = capsys.readouterr().out
    interval = "{:.3f} to {:.3f}".format(*found["interval"])
    assert len(re.findall(rf"gnb +.*{found['accuracy']:.3f} +{interval} ", said)) == 2, "of baselines and of evaluate"
    assert fma.main(["report", finished, "--out", str(tmp_path / "r.html")]) == 0
    low, high = (100 * bound for bound in found["interval"])
    shown = rf"gnb +{100 * found['accuracy']:.1f}% +{low:.1f} to {high:.1f}%"
    assert re.search(shown, capsys.readouterr().out)
    assert f"{low:.1f} to {high:.1f}%" in (tmp_path / "r.html").read_text()


def test_another_dataset_is_scored_by_genre_name_and_says_what_is_left_out(finished, tmp_path):
    write_dataset(tmp_path / "d", ("stats",), ("Jazz", "Rock"), {"test": 6})
    found, _ = evaluate_baselines(finished, str(tmp_path / "d"), "test")
    assert found["left_out"] == {"Jazz": 3} and found["labels"] == ["Folk", "Pop", "Rock"]
    assert found["models"]["gnb"]["per_track"]["tracks"] == 3


def test_the_same_settings_again_do_nothing_and_say_so(finished, dataset, capsys):
    before = (Path(finished) / "metrics.json").stat().st_mtime_ns
    assert baselines.run(options(data=dataset, run=finished, models="logreg,knn,gnb,svm")) == 0
    out = capsys.readouterr()
    assert "nothing to do" in out.err and "logreg" in out.out
    assert (Path(finished) / "metrics.json").stat().st_mtime_ns == before


def test_other_settings_on_the_same_run_are_refused(finished, dataset):
    with pytest.raises(UsageError, match=r"models is logreg,knn,gnb,svm, not gnb.*another --run"):
        baselines.run(options(data=dataset, run=finished, models="gnb"))


def test_an_interrupted_run_is_done_again(dataset, tmp_path):
    run = str(tmp_path / "run")
    args = options(data=dataset, run=run, models="gnb", refit="train+val")
    assert baselines.run(args) == 0
    found = metrics_of(run)
    (tmp_path / "run" / "metrics.json").unlink()
    with pytest.raises(UsageError, match="not finished"):
        evaluate_baselines(run, dataset)
    assert baselines.run(args) == 0
    assert metrics_of(run) == found and found["gnb"]["fits"][0]["rows"] == 55


def test_a_few_validation_tracks_leave_the_choice_to_folds_by_artist_and_it_is_said(tmp_path, capsys):
    write_dataset(tmp_path / "d", ("stats",), ("Folk", "Rock"), {"training": 30, "validation": 6, "test": 10})
    assert baselines.run(options(data=tmp_path / "d", run=tmp_path / "run", models="gnb")) == 0
    said = capsys.readouterr()
    assert "genres with under 5 tracks in a split" in said.err and "--folds 5 scores on all tracks" in said.err
    assert "6 validation tracks, too few of some genre: hyper-parameters are chosen by cross-validation" in said.err
    assert re.search(r"gnb +[01]\.\d{3} \(5 folds\) ", said.out)
    assert metrics_of(tmp_path / "run")["gnb"]["fits"][0]["folds"] == 5


@pytest.fixture(scope="module")
def folded(dataset, tmp_path_factory) -> str:
    run = str(tmp_path_factory.mktemp("runs") / "folded")
    assert baselines.run(options(data=dataset, run=run, models="gnb,knn", folds=4)) == 0
    return run


def test_folds_score_all_tracks_with_one_accuracy_and_one_interval(folded, dataset, capsys):
    assert baselines.run(options(data=dataset, run=folded, models="gnb,knn", folds=4)) == 0
    assert "accuracy by track, 4 folds by artist" in capsys.readouterr().out
    found = read_predictions(folded, "test")
    assert found.track_id.tolist() == list(range(1, 68)) and set(found.fold.tolist()) == {0, 1, 2, 3}
    for name, entry in metrics_of(folded).items():
        right = int((found.log_probabilities[name].argmax(axis=1) == found.label).sum())
        assert entry["per_track"]["accuracy"] == right / 67 and entry["per_track"]["tracks"] == 67
        assert entry["per_track"]["interval"] == list(wilson(right, 67))
        assert len(entry["fits"]) == 4


def test_a_cross_validation_is_compared_in_the_report_and_gives_no_model_for_new_music(folded, finished, tmp_path):
    assert fma.main(["report", folded, "--out", str(tmp_path / "r.html")]) == 0
    said = f"{folded} has 4 folds: each track was scored by a model that knows none of its artist&#x27;s."
    assert said in (tmp_path / "r.html").read_text()
    assert fma.main(["report", folded, finished, "--out", str(tmp_path / "both.html")]) == 0
    with pytest.raises(UsageError, match=r"is a cross-validation: .* baselines without --folds"):
        load_finished(folded)


@pytest.mark.parametrize(("folds", "message"), [(60, "artists for 23 folds only"), (2, None)])
def test_folds_that_cannot_be_dealt_are_refused(folds, message, dataset, tmp_path):
    with pytest.raises(UsageError if message else SystemExit, match=message):
        baselines.run(options(data=dataset, run=tmp_path / "run", models="gnb", folds=folds))


def test_several_groups_give_a_model_each(dataset, tmp_path):
    args = options(data=dataset, run=tmp_path / "run", models="gnb", features_group="mfcc,mfcc+contrast")
    assert baselines.run(args) == 0
    found = metrics_of(tmp_path / "run")
    assert list(found) == ["gnb@mfcc", "gnb@mfcc+contrast"]
    model = load_model(str(tmp_path / "run"), found["gnb@mfcc"]["fits"][0]["file"])
    assert model.n_features_in_ == 140


def test_a_run_leaves_out_how_loud_a_track_is_unless_it_began_with_all_columns(finished, dataset, tmp_path, capsys):
    assert {entry["features_group"] for entry in metrics_of(finished).values()} == {"level-free"}
    model = load_model(finished, metrics_of(finished)["gnb"]["fits"][0]["file"])
    assert model.n_features_in_ == 509
    begun = {"data": dataset, "run": tmp_path / "run", "models": "gnb"}
    assert baselines.run(options(**begun, features_group="all")) == 0
    assert baselines.run(options(**begun)) == 0
    assert "nothing to do" in capsys.readouterr().err
    with pytest.raises(UsageError, match="features-group is all, not mfcc"):
        baselines.run(options(**begun, features_group="mfcc"))


def test_config_names_the_exact_versions(finished):
    import sklearn

    config = json.loads((Path(finished) / "config.json").read_text())
    assert config["model"] == "baselines" and config["made_with"]["scikit-learn"] == sklearn.__version__


def test_a_model_file_with_code_in_it_is_not_loaded(tmp_path):
    import skops.io

    skops.io.dump(Path.exists, tmp_path / "model.skops")
    with pytest.raises(FmaError, match="not loaded"):
        load_model(str(tmp_path), "model.skops")
    (tmp_path / "model.skops").write_bytes(b"no zip")
    with pytest.raises(FmaError, match="damaged"):
        load_model(str(tmp_path), "model.skops")


@pytest.mark.parametrize("models", ["", "forest", "svm,forest"])
def test_unknown_models_are_refused(models, dataset, tmp_path):
    with pytest.raises(UsageError, match="choose some of logreg"):
        baselines.run(options(data=dataset, run=tmp_path / "run", models=models))
    assert not (tmp_path / "run").exists()


def test_options_of_the_other_source_are_refused(dataset, tmp_path):
    with pytest.raises(UsageError, match="--subset belongs to --features-csv"):
        baselines.run(options(data=dataset, run=tmp_path / "run", subset="small"))
