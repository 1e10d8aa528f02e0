"""Runs of format version 3, whose models take loudness as it is, are read, and more epochs keep to that.

`data/run-format-3.tar.xz` was made by the last commit before version 4: dataset/ holds tones in two genres, runs/ a
mel_cnn and a waveform_cnn of one epoch each, and expected/ the history.csv of that version after a second one.
"""

import csv
import json
import tarfile
from pathlib import Path

import pytest

import fma
from trainers.runs.directory import load_config, read_metrics

ARCHIVE = Path(__file__).resolve().parent / "data" / "run-format-3.tar.xz"
MODELS = ("mel_cnn", "waveform_cnn")


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(tmp_path, filter="data")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def history(path: Path) -> list[dict[str, float | str]]:
    with path.open() as file:
        return [{k: v if k == "phase" else float(v) for k, v in row.items()} for row in csv.DictReader(file)]


@pytest.mark.parametrize("model", MODELS)
def test_their_models_answer_as_before(folder, model, capsys):
    written = json.loads((folder / "runs" / model / "config.json").read_text())
    assert written["format_version"] == 3
    assert "loudness" not in written["options"]
    then = read_metrics(f"runs/{model}")["test"]
    assert fma.main(["evaluate", f"runs/{model}", "--data", "dataset", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["per_window"]["confusion"] == then["per_window"]["confusion"]
    assert found["per_window"]["calibration_error"] == pytest.approx(then["per_window"]["calibration_error"], abs=1e-4)


@pytest.mark.long
@pytest.mark.parametrize("model", MODELS)
def test_more_epochs_go_on_as_they_would_have_then(folder, model):
    words = ["train", model, "--data", "dataset", "--run", f"runs/{model}", "--width", "0.03", "--epochs", "2"]
    assert fma.main([*words, "--device", "cpu"]) == 0
    for found, then in zip(
        history(folder / "runs" / model / "history.csv"), history(folder / "expected" / f"{model}.csv"), strict=True
    ):
        assert found == {k: v if k == "phase" else pytest.approx(v, abs=1e-4) for k, v in then.items()}
    assert "loudness" not in load_config(f"runs/{model}").options


def test_another_setting_is_refused_by_its_name(folder, capsys):
    words = ["train", "mel_cnn", "--data", "dataset", "--run", "runs/mel_cnn", "--width", "0.03", "--epochs", "2"]
    assert fma.main([*words, "--loudness"]) == 2
    assert "loudness is off, not on" in capsys.readouterr().err
