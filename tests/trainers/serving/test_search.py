"""`fma search` with a song's file: it is embedded as the tracks of the dataset were."""

import json
import shutil
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

import fma
from tests.trainers.models.published_yamnet import published_yamnet, write_h5
from trainers.runs.predictions import read_run_predictions
from transforms.dataset.embed import embed_shard
from transforms.dataset.manifest import commit, load
from transforms.encoders.encoder import open_encoder, read_facts
from transforms.encoders.facts import FILE, EncoderFacts

BANDS = 24


class Bands(tf.Module):
    """An encoder whose embedding is the loudness of frequency bands."""

    @tf.function(input_signature=[tf.TensorSpec((None, None), tf.float32, "windows")])
    def encode(self, windows):
        loudness = tf.abs(tf.signal.stft(windows, 2048, 2048))[:, :, :1008]
        bands = tf.reduce_mean(tf.reshape(loudness, (tf.shape(windows)[0], -1, BANDS, 1008 // BANDS)), axis=-1)
        return {"bands": tf.math.log(bands + 1e-3)}


@pytest.fixture(scope="module")
def encoder(tmp_path_factory) -> Path:
    """An encoder's folder."""
    folder = tmp_path_factory.mktemp("encoders") / "bands"
    module = Bands()
    tf.saved_model.save(module, str(folder), signatures={"encode": module.encode})
    facts = EncoderFacts("bands", "raw", 22_050, {"bands": BANDS}, "b" * 64)
    (folder / FILE).write_text(json.dumps(facts.to_json()))
    return folder


@pytest.fixture(scope="module")
def dataset(music, encoder, tmp_path_factory) -> str:
    """The songs' dataset with embeddings by that encoder."""
    folder = str(tmp_path_factory.mktemp("embedded") / "data")
    shutil.copytree(music.dataset, folder)
    embed(folder, encoder)
    return folder


def embed(dataset: str, encoder: Path) -> None:
    """Does what `fma embed` does, without a runner around it."""
    manifest = load(dataset)
    facts = read_facts(str(encoder))
    manifest.encoders[facts.name] = facts
    opened = open_encoder(str(encoder), facts, manifest.config)
    (generation,) = manifest.generations
    sources = [shard for shard in generation.shards if shard.kind == "raw"]
    generation.shards += [embed_shard(dataset, source, opened, manifest.schema) for source in sources]
    generation.shards.sort(key=lambda shard: shard.path)
    commit(dataset, manifest)


def search(capsys, *arguments: object) -> tuple[int, str, str]:
    capsys.readouterr()
    return fma.main(["search", *map(str, arguments)]), *capsys.readouterr()


def test_the_file_of_a_track_finds_it_first_with_similarity_1(dataset, music, encoder, capsys):
    for track in music.tracks[:4]:  # mp3, wav, ogg and flac
        code, out, _ = search(capsys, dataset, track.path, "--encoder-file", encoder, "--json")
        assert code == 0
        first, second, *_ = json.loads(out)["nearest"]
        assert first["track_id"] == track.track_id
        assert first["similarity"] == pytest.approx(1, abs=1e-4)
        assert second["similarity"] < 0.999


def test_an_encoder_of_keras_layers_hears_a_song_as_it_heard_the_tracks(dataset, music, tmp_path, capsys):
    keras.utils.set_random_seed(0)
    waveform = keras.Input((4_000,))
    values = keras.layers.Conv1D(16, 200, strides=100, activation="relu")(keras.layers.Reshape((4_000, 1))(waveform))
    keras.Model(waveform, values).save(tmp_path / "ears.keras")
    words = ["--encoder", str(tmp_path / "ears.keras"), "--sample-rate", "8000", "--out", str(tmp_path / "ears")]
    assert fma.main(["export", *words]) == 0
    folder = str(shutil.copytree(dataset, tmp_path / "data"))
    embed(folder, tmp_path / "ears")
    track = music.tracks[8]
    code, out, _ = search(
        capsys, folder, track.path, "--encoder", "ears", "--encoder-file", tmp_path / "ears.keras", "--json"
    )
    assert code == 0
    first = json.loads(out)["nearest"][0]
    assert (first["track_id"], first["similarity"]) == (track.track_id, pytest.approx(1, abs=1e-4))


@pytest.mark.long
@pytest.mark.parametrize("version", [1, 2])
def test_an_encoder_that_is_built_in_needs_no_file_in_any_version(version, music, tmp_path, monkeypatch, capsys):
    weights = str(write_h5(published_yamnet(np.random.default_rng(0)), tmp_path / "yamnet.h5"))
    words = ["--weights", weights, "--data", str(music.dataset), "--out", str(tmp_path / "yamnet")]
    assert fma.main(["export", "--encoder", "yamnet", "--encoder-version", str(version), *words]) == 0
    folder, run = str(shutil.copytree(music.dataset, tmp_path / "data")), str(tmp_path / "run")
    embed(folder, tmp_path / "yamnet")
    monkeypatch.setattr("trainers.encoders.table.get_weights", lambda _: weights)  # the published ones are elsewhere
    code, out, _ = search(capsys, folder, music.tracks[8].path, "--json")
    assert code == 0
    first = json.loads(out)["nearest"][0]
    assert (first["track_id"], first["similarity"]) == (8, pytest.approx(1, abs=1e-4))
    words = ["--features", "embedding/yamnet", "--models", "logreg", "--jobs", "1"]
    assert fma.main(["baselines", "--data", folder, "--run", run, *words]) == 0
    (known,) = read_run_predictions(run).values()
    by_id = {track.track_id: track.path for track in music.tracks}
    capsys.readouterr()
    assert fma.main(["predict", run, by_id[int(known.track_id[0])], "--json"]) == 0
    (answer,) = json.loads(capsys.readouterr().out)
    found = {one["genre"]: one["probability"] for one in answer["genres"]}
    expected = dict(zip(known.genres, np.exp(known.log_probabilities[0]), strict=True))
    assert found == pytest.approx(expected, abs=1e-3)


def test_what_cannot_be_searched_is_one_line(dataset, encoder, tmp_path, capsys):
    code, _, err = search(capsys, dataset, "no.mp3")
    assert code == 2
    assert f"no.mp3 is neither a track of {dataset} (" in err
    assert f"explain {dataset} no.mp3 may say why) nor a file" in err
    (tmp_path / "text.mp3").write_text("no music")
    code, _, err = search(capsys, dataset, tmp_path / "text.mp3", "--encoder-file", encoder)
    assert (code, err.count("\n")) == (1, 1)
    assert f"{tmp_path / 'text.mp3'}: " in err
    code, _, err = search(capsys, dataset, tmp_path / "text.mp3", "--encoder", "yamnet")
    assert "has no embeddings by yamnet (it has bands)" in err


def test_another_encoder_than_the_datasets_is_refused(dataset, music, encoder, tmp_path, capsys):
    other = tmp_path / "other"
    shutil.copytree(encoder, other)
    facts = json.loads((other / FILE).read_text())
    (other / FILE).write_text(json.dumps(facts | {"sha256": "c" * 64}))
    code, _, err = search(capsys, dataset, music.tracks[0].path, "--encoder-file", other)
    assert code == 2
    assert f"{other} is not the encoder of the dataset's embeddings: sha256 is cccc" in err
    code, _, err = search(capsys, dataset, music.tracks[0].path)
    assert code == 2
    assert "which are built in: give its file, --encoder-file" in err
