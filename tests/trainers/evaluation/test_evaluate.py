"""`fma evaluate`: on the run's own dataset and on others."""

import errno
import json
import math
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import fma
from tests.trainers.synthetic import CONFIG, write_dataset
from trainers import models
from trainers.evaluation.evaluate import Predictions, record_differences
from trainers.evaluation.metrics import log_softmax
from trainers.runs.directory import create_run, load_config, read_metrics
from transforms import storage

pytestmark = pytest.mark.usefixtures("tiny_models")


@pytest.fixture
def run(finished, tmp_path):
    """A finished run of the test's own."""
    return shutil.copytree(finished, tmp_path / "run")


def evaluate(run, dataset, *options: str) -> int:
    return fma.main(["evaluate", str(run), "--data", str(dataset), "--device", "cpu", *options])


def test_the_metrics_are_those_of_the_end_of_training(dataset, run, capsys):
    before = read_metrics(str(run))
    assert evaluate(run, dataset, "--json", "--batch-size", "5") == 0
    (line,) = capsys.readouterr().out.splitlines()
    printed = json.loads(line)
    assert printed["per_track"]["confusion"] == before["test"]["per_track"]["confusion"]
    assert printed["per_window"]["calibration_error"] == pytest.approx(
        before["test"]["per_window"]["calibration_error"]
    )
    assert read_metrics(str(run)) == before | {"test": printed}
    assert printed["speed"]["records_per_second"] > 0
    assert printed["speed"]["device"] == "cpu"
    assert "speed" not in before["test"], "what training writes is the same each time"


def test_a_split_that_was_not_evaluated_yet_is_added(dataset, run, capsys):
    assert evaluate(run, dataset, "--split", "training") == 0
    out = capsys.readouterr().out
    assert "95% interval" in out
    assert "Folk" in out
    assert set(read_metrics(str(run))) == {"training", "validation", "test"}


def test_another_dataset_is_matched_by_label_name(run, tmp_path, capsys):
    own = read_metrics(str(run))
    tracks = {"training": 3, "test": 9}
    write_dataset(tmp_path / "other", ("mel",), ("Jazz", "Rock", "Folk"), tracks)
    assert evaluate(run, tmp_path / "other", "--json") == 0
    captured = capsys.readouterr()
    found = json.loads(captured.out)
    assert found["labels"] == ["Folk", "Rock"]
    assert found["left_out"] == {"Jazz": 3}
    assert found["per_track"]["tracks"] == 6
    assert [sum(row) for row in found["per_track"]["confusion"]] == [3, 3]
    assert read_metrics(str(run)) == own
    (path,) = (run / "evaluations").iterdir()
    assert json.loads(path.read_text())["left_out"] == {"Jazz": 3}
    assert f"written to {path}" in captured.err


def test_what_is_left_out_is_said(run, tmp_path, capsys):
    write_dataset(tmp_path / "other", ("mel",), ("Jazz", "Rock"), {"test": 4})
    assert evaluate(run, tmp_path / "other") == 0
    assert "left out of test, since the model does not know the genre: 2 Jazz" in capsys.readouterr().out


def test_datasets_without_a_common_genre_are_refused(run, tmp_path, capsys):
    write_dataset(tmp_path / "other", ("mel",), ("Jazz", "Pop"), {"test": 2})
    assert evaluate(run, tmp_path / "other") == 2
    assert "no genre in common" in capsys.readouterr().err


def test_a_split_without_a_known_genre_is_refused(run, tmp_path, capsys):
    write_dataset(tmp_path / "other", ("mel",), ("Jazz", "Rock"), {"training": 2, "test": 1})
    assert evaluate(run, tmp_path / "other") == 2
    assert "no test track" in capsys.readouterr().err


def test_records_of_another_shape_are_refused(run, tmp_path, capsys):
    write_dataset(tmp_path / "other", ("mel",), config=replace(CONFIG, n_mels=64, db_min=-90.0))
    assert evaluate(run, tmp_path / "other") == 2
    error = capsys.readouterr().err
    assert "n_mels is 32 in the run, and 64 in the dataset" in error
    assert "db_min" in error


