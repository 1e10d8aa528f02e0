"""`fma predict --zero-shot`: genres that YAMNet knows by name, without a run."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

import fma
from tests.conftest import tone
from trainers.encoders.audioset import find_class
from transforms.audio.features import to_pcm16
from transforms.config import DatasetConfig
from transforms.encoders.facts import FILE, EncoderFacts

CONFIG = DatasetConfig()
POSITIONS = 4
WEIGHTS = np.random.default_rng(0).standard_normal(521).astype(np.float32)


@pytest.fixture(scope="module")
def yamnet(tmp_path_factory) -> Path:
    """The folder of an encoder that is called yamnet and gives the level at each position, times 521 weights."""
    import tensorflow as tf

    class Level(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([None, CONFIG.window_samples], tf.float32, name="windows")])
        def encode(self, windows):
            parts = tf.reshape(windows, [tf.shape(windows)[0], POSITIONS, -1])
            return {"logits": 10.0 * tf.reduce_mean(tf.abs(parts), -1, keepdims=True) * WEIGHTS}

    folder, module = tmp_path_factory.mktemp("encoder"), Level()
    tf.saved_model.save(module, str(folder), {"encode": module.encode})
    facts = EncoderFacts("yamnet", "raw", CONFIG.sample_rate, {"logits": 521}, "0" * 64)
    (folder / FILE).write_text(json.dumps(facts.to_json()))
    return folder


@pytest.fixture(scope="module")
def song(tmp_path_factory) -> tuple[str, np.ndarray]:
    """A file with two windows and a rest, and the windows."""
    path, samples = tmp_path_factory.mktemp("song") / "song.wav", tone(11)
    soundfile.write(path, samples, CONFIG.sample_rate, subtype="PCM_16")
    return str(path), to_pcm16(samples)[: 2 * CONFIG.window_samples].reshape(2, -1) / 32768


def test_genres_are_as_likely_as_the_mean_logits_of_their_classes_over_the_whole_song(yamnet, song, capsys):
    path, windows = song
    words = ["--encoder", str(yamnet), "--json"]
    assert fma.main(["predict", "--zero-shot", "Rock, Hip-Hop,Jazz", path, *words]) == 0
    printed = capsys.readouterr()
    (answer,) = json.loads(printed.out)
    classes = [find_class(name) for name in ("Rock music", "hip hop", "JAZZ")]
    logits = 10 * np.abs(windows).mean() * WEIGHTS[classes]
    expected = np.exp(logits) / np.exp(logits).sum()
    found = {genre["genre"]: genre["probability"] for genre in answer["genres"]}
    assert found == pytest.approx(dict(zip(("Rock", "Hip-Hop", "Jazz"), expected, strict=True)), abs=1e-4)
    assert "it has learned nothing from your music, and its probabilities are not calibrated" in printed.err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--zero-shot", "Rock,Jaz"], "AudioSet has no class of music of the name Jaz (did you mean Jazz?)"),
        (["--zero-shot", "Rock"], "--zero-shot: name two genres or more, each once"),
        (["--zero-shot", "Rock,Rock music"], "--zero-shot: name two genres or more, each once"),
        (["--zero-shot", "all", "--model", "svm"], "--model is of a RUN, and --zero-shot takes none"),
        (
            ["--zero-shot", "all", "--encoder", "gone"],
            "--zero-shot takes yamnet only: --encoder gone is no folder of it",
        ),
        ([], "name a song, too: fma predict"),
    ],
)
def test_what_cannot_be_asked_is_one_line(words, message, song, capsys):
    assert fma.main(["predict", *words, song[0]]) == 2
    assert message in capsys.readouterr().err.splitlines()[-1]
