"""Exported models agree with the pipeline, from the waveform on."""

import json
import shutil
from functools import cache
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

import fma
from tests.conftest import tone
from tests.marks import long_but
from tests.trainers.finished_runs import change
from tests.trainers.serving.songs import SETTINGS, write_run
from trainers.serving.lite import FACTS, TFLITE
from trainers.serving.saved_model import WINDOWS, pipeline_probabilities, run_tflite
from trainers.serving.scorers import open_scorer
from trainers.serving.tflite import convert
from transforms.audio.decode import AudioFacts, read_mono, resample


@pytest.fixture(scope="module")
def exported(run_of, tmp_path_factory):
    """The export of a run, made once."""
    made: dict[str, Path] = {}

    def export(model: str) -> Path:
        if model not in made:
            made[model] = tmp_path_factory.mktemp("exported") / model
            assert fma.main(["export", str(run_of(model)), "--out", str(made[model])]) == 0
        return made[model]

    return export


def waveform(path: str) -> np.ndarray:
    """A file as the dataset's own front end decodes and resamples it, float32 [n]."""
    facts = AudioFacts()
    with open(path, "rb") as file:
        blocks = read_mono(file, facts)
        return np.concatenate(list(resample(blocks, facts, SETTINGS.sample_rate, SETTINGS.resampler)))


@cache
def load(folder: Path):
    return tf.saved_model.load(str(folder))


def signature(folder: Path, name: str = "serving_default"):
    model = load(folder)
    return lambda **inputs: {key: value.numpy() for key, value in model.signatures[name](**inputs).items()}


def check_agreement(folder: Path, engine, paths: list[str]) -> None:
    serve = signature(folder)
    for path in paths:
        answer, song = engine.predict(path), waveform(path)
        for found in (serve(waveform=tf.constant(song)), run_tflite(str(folder / TFLITE), song)):
            np.testing.assert_allclose(found["probabilities"], answer.probabilities, atol=1e-3)
            np.testing.assert_allclose(found["window_probabilities"], answer.windows, atol=5e-3)
            assert found["probabilities"].argmax() == answer.probabilities.argmax()


@pytest.mark.parametrize("model", long_but("mel_cnn", ("mel_cnn", "waveform_cnn", "yamnet")))
def test_exported_models_agree_with_the_pipeline(model, exported, engine_of, music):
    check_agreement(exported(model), engine_of(model), [track.path for track in music.tracks])


@pytest.mark.long
@pytest.mark.parametrize("model", ["mel_cnn", "yamnet"])
def test_exported_models_agree_with_the_pipeline_on_real_songs(model, exported, engine_of, fma_sample):
    paths = sorted(str(path) for path in fma_sample.glob("audio/000/*.mp3"))[::16]
    check_agreement(exported(model), engine_of(model), [path for path in paths if Path(path).stat().st_size > 100_000])


@pytest.mark.long
def test_a_model_that_was_trained_in_half_precision_is_exported_in_float32_for_devices(music, tmp_path):
    keras.mixed_precision.set_global_policy("mixed_bfloat16")
    try:
        run = write_run(tmp_path / "run", "waveform_cnn", music.dataset, tmp_path)
    finally:
        keras.mixed_precision.set_global_policy("float32")
    assert fma.main(["export", str(run), "--out", str(tmp_path / "out")]) == 0
    facts = json.loads((tmp_path / "out" / FACTS).read_text())
    assert facts["tflite"] == ""
    assert facts["agreement"]["SavedModel"] < 1e-5 < facts["agreement"][TFLITE] < 1e-2


def test_a_long_waveform_is_predicted_in_parts(exported, run_of):
    song = tone((3 * WINDOWS + 1.5) * SETTINGS.window_seconds, SETTINGS.sample_rate)
    found = signature(exported("mel_cnn"))(waveform=tf.constant(song))
    assert found["window_probabilities"].shape == (3 * WINDOWS + 1, 2)
    starts = np.arange(3 * WINDOWS + 1) * SETTINGS.window_seconds
    np.testing.assert_allclose(found["window_start_seconds"], starts, rtol=1e-6)
    expected = pipeline_probabilities(open_scorer(str(run_of("mel_cnn")), device="cpu"), song)
    np.testing.assert_allclose(found["probabilities"], expected, atol=1e-3)


def test_the_labels_have_a_line_each_whatever_the_genres_are_called(music, tmp_path):
    run = write_run(tmp_path / "run", "waveform_cnn", music.dataset, tmp_path, ["Folk", "Rock\nPop\x1b[31m"])
    assert fma.main(["export", str(run), "--out", str(tmp_path / "out"), "--no-tflite"]) == 0
    assert (tmp_path / "out" / "assets" / "labels.txt").read_text() == "Folk\nRock\\nPop\\x1b[31m\n"
    found = signature(tmp_path / "out")(waveform=tf.constant(tone(2)))
    assert found["labels"].tolist() == [b"Folk", b"Rock\nPop\x1b[31m"]


def test_the_labels_are_inside(exported):
    found = signature(exported("mel_cnn"))(waveform=tf.constant(tone(2)))
    assert found["labels"].tolist() == [b"Folk", b"Rock"]
    assert (exported("mel_cnn") / "assets" / "labels.txt").read_text() == "Folk\nRock\n"
    facts = json.loads((exported("mel_cnn") / FACTS).read_text())
    assert (facts["labels"], facts["sample_rate"], facts["tflite"]) == (["Folk", "Rock"], 22_050, "")
    assert set(facts["agreement"]) == {"SavedModel", TFLITE}
    assert max(facts["agreement"].values()) < 1e-3