def test_a_missing_split_or_kind_is_refused(run, tmp_path, capsys):
    write_dataset(tmp_path / "other", ("mel",), tracks={"training": 2})
    assert evaluate(run, tmp_path / "other") == 2
    assert "no mel records in its test split" in capsys.readouterr().err
    write_dataset(tmp_path / "raw", ("raw",))
    assert evaluate(run, tmp_path / "raw") == 2
    assert "no mel records" in capsys.readouterr().err


def test_a_run_without_a_model_is_refused(run, dataset, tmp_path, capsys):
    assert evaluate(tmp_path, dataset) == 2
    assert "is not a run" in capsys.readouterr().err
    create_run(str(tmp_path), load_config(str(run)))
    assert evaluate(tmp_path, dataset) == 2
    assert "has no model yet" in capsys.readouterr().err


@pytest.mark.parametrize(("number", "options"), [(errno.EROFS, ()), (errno.ENOSPC, ("--json",))])
def test_numbers_are_printed_even_if_they_cannot_be_stored(run, dataset, capsys, *, monkeypatch, number, options):
    def refuse(staged, path):
        raise OSError(number, "No", path)

    before = {path: path.read_bytes() for path in Path(run).rglob("*") if path.is_file()}
    monkeypatch.setattr(storage, "publish", refuse)
    assert evaluate(run, dataset, *options) == 1
    out, err = capsys.readouterr()
    assert "per_track" in json.loads(out) if options else "by track" in out
    assert err.splitlines()[-1].startswith("fma: error: the metrics above are not stored in the run: ")
    assert {path: path.read_bytes() for path in Path(run).rglob("*") if path.is_file()} == before


def test_a_damaged_model_is_one_line(run, dataset, capsys):
    (run / "model.keras").write_bytes(b"damaged")
    assert evaluate(run, dataset) == 1
    assert "model.keras is damaged, or not the file that was written here" in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.long
def test_all_layers_of_the_models_are_known_when_a_model_is_loaded(tmp_path):
    """Three modules are imported then: a custom layer elsewhere could be saved but not loaded."""
    folder = Path(models.__file__).parent
    own = [path.stem for path in folder.glob("*.py") if "register_keras_serializable" in path.read_text()]
    assert sorted(own) == ["genre_output", "layers", "normalize"]
    (tmp_path / "model.keras").write_bytes(b"damaged")
    script = (
        "import sys, keras\nfrom trainers.models.keras_file import load_keras_file\ntry: load_keras_file(sys.argv[1])\n"
        "except Exception: print(*keras.saving.get_custom_objects())"
    )
    command = [sys.executable, "-c", script, str(tmp_path)]
    ran = subprocess.run(command, capture_output=True, text=True, check=True)
    expected = {"Standardise", "OverCrops", "Resample", "GenreOutput", "NormalizeMel", "NormalizeRaw"}
    assert {f"fma>{name}" for name in expected} <= set(ran.stdout.split())


def test_settings_that_do_not_change_a_record_may_differ():
    assert record_differences(CONFIG, replace(CONFIG, window_hop_frames=16, features=("mel",)), "mel") == []
    assert record_differences(CONFIG, replace(CONFIG, n_mels=64, db_step=0.25), "raw") == []
    assert record_differences(CONFIG, replace(CONFIG, hop_length=256, window_frames=64), "raw") == []
    assert len(record_differences(CONFIG, replace(CONFIG, hop_length=256, window_frames=64), "mel")) == 2
    assert record_differences(CONFIG, replace(CONFIG, sample_rate=16_000), "raw") == [
        "sample_rate is 22050 in the run, and 16000 in the dataset"
    ]


def test_log_probabilities_hold_where_floats_overflow():
    found = log_softmax(np.array([[1000.0, 0.0], [-1000.0, -1000.0]], np.float32))
    np.testing.assert_allclose(found, [[0, -1000], [-math.log(2)] * 2])
    assert found.dtype == np.float64


def test_relabelling_leaves_unknown_genres_out():
    predictions = Predictions(np.eye(3), np.array([0, 1, 2]), np.array([7, 8, 9]))
    found = predictions.relabelled(np.array([1, -1, 0]))
    np.testing.assert_array_equal(found.label, [1, 0])
    np.testing.assert_array_equal(found.track_id, [7, 9])
    np.testing.assert_array_equal(found.log_probabilities, np.eye(3)[[0, 2]])
