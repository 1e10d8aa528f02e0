"""A finished run and an export answer without TensorFlow, and as TensorFlow would."""

import json
import shutil
import subprocess
import sys
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import fma
from tests.marks import long_but
from tests.trainers.serving.conftest import KINDS, LIMITS
from trainers.runs.directory import load_config
from trainers.runs.state import load_state, save_state
from trainers.serving import tflite
from trainers.serving.engine import Engine
from trainers.serving.keras_scorer import KerasScorer
from trainers.serving.lite import FACTS, LITE, TFLITE, LiteScorer
from trainers.serving.neighbours import open_neighbours
from trainers.serving.scorers import open_scorer
from trainers.serving.tflite import write_lite
from transforms.errors import FmaError, UsageError

WITHOUT_TENSORFLOW = (
    "import sys\n"
    "for name in ('tensorflow', 'keras', 'sklearn', 'matplotlib', 'apache_beam', 'pandas'): sys.modules[name] = None\n"
    "import fma\nsys.exit(fma.main(sys.argv[1:]))"
)


@pytest.fixture(scope="module")
def lite_run(run_of, tmp_path_factory):
    """A copy of a run with its TFLite model, as a finished training leaves it."""
    made: dict[str, Path] = {}

    def run(model: str) -> Path:
        if model not in made:
            made[model] = Path(shutil.copytree(run_of(model), tmp_path_factory.mktemp("lite") / model))
            write_lite(str(made[model]), load_config(str(made[model])), load_state(str(made[model])))
        return made[model]

    return run


@pytest.fixture
def copied(lite_run, tmp_path) -> Path:
    return Path(shutil.copytree(lite_run("mel_cnn"), tmp_path / "copied"))


@pytest.mark.parametrize("model", long_but("mel_cnn", KINDS))
def test_a_run_answers_as_its_keras_model_does(lite_run, engine_of, music, model):
    scorer = open_scorer(str(lite_run(model)), device="cpu")
    assert isinstance(scorer, LiteScorer)
    with closing(Engine(scorer, LIMITS, 1)) as engine:
        for track in music.of("test"):
            found, expected = engine.predict(track.path), engine_of(model).predict(track.path)
            np.testing.assert_allclose(found.probabilities, expected.probabilities, atol=1e-4)
            np.testing.assert_allclose(found.windows, expected.windows, atol=1e-4)
            lengths = np.linalg.norm(found.embedding) * np.linalg.norm(expected.embedding)
            assert found.embedding @ expected.embedding / lengths > 0.99999


def test_training_leaves_a_model_that_answers_without_tensorflow(finished, lite_run, music, capsys):
    assert (finished / LITE).exists()
    words = ["predict", str(lite_run("mel_cnn")), *(track.path for track in music.of("test")), "--json"]
    command = [sys.executable, "-c", WITHOUT_TENSORFLOW, *words]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr.count("\n")) == (0, 1), ended.stderr  # the progress
    capsys.readouterr()
    assert fma.main(words) == 0
    assert json.loads(ended.stdout) == json.loads(capsys.readouterr().out)


@pytest.mark.long
def test_an_export_is_all_that_predict_needs(run_of, lite_run, music, tmp_path, capsys):
    assert fma.main(["export", str(run_of("yamnet")), "--out", str(tmp_path / "exported")]) == 0
    capsys.readouterr()
    answers = []
    for model in (tmp_path / "exported", lite_run("yamnet")):
        assert fma.main(["predict", str(model), music.tracks[0].path, "--json"]) == 0
        (entry,) = json.loads(capsys.readouterr().out)
        answers.append({genre["genre"]: genre["probability"] for genre in entry["genres"]})
    assert answers[0] == pytest.approx(answers[1], abs=1e-5)