@pytest.mark.parametrize(
    ("song", "message"),
    [
        (np.zeros(1000, np.float32), "shorter than one window, 16384 samples"),
        (np.zeros(0, np.float32), "shorter than one window"),
        (np.full(40_000, np.nan, np.float32), "not a number"),
    ],
)
def test_a_waveform_without_an_answer_has_a_reason(exported, song, message):
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        signature(exported("mel_cnn"))(waveform=tf.constant(song))


def test_songs_come_as_bytes_too(exported):
    songs = [tone(2, hz=200), tone(3, hz=900)]
    pcm = [np.clip(np.rint(song * 32768), -32768, 32767).astype("<i2").tobytes() for song in songs]
    found = signature(exported("mel_cnn"), "pcm16")(pcm16=tf.constant(pcm))
    serve = signature(exported("mel_cnn"))
    expected = [serve(waveform=tf.constant(song))["probabilities"] for song in songs]
    np.testing.assert_allclose(found["probabilities"], expected, atol=2e-3)
    genres = [b"Folk", b"Rock"]
    assert found["genre"].tolist() == [genres[row.argmax()] for row in found["probabilities"]]


@pytest.mark.long
def test_a_server_that_knows_nothing_of_us_can_run_it(exported):
    """TF Serving loads a graph and calls a signature by its tensors' names; so does this, without Python of ours."""
    song, folder = tone(2), str(exported("yamnet"))
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        loaded = tf.compat.v1.saved_model.load(session, ["serve"], folder)
        called = loaded.signature_def["serving_default"]
        assert [int(size.size) for size in called.inputs["waveform"].tensor_shape.dim] == [-1]
        fetched = called.outputs["probabilities"].name
        found = session.run(fetched, {called.inputs["waveform"].name: song})
    expected = signature(folder)(waveform=tf.constant(song))["probabilities"]
    np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize(
    ("operation", "said", "exists"),
    [
        (tf.nn.relu, "", True),
        (lambda song: tf.linalg.inv(song[:4] * tf.eye(4))[0], "(select TF ops), MatrixInverse", True),
        (tf.math.erfinv, "no model.tflite: TFLite cannot do Erfinv", False),
    ],
)
def test_what_becomes_of_the_conversion_for_devices_is_said_in_a_line(tmp_path, operation, said, exists):
    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32)])
    def predict(waveform):
        return {"probabilities": operation(waveform)}

    reason = convert(tf.Module(), {"serving_default": predict}, str(tmp_path / TFLITE))
    assert said in reason
    assert bool(said) == bool(reason)
    assert "\n" not in reason
    assert (tmp_path / TFLITE).exists() == exists


def test_an_export_goes_to_a_folder_of_its_own(run_of, tmp_path, capsys):
    (tmp_path / "thesis.tex").touch()
    assert fma.main(["export", str(run_of("baselines")), "--out", str(tmp_path)]) == 2
    assert "is not empty" in capsys.readouterr().err


@pytest.fixture
def bundle(run_of, tmp_path) -> Path:
    assert fma.main(["export", str(run_of("baselines")), "--out", str(tmp_path / "bundle"), "--model", "gnb"]) == 0
    return tmp_path / "bundle"


def test_a_bundle_of_a_classical_model_is_all_that_predict_needs(bundle, run_of, music, capsys):
    path = music.of("test")[0].path
    capsys.readouterr()
    assert fma.main(["predict", str(bundle), path, "--json"]) == 0
    alone = capsys.readouterr().out
    assert fma.main(["predict", str(run_of("baselines")), path, "--json", "--model", "gnb"]) == 0
    assert json.loads(alone) == json.loads(capsys.readouterr().out)
    assert sorted(file.name for file in bundle.iterdir()) == ["bundle.json", "model.skops"]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda values: values | {"format_version": 99}, "update fma-genres"),
        (lambda values: {"format_version": 1}, "damaged"),
        (lambda values: values | {"config": {"hop": 3}}, "damaged"),
    ],
)
def test_a_damaged_bundle_is_one_line(bundle, music, capsys, damage, message):
    file = bundle / "bundle.json"
    file.write_text(json.dumps(damage(json.loads(file.read_text()))))
    capsys.readouterr()
    assert fma.main(["predict", str(bundle), music.tracks[0].path]) == 1
    err = capsys.readouterr().err
    assert message in err
    assert err.count("\n") == 1


def test_a_bundle_is_not_exported_again_and_has_one_model(bundle, music, tmp_path, capsys):
    assert fma.main(["export", str(bundle), "--out", str(tmp_path / "other")]) == 2
    assert fma.main(["predict", str(bundle), music.tracks[0].path, "--model", "logreg"]) == 2
    assert "has gnb" in capsys.readouterr().err


def test_a_run_of_before_the_settings_were_kept_asks_its_dataset(run_of, music, tmp_path, capsys):
    run = shutil.copytree(run_of("baselines"), tmp_path / "run")
    values = json.loads((run / "config.json").read_text())
    assert values["dataset"]["config"]["n_mels"] == SETTINGS.n_mels
    values["dataset"]["config"] = {}
    change(run / "config.json", dataset=values["dataset"])
    assert fma.main(["predict", str(run), music.tracks[0].path]) == 0
    values["dataset"]["path"] = str(tmp_path / "gone")
    change(run / "config.json", dataset=values["dataset"])
    assert fma.main(["predict", str(run), music.tracks[0].path]) == 2
    assert "does not say how its statistics were computed" in capsys.readouterr().err
