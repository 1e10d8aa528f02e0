"""Runs with many genres for each track: predicted, exported and served alike."""

import json
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

import fma
from tests.marks import long_but
from tests.trainers.serving import songs
from tests.trainers.serving.conftest import KINDS, LIMITS
from tests.trainers.serving.live import Client, listening, send
from tests.trainers.serving.test_export import waveform
from trainers.runs.directory import load_config
from trainers.runs.state import load_state
from trainers.serving.app import ServeOptions, create_app, open_service
from trainers.serving.engine import Engine
from trainers.serving.keras_scorer import KerasScorer
from trainers.serving.lite import TFLITE, LiteScorer
from trainers.serving.saved_model import run_tflite
from trainers.serving.scorers import open_scorer
from trainers.serving.tflite import write_lite

TREE = {"Punk": "Rock", "Rock": "", "Electronic": "", "House": "Electronic", "Hardcore": "Punk"}


@pytest.fixture(scope="module")
def many(music, dataset, tiny_models, tmp_path_factory):
    """A run of a model, with its TFLite model, made once."""
    made: dict[str, str] = {}

    def run(model: str) -> str:
        if model not in made:
            folder = tmp_path_factory.mktemp("many") / model
            made[model] = str(songs.write_run(folder, model, music.dataset, dataset, tree=TREE))
            write_lite(made[model], load_config(made[model]), load_state(made[model]))
        return made[model]

    return run


@pytest.mark.parametrize("model", long_but("mel_cnn", KINDS))
def test_a_run_answers_as_its_keras_model_does_and_no_child_is_above_its_parent(many, music, model):
    quick, whole = open_scorer(many(model), device="cpu"), KerasScorer(many(model), load_config(many(model)))
    assert isinstance(quick, LiteScorer)
    with closing(Engine(quick, LIMITS, 1)) as one, closing(Engine(whole, LIMITS, 1)) as other:
        for track in music.of("test")[:2]:
            found, expected = one.predict(track.path), other.predict(track.path)
            np.testing.assert_allclose(found.probabilities, expected.probabilities, atol=1e-4)
            np.testing.assert_allclose(found.windows, expected.windows, atol=1e-4)
            assert np.ptp(found.probabilities) > 0.01
            chances = dict(zip(TREE, found.probabilities, strict=True))
            assert all(chances[genre] <= chances[parent] for genre, parent in TREE.items() if parent)


@pytest.mark.long
@pytest.mark.parametrize("model", ["mel_cnn", "yamnet"])
def test_what_is_exported_answers_as_predict_does(many, music, tmp_path, capsys, model):
    out, path = tmp_path / "out", music.of("test")[0].path
    assert fma.main(["export", many(model), "--out", str(out)]) == 0
    entries = []
    for given in (many(model), str(out)):
        capsys.readouterr()
        assert fma.main(["predict", given, path, "--json", "--device", "cpu"]) == 0
        entries.append(json.loads(capsys.readouterr().out)[0])
    assert entries[0]["labels"] == entries[1]["labels"] == "all"
    chances, exported = ({one["genre"]: one["probability"] for one in entry["genres"]} for entry in entries)
    assert exported == pytest.approx(chances, abs=1e-4)
    assert [one["predicted"] for one in entries[0]["genres"]] == [one["predicted"] for one in entries[1]["genres"]]
    signatures, song = tf.saved_model.load(str(out)).signatures, waveform(path)
    found = {name: value.numpy() for name, value in signatures["serving_default"](waveform=tf.constant(song)).items()}
    expected = np.array([chances[genre] for genre in TREE])
    np.testing.assert_allclose(found["probabilities"], expected, atol=1e-3)
    np.testing.assert_allclose(run_tflite(str(out / TFLITE), song)["probabilities"], expected, atol=1e-3)
    assert found["parents"].tolist() == [parent.encode() for parent in TREE.values()]
    np.testing.assert_allclose(found["thresholds"], 0.4)
    predicted = {one["genre"] for one in entries[0]["genres"] if one["predicted"]}
    assert {genre for genre, has in zip(TREE, found["predicted"], strict=True) if has} == predicted
    pcm = np.clip(np.rint(song * 32768), -32768, 32767).astype("<i2").tobytes()
    assert signatures["pcm16"](pcm16=tf.constant([pcm]))["predicted"].numpy().shape == (1, len(TREE))


@pytest.mark.long
def test_the_server_answers_as_predict_does(many, music):
    path = music.of("test")[0].path
    options = ServeOptions(many("mel_cnn"), None, str(music.dataset), LIMITS, 4 << 20, 1, device="cpu")
    service = open_service(options)
    with closing(service.engine), listening(create_app(service)) as port, Client(port) as client:
        facts = client.get("/model").json()
        found = send(client, path, "?timeline=true&nearest=1").json()
        expected = service.engine.predict(path).to_json()
    assert (facts["parents"], facts["thresholds"]) == (TREE, [0.4] * len(TREE))
    assert "temperature" not in facts
    assert len(found.pop("timeline")) == found["windows"]
    assert found.pop("nearest")[0]["genres"] and found.pop("in_training") is False
    assert found == expected


def test_people_see_the_tree_and_its_picture(many, music, tmp_path, capsys):
    png, path = Path(tmp_path / "t.png"), music.of("test")[0].path
    words = ["predict", many("mel_cnn"), path, path, "--timeline", str(png), "--threshold", "0.01", "--device", "cpu"]
    assert fma.main(words) == 0
    assert capsys.readouterr().out.count("    Hardcore ") == 2
    assert png.read_bytes().startswith(b"\x89PNG")
