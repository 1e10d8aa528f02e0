"""Runs and bundles whose files are not what they were: one line as soon as they are opened; and what is renewed."""

import errno
import json
import resource
import shutil
from contextlib import closing
from pathlib import Path

import keras
import numpy as np
import pytest

import fma
from tests.trainers.finished_runs import change
from trainers.runs.predictions import RunPredictions, read_predictions, write_predictions
from trainers.runs.state import MODEL
from trainers.serving import neighbours
from trainers.serving.engine import Engine
from trainers.serving.neighbours import open_neighbours
from trainers.serving.scorers import open_scorer
from trainers.training import checkpoint
from transforms import storage
from transforms.audio.decoder_process import Limits
from transforms.errors import FmaError


def without_settings(run: Path) -> None:
    dataset = json.loads((run / "config.json").read_text())["dataset"]
    change(run / "config.json", dataset={"path": dataset["path"], "digest": dataset["digest"]})


def with_predictions_of_another_model(run: Path) -> None:
    found = read_predictions(str(run), "validation")
    (values,) = found.log_probabilities.values()
    renamed = RunPredictions(found.track_id, found.label, found.genres, {"other": values}, found.fold)
    write_predictions(str(run), "validation", renamed)


@pytest.mark.parametrize(
    ("model", "damage", "file"),
    [
        ("baselines", lambda run: change(run / "metrics.json", models={}), "metrics.json"),
        ("baselines", lambda run: change(run / "metrics.json", models={"logreg": {}}), "metrics.json"),
        ("baselines", lambda run: change(run / "metrics.json", models=[1]), "metrics.json"),
        ("baselines", lambda run: change(run / "config.json", labels=["Folk"]), "metrics.json"),
        ("mel_cnn", without_settings, "config.json"),
        ("mel_cnn", lambda run: change(run / "config.json", labels=["Folk"]), "config.json"),
        ("mel_cnn", with_predictions_of_another_model, "validation.npz"),
    ],
)
def test_a_damaged_run_is_one_line_that_names_the_file(run_of, music, tmp_path, capsys, *, model, damage, file):
    run = Path(shutil.copytree(run_of(model), tmp_path / "run"))
    damage(run)
    capsys.readouterr()
    assert fma.main(["predict", str(run), music.tracks[0].path]) == 1
    err = capsys.readouterr().err
    assert f"{file} is damaged" in err
    assert err.count("\n") == 1


@pytest.mark.parametrize("values", [{"entry": {}}, {"labels": ["Folk"]}, {"entry": {"fits": [{}]}}, {"labels": 3}])
def test_a_damaged_bundle_is_one_line_that_names_the_file(run_of, music, tmp_path, capsys, values):
    bundle = tmp_path / "bundle"
    assert fma.main(["export", str(run_of("baselines")), "--out", str(bundle)]) == 0
    change(bundle / "bundle.json", **values)
    capsys.readouterr()
    assert fma.main(["predict", str(bundle), music.tracks[0].path]) == 1
    err = capsys.readouterr().err
    assert "bundle.json is damaged" in err
    assert err.count("\n") == 1


def test_neighbours_are_computed_again_when_the_weights_have_changed(run_of, music, tmp_path):
    run = Path(shutil.copytree(run_of("mel_cnn"), tmp_path / "run"))
    before = open_neighbours(str(run), open_scorer(str(run), device="cpu"), str(music.dataset))
    network = keras.saving.load_model(run / MODEL, compile=False)
    network.set_weights([weight * np.float32(1.5) + np.float32(0.01) for weight in network.get_weights()])
    checkpoint.write_model(str(run), MODEL, network, epoch=1)
    after = open_neighbours(str(run), open_scorer(str(run), device="cpu"), str(music.dataset))
    assert not np.allclose(before.vectors, after.vectors, atol=1e-3)
    assert len(list((run / "neighbours").iterdir())) == 1


@pytest.mark.parametrize("number", [errno.EROFS, errno.ENOSPC, errno.EACCES])
def test_neighbours_that_cannot_be_kept_are_a_note(run_of, music, tmp_path, capsys, *, monkeypatch, number):
    run = Path(shutil.copytree(run_of("baselines"), tmp_path / "run", ignore=shutil.ignore_patterns("neighbours")))

    def refuse(staged, path):
        raise OSError(number, "No")

    monkeypatch.setattr(storage, "publish", refuse)
    found = open_neighbours(str(run), open_scorer(str(run)), str(music.dataset))
    assert len(found.tracks) == len(music.of("training"))
    assert "cannot be written (no); the neighbours are computed again the next time" in capsys.readouterr().err


def test_the_warm_up_does_not_count_against_a_songs_limit(run_of):
    engine = Engine(open_scorer(str(run_of("baselines"))), Limits(0.001), 1)
    try:
        engine.warm_up()
    finally:
        engine.close()


def test_a_full_folder_for_temporary_files_is_one_line_of_the_warm_up(run_of):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    with closing(Engine(open_scorer(str(run_of("baselines")), device="cpu"), Limits(), 1)) as engine:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 10, limits[1]))
        try:
            with pytest.raises(OSError, match="File too large"):
                engine.warm_up()
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_a_warm_up_that_fails_is_one_line_and_leaves_no_decoder(run_of, monkeypatch, capsys):
    engines: list[Engine] = []

    def open_engine(*args, **options):
        engines.append(Engine(*args, **options))
        return engines[-1]

    monkeypatch.setattr("trainers.serving.app.Engine", open_engine)
    monkeypatch.setattr("trainers.serving.engine.WARM_UP_SECONDS", 1e-6)
    assert fma.main(["serve", str(run_of("baselines")), "--port", "0", "--concurrency", "2"]) == 1
    assert "no song can be predicted" in capsys.readouterr().err
    assert not any(decoder._process.running for decoder in engines[0]._decoders)


def test_a_damaged_cache_of_neighbours_is_one_line(run_of, music, tmp_path):
    run = Path(shutil.copytree(run_of("baselines"), tmp_path / "run"))
    scorer = open_scorer(str(run))
    open_neighbours(str(run), scorer, str(music.dataset))
    (file,) = (run / neighbours.FOLDER).glob(f"*-{scorer.name}.npz")
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(FmaError, match="is damaged"):
        open_neighbours(str(run), scorer, str(music.dataset))
