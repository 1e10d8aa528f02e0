"""A trained network knows how unlike its training tracks others are, wherever it is asked."""

import numpy as np
import pytest

import fma
from tests.trainers.serving.conftest import KINDS
from tests.trainers.synthetic import write_dataset
from trainers.evaluation.evaluate import evaluate_run
from trainers.runs.novelty import read_novelty
from trainers.runs.predictions import read_run_predictions
from trainers.serving.scorers import open_scorer
from trainers.training.front_features import logits_and_features
from transforms.dataset.manifest import load
from transforms.dataset.shard_io import read_shard
from transforms.records import decode_payload

pytestmark = pytest.mark.usefixtures("tiny_models")


@pytest.fixture(scope="module")
def enough(tmp_path_factory) -> str:
    """A dataset with as many validation tracks as a limit takes."""
    folder = str(tmp_path_factory.mktemp("doubt") / "dataset")
    write_dataset(folder, ("mel",), tracks={"training": 24, "validation": 24, "test": 6})
    assert fma.main(["statistics", folder]) == 0
    return folder


def novelty_when_served(run: str, dataset: str, track_id: int) -> float:
    """That of a track of the test split, by the engine's scorer."""
    manifest, scorer = load(dataset), open_scorer(run, device="cpu")
    records = [record for shard in manifest.shards("mel") for record, _ in read_shard(dataset, shard, manifest.schema)]
    windows = [decode_payload("mel", r.payload, manifest.config) for r in records if r.track_id == track_id]
    logits, features = scorer.rows("mel", np.stack(windows))
    return scorer.song(logits, {"mel": features.mean(axis=0, dtype=np.float64)})[2]


@pytest.mark.parametrize(
    "model",
    [
        "tiny",
        pytest.param("tiny_transfer", marks=pytest.mark.long),
        pytest.param("tiny_pooled", marks=pytest.mark.long),
    ],
)
def test_a_track_is_as_novel_when_served_as_in_the_predictions_of_training_and_of_evaluation(enough, tmp_path, model):
    run = str(tmp_path / "run")
    assert fma.main(["train", model, "--data", enough, "--run", run, "--device", "cpu"]) == 0
    assert read_novelty(run, model).tracks == 24
    kept = {split: read_run_predictions(run, split)[model] for split in ("validation", "test")}
    assert (kept["validation"].novelty > 1).sum() <= 2  # of 24 tracks; their distances' logarithms are about normal
    found = kept["test"]
    served = novelty_when_served(run, enough, int(found.track_id[0]))
    assert served == pytest.approx(float(found.novelty[0]), rel=1e-3)
    again = evaluate_run(run, enough, "test", batch_size=5, device="cpu").predictions
    np.testing.assert_allclose(again.novelty[model], found.novelty, rtol=1e-3)


def test_a_run_with_too_few_validation_tracks_says_nothing(finished):
    assert read_novelty(str(finished), "tiny") is None
    assert read_run_predictions(str(finished))["tiny"].novelty is None


@pytest.mark.parametrize("model", KINDS)
def test_evaluation_sees_the_logits_and_features_that_serving_sees(run_of, music, model):
    from trainers.runs.directory import load_config
    from trainers.serving.keras_scorer import KerasScorer
    from trainers.training.checkpoint import load_model

    run = str(run_of(model))
    scorer = KerasScorer(run, load_config(run))
    (kind,), config = scorer.kinds, music.manifest.config
    shard = music.manifest.shards(kind)[0]
    records = [record for record, _ in read_shard(str(music.dataset), shard, music.manifest.schema)][:3]
    payloads = np.stack([decode_payload(kind, record.payload, config) for record in records])
    expected = np.concatenate(scorer.rows(kind, payloads), axis=1)
    found = np.asarray(logits_and_features(load_model(run))(payloads, training=False))
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)
