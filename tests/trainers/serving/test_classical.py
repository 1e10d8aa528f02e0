"""Classical models of many genres: what they answer is what they were scored by, from the run and from its export."""

import json

import numpy as np
import pytest

import fma
from trainers.classical.features import read_features
from trainers.data.targets import Targets
from trainers.runs.genre_predictions import read_genre_predictions
from trainers.serving.scorers import open_scorer
from transforms.dataset.ledger import read_tracks
from transforms.dataset.manifest import load
from transforms.taxonomy import Taxonomy


@pytest.fixture(scope="module")
def run(several, tmp_path_factory) -> str:
    folder = str(tmp_path_factory.mktemp("runs") / "classical")
    words = ["--labels", "all", "--min-tracks", "5", "--models", "logreg,knn,gnb,svm_linear"]
    assert fma.main(["baselines", "--data", str(several), "--run", folder, *words]) == 0
    return folder


@pytest.fixture(scope="module")
def payloads(several, run) -> np.ndarray:
    manifest = load(str(several))
    targets = Targets.of(read_tracks(str(several), manifest), read_genre_predictions(run).genres)
    return read_features(str(several), manifest, splits=("test",), targets=targets).values


@pytest.mark.parametrize("model", ["logreg", "knn", "gnb", "svm_linear"])
def test_a_model_answers_with_the_probabilities_that_it_was_scored_by_and_so_does_its_export(
    run, payloads, tmp_path, model
):
    found = read_genre_predictions(run)
    out = str(tmp_path / "exported")
    assert fma.main(["export", run, "--model", model, "--out", out]) == 0
    for scorer in (open_scorer(run, model), open_scorer(out)):
        probabilities = scorer.task.of_windows(scorer.logits(payloads))
        np.testing.assert_allclose(probabilities, found.probabilities[model], atol=1e-6)
        np.testing.assert_array_equal(scorer.task.thresholds, found.thresholds[model])
        for at, name in enumerate(found.genres):
            for above in Taxonomy(scorer.task.parents).line(name)[1:]:
                assert (probabilities[:, at] <= probabilities[:, found.genres.index(above)]).all()


def test_the_model_that_is_best_on_validation_answers_unless_another_is_named(run):
    with open(f"{run}/metrics.json") as file:
        models = json.load(file)["models"]
    best = max(models, key=lambda name: models[name]["fits"][0]["validation"]["map_macro"])
    assert open_scorer(run).name == best


def test_a_song_gets_its_genres_along_the_tree(run, music, capsys):
    capsys.readouterr()
    assert fma.main(["predict", run, music.tracks[0].path, "--json"]) == 0
    (answer,) = json.loads(capsys.readouterr().out)
    assert answer["labels"] == "all"
    assert [one["genre"] for one in answer["genres"] if not one["parent"]]
