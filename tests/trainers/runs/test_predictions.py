"""Predictions by track that a run keeps: what the comparison of runs is made from."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest

import fma
from tests.trainers.synthetic import write_dataset
from trainers.evaluation.metrics import calibration_error
from trainers.runs.directory import create_run, load_config, read_metrics
from trainers.runs.predictions import (
    RunPredictions,
    predictions_path,
    read_predictions,
    read_run_predictions,
    write_predictions,
)
from transforms.errors import FmaError, UsageError

pytestmark = pytest.mark.usefixtures("tiny_models")

PREDICTIONS = RunPredictions(
    track_id=np.array([3, 5]),
    label=np.array([1, 0]),
    genres=["Folk", "Rock"],
    log_probabilities={"knn": np.log([[0.25, 0.75], [0.5, 0.5]]).astype(np.float32)},
    fold=np.array([0, 1]),
)


@pytest.fixture
def run(finished, tmp_path):
    """A finished run of the test's own."""
    return str(shutil.copytree(finished, tmp_path / "run"))


def accuracy(found) -> float:
    return float((found.log_probabilities.argmax(axis=1) == found.label).mean())


@pytest.mark.parametrize("split", ["validation", "test"])
def test_a_finished_run_keeps_what_its_metrics_were_made_from(finished, split):
    (name,) = found = read_run_predictions(str(finished), split)
    of_run, metrics = found[name], read_metrics(str(finished))[split]["per_track"]
    assert name == "tiny"
    assert of_run.genres == ["Folk", "Rock"]
    assert of_run.track_id.tolist() == list(range(17, 27) if split == "validation" else range(27, 33))
    assert of_run.log_probabilities.dtype == np.float32
    np.testing.assert_allclose(np.exp(of_run.log_probabilities).sum(axis=1), 1, atol=1e-5)
    assert accuracy(of_run) == metrics["accuracy"]
    assert np.bincount(of_run.label, minlength=2).tolist() == [sum(row) for row in metrics["confusion"]]


def test_a_model_that_classifies_whole_tracks_keeps_what_its_head_says(dataset, tmp_path):
    run = str(tmp_path / "run")
    assert fma.main(["train", "tiny_pooled", "--data", str(dataset), "--run", run, "--device", "cpu"]) == 0
    found = read_run_predictions(run)["tiny_pooled"]
    measured = read_metrics(run)["test"]["per_track"]
    assert accuracy(found) == measured["accuracy"]
    error = calibration_error(found.log_probabilities, found.label)
    assert error == pytest.approx(measured["calibration_error"], abs=1e-5), "not the mean of the windows"
    assert len(found.track_id) == 6


def test_evaluating_again_writes_the_same_bytes(run, dataset):
    path = predictions_path(run, "test")
    with open(path, "rb") as file:
        before = file.read()
    shutil.rmtree(f"{run}/predictions")
    with pytest.raises(FmaError, match=r"has no test predictions yet.*fma evaluate .* --split test$"):
        read_run_predictions(run)
    batch = ("--batch-size", "8")  # as in training: with another one, the last bits of a float may differ
    assert fma.main(["evaluate", run, "--data", str(dataset), "--device", "cpu", *batch]) == 0
    with open(path, "rb") as file:
        assert file.read() == before


def test_another_dataset_leaves_the_predictions_alone(run, tmp_path):
    before = read_run_predictions(run)["tiny"]
    write_dataset(tmp_path / "other", ("mel",), ("Folk", "Rock"), {"test": 4})
    assert fma.main(["evaluate", run, "--data", str(tmp_path / "other"), "--device", "cpu"]) == 0
    np.testing.assert_array_equal(read_run_predictions(run)["tiny"].track_id, before.track_id)


def test_a_baselines_run_is_read_in_the_same_way(tmp_path):
    data, run = str(tmp_path / "data"), str(tmp_path / "run")
    write_dataset(data, ("stats",), ("Folk", "Rock"), {"training": 12, "validation": 6, "test": 6})
    assert fma.main(["baselines", "--data", data, "--run", run, "--models", "gnb,knn", "--jobs", "1"]) == 0
    found = read_run_predictions(run)
    assert list(found) == ["gnb", "knn"]
    for name, entry in json.loads((tmp_path / "run" / "metrics.json").read_text())["models"].items():
        assert accuracy(found[name]) == entry["per_track"]["accuracy"]
    with pytest.raises(FmaError, match="has no validation predictions yet"):
        read_run_predictions(run, "validation")
    assert fma.main(["evaluate", run, "--data", data, "--split", "validation"]) == 0
    assert read_run_predictions(run, "validation")["gnb"].track_id.tolist() == list(range(13, 19))


def test_what_was_written_is_read(run):
    write_predictions(run, "test", PREDICTIONS)
    found = read_predictions(run, "test")
    for name in ("track_id", "label", "fold"):
        np.testing.assert_array_equal(getattr(found, name), getattr(PREDICTIONS, name))
    assert found.genres == PREDICTIONS.genres
    np.testing.assert_array_equal(found.log_probabilities["knn"], PREDICTIONS.log_probabilities["knn"])


def test_a_damaged_file_or_no_run_is_one_line(run, tmp_path):
    path = predictions_path(run, "test")
    with open(path, "rb") as file:
        data = file.read()
    for damaged in (b"no zip", data[: len(data) // 2], data[:200] + bytes(100) + data[300:]):
        with open(path, "wb") as file:
            file.write(damaged)
        with pytest.raises(FmaError, match=r"test\.npz is damaged"):
            read_run_predictions(run)
    with pytest.raises(UsageError, match="is not a run"):
        read_run_predictions(str(tmp_path / "nothing"))


def test_a_run_on_fma_tables_is_told_to_finish(run, tmp_path):
    config = load_config(run)
    create_run(str(tmp_path), replace(config, model="baselines", options={"features_csv": True}))
    with pytest.raises(FmaError, match="run fma baselines with the same settings"):
        read_run_predictions(str(tmp_path))