def test_a_conversion_that_is_killed_costs_the_quick_start_and_not_the_run(run_of, monkeypatch, capsys):
    monkeypatch.setattr(tflite, "IN_CHILD", "import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
    tflite.write_lite_in_child(str(run_of("mel_cnn")))
    said = f"note: predictions of {run_of('mel_cnn')} will start TensorFlow, which takes seconds: "
    assert capsys.readouterr().err == f"{said}the conversion to TFLite was ended by SIGKILL\n"


def test_a_model_of_another_epoch_is_left_alone(copied):
    save_state(str(copied), replace(load_state(str(copied)), best_epoch=2, epoch=2))
    assert not isinstance(open_or_none(copied), LiteScorer)


def open_or_none(run: Path):
    try:
        return open_scorer(str(run), device="cpu")
    except FmaError:  # model.keras is not of that epoch either
        return None


def test_a_run_that_goes_on_is_scored_by_keras(copied):
    save_state(str(copied), replace(load_state(str(copied)), finished=""))
    assert isinstance(open_scorer(str(copied), device="cpu"), KerasScorer)


def test_a_damaged_model_is_one_line_that_says_what_to_do(copied):
    data = bytearray((copied / LITE).read_bytes())
    data[len(data) // 2] ^= 1
    (copied / LITE).write_bytes(data)
    with pytest.raises(FmaError, match="damaged, or not the file that was written here: remove it"):
        open_scorer(str(copied), device="cpu")
    (copied / LITE).unlink()
    assert isinstance(open_scorer(str(copied), device="cpu"), KerasScorer)


@pytest.fixture(scope="module")
def exported(run_of, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("exported") / "waveform_cnn"
    assert fma.main(["export", str(run_of("waveform_cnn")), "--out", str(out)]) == 0
    return out


def damage_model(export: Path) -> None:
    (export / TFLITE).write_bytes((export / TFLITE).read_bytes()[:-1])


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (damage_model, "model.tflite is damaged, or not the file that was written here: export the run again"),
        (lambda export: (export / FACTS).write_text("{}"), "export.json is damaged"),
        (lambda export: (export / FACTS).write_text(""), "export.json is damaged"),
        (lambda export: edit(export, format_version=5), "has format version 5, this program reads 4"),
        (lambda export: edit(export, format_version=1), "has no model.tflite that predicts records"),
        (lambda export: edit(export, sha256=""), "has no model.tflite that predicts records"),
        (lambda export: edit(export, labels=["Folk"]), "it has 2 outputs for 1 label"),
        (lambda export: (export / TFLITE).unlink(), "model.tflite is missing: export the run again"),
    ],
)
def test_an_export_that_is_not_whole_is_refused_in_a_line(exported, tmp_path, damage, message):
    export = Path(shutil.copytree(exported, tmp_path / "export"))
    damage(export)
    with pytest.raises(FmaError) as caught:
        open_scorer(str(export))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_export_of_the_version_before_answers_as_it_did(exported, tmp_path):
    """Version 3 did not say which kinds of records a model reads: they are the model's own."""
    older = Path(shutil.copytree(exported, tmp_path / "older"))
    facts = json.loads((older / FACTS).read_text())
    del facts["kinds"]
    (older / FACTS).write_text(json.dumps(facts | {"format_version": 3}))
    now, before = open_scorer(str(exported)), open_scorer(str(older))
    assert before.kinds == now.kinds == ("raw",)
    payloads = np.zeros((2, now.config.window_samples), np.int16)
    for one, other in zip(now.rows("raw", payloads), before.rows("raw", payloads), strict=True):
        np.testing.assert_array_equal(one, other)


def edit(export: Path, **values) -> None:
    facts = json.loads((export / FACTS).read_text())
    (export / FACTS).write_text(json.dumps(facts | values))


def test_an_export_has_one_model_and_is_not_exported_again(exported, tmp_path, capsys):
    with pytest.raises(UsageError, match="has one model"):
        open_scorer(str(exported), "gnb")
    assert fma.main(["export", str(exported), "--out", str(tmp_path / "again")]) == 2
    assert "is an export already" in capsys.readouterr().err


def test_the_neighbours_of_a_song_are_the_same_whatever_computes_them(lite_run, run_of, music, tmp_path):
    runs = [Path(shutil.copytree(run("mel_cnn"), tmp_path / name)) for name, run in (("a", lite_run), ("b", run_of))]
    found = [open_neighbours(str(run), open_scorer(str(run), device="cpu"), str(music.dataset)) for run in runs]
    assert [track["track_id"] for track in found[0].tracks] == [track["track_id"] for track in found[1].tracks]
    np.testing.assert_allclose(found[0].vectors, found[1].vectors, atol=1e-3)
