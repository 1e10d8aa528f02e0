"""Tables of several kinds of features, and runs of fma baselines on embeddings."""

import json
from pathlib import Path

import numpy as np
import pytest

import fma
from tests.embeddings import add_embeddings
from tests.trainers.synthetic import write_dataset
from trainers.classical.features import read_features
from trainers.classical.finished import evaluate_baselines
from trainers.classical.table import group_columns
from trainers.data.targets import Targets
from trainers.runs.directory import load_config
from transforms.dataset.embeddings import read_embeddings
from transforms.dataset.manifest import load
from transforms.errors import UsageError

TRACKS = {"training": 40, "validation": 12, "test": 12}
OUTPUTS = {"embedding": 6, "logits": 4}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> str:
    folder = str(tmp_path_factory.mktemp("data") / "dataset")
    write_dataset(folder, ("stats",), ("Folk", "Pop", "Rock"), TRACKS)
    add_embeddings(folder, "yamnet", OUTPUTS)
    add_embeddings(folder, "own", {"out": 3}, seed=1)
    return folder


def test_kinds_are_joined_by_track_and_their_columns_say_what_they_are(dataset):
    manifest = load(dataset)
    table = read_features(dataset, manifest, ("stats", "embedding/yamnet", "embedding/own"))
    assert table.values.shape == (64, 518 + 20 + 6) and len(table.columns) == 518 + 20 + 6
    np.testing.assert_array_equal(table.values[:, :518], read_features(dataset, manifest).values)
    found = read_embeddings(dataset, manifest, "yamnet")
    assert found.track_id.tolist() == table.track_ids.tolist()
    columns = dict(zip(table.columns, table.values.T, strict=True))
    np.testing.assert_array_equal(columns["embedding/yamnet/logits/mean/0003"], found.mean[:, 9])
    np.testing.assert_array_equal(columns["embedding/yamnet/embedding/deviation/0000"], found.deviation[:, 0])
    assert list(table.encoders) == ["yamnet", "own"] and table.encoders["yamnet"] == manifest.encoders["yamnet"]


@pytest.mark.parametrize(
    ("group", "count"),
    [("mfcc", 140), ("yamnet", 20), ("embedding/yamnet", 20), ("yamnet/logits", 8), ("yamnet/logits/mean+own", 10)],
)
def test_a_group_is_a_beginning_of_names(dataset, group, count):
    table = read_features(dataset, load(dataset), ("stats", "embedding/yamnet", "embedding/own"))
    assert len(group_columns(table.columns, group)) == count


def test_what_says_how_loud_a_track_is_is_left_out_by_default(tmp_path):
    write_dataset(tmp_path / "d", ("stats", "theory"), tracks=TRACKS)
    add_embeddings(tmp_path / "d", "own", {"out": 3})
    manifest = load(str(tmp_path / "d"))
    for features, count in (("stats", 509), ("theory", 83), ("stats,theory,embedding/own", 509 + 83 + 6)):
        table = read_features(str(tmp_path / "d"), manifest, features.split(","))
        assert len(group_columns(table.columns, table.default_group)) == count
    assert read_features(str(tmp_path / "d"), manifest, ("embedding/own",)).default_group == "all"


def test_an_unknown_group_is_refused_with_the_outputs_there_are(dataset):
    table = read_features(dataset, load(dataset), ("embedding/yamnet",))
    with pytest.raises(UsageError, match="no feature 'mfcc'; join some of yamnet/embedding, yamnet/logits by"):
        group_columns(table.columns, "mfcc")


def test_embeddings_of_many_genres_have_the_tracks_without_a_top_genre(tmp_path):
    tree = {"Rock": "", "Punk": "Rock", "Pop": "", "Disco": "Pop"}
    write_dataset(tmp_path / "d", ("stats",), tracks=TRACKS, tree=tree)
    add_embeddings(tmp_path / "d")
    manifest = load(str(tmp_path / "d"))
    targets = Targets.read(str(tmp_path / "d"), manifest, 2)
    table = read_features(str(tmp_path / "d"), manifest, ("embedding/yamnet",), targets=targets)
    assert table.track_ids.tolist() == targets.track_id.tolist() and table.labels.dtype == bool


@pytest.fixture(scope="module")
def finished(dataset, tmp_path_factory) -> str:
    run = str(tmp_path_factory.mktemp("runs") / "run")
    words = ["--features", "stats,embedding/yamnet", "--features-group", "all", "yamnet/logits"]
    assert (
        fma.main(["baselines", "--data", dataset, "--run", run, *words, "--models", "gnb,fusion", "--jobs", "1"]) == 0
    )
    return run


def test_a_run_stores_its_features_and_their_encoders(finished, dataset):
    config = load_config(finished)
    assert config.options["features"] == "stats,embedding/yamnet"
    assert config.options["encoders"] == "yamnet 555555555555-1"
    assert config.dataset["encoders"] == {"yamnet": load(dataset).encoders["yamnet"].to_json()}
    models = json.loads((Path(finished) / "metrics.json").read_text())["models"]
    assert list(models) == ["gnb@all", "fusion@all", "gnb@yamnet/logits", "fusion@yamnet/logits"]
    assert models["fusion@all"]["fits"][0]["components"] == 518 + 20
    assert models["fusion@all"]["per_track"]["accuracy"] > 0.9
    assert all((Path(finished) / entry["fits"][0]["file"]).exists() for entry in models.values())


def test_its_evaluation_gives_the_same_numbers(finished, dataset):
    models = json.loads((Path(finished) / "metrics.json").read_text())["models"]
    again, _ = evaluate_baselines(finished, dataset, "test")
    for name, entry in again["models"].items():
        assert entry["per_track"] == models[name]["per_track"]


def test_embeddings_of_another_encoder_are_not_evaluated(finished, tmp_path):
    write_dataset(tmp_path / "d", ("stats",), ("Folk", "Pop", "Rock"), TRACKS)
    with pytest.raises(UsageError, match="no embeddings by yamnet"):
        evaluate_baselines(finished, str(tmp_path / "d"))
    add_embeddings(tmp_path / "d", "yamnet", OUTPUTS, sha256="6" * 64)
    said = (
        r"by another yamnet than that of .*, whose sha256 is 666.*, not 555.*: take them out \(.* --remove yamnet\) and"
    )
    with pytest.raises(UsageError, match=said):
        evaluate_baselines(finished, str(tmp_path / "d"))


def test_the_fusion_alone_takes_its_own_features_and_says_which_are_missing(dataset, tmp_path, capsys):
    assert fma.main(["baselines", "--data", dataset, "--run", str(tmp_path / "run"), "--models", "fusion"]) == 2
    assert "no embeddings by mobilenet_v2" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--data", "d", "--features", "mel"], "--features mel: choose some of stats, theory and embedding/NAME"),
        (["--features-csv", "f.csv", "--features", "stats"], "--features belongs to --data"),
    ],
)
def test_features_that_cannot_be_are_refused(tmp_path, capsys, words, message):
    assert fma.main(["baselines", *words, "--run", str(tmp_path / "run")]) == 2
    assert message in capsys.readouterr().err


def test_many_genres_are_learned_from_embeddings_too(tmp_path):
    tree = {"Rock": "", "Punk": "Rock", "Pop": "", "Disco": "Pop"}
    write_dataset(tmp_path / "d", ("stats",), tracks=TRACKS, tree=tree)
    add_embeddings(tmp_path / "d")
    words = ["--labels", "all", "--min-tracks", "2", "--features", "embedding/yamnet", "--models", "gnb"]
    words += ["--features-group", "yamnet/logits", "all"]
    assert fma.main(["baselines", "--data", str(tmp_path / "d"), "--run", str(tmp_path / "run"), *words]) == 0
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert list(metrics["models"]) == ["gnb@yamnet/logits", "gnb@all"]
