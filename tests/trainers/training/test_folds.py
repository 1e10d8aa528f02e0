"""`fma train --folds`: every track is answered once, by a model that knows none of its artist's."""

from pathlib import Path

import numpy as np
import pytest

import fma
from tests.trainers.synthetic import write_dataset
from tests.trainers.training.test_resume import kill_at
from tests.trainers.training.test_train import train
from trainers.data.inputs import Inputs
from trainers.data.pipeline import ReadOptions
from trainers.evaluation.metrics import wilson
from trainers.models.records import normalization_of
from trainers.runs.directory import read_metrics
from trainers.runs.normalization import find_normalization
from trainers.runs.predictions import collect_predictions, read_predictions
from trainers.runs.state import load_state
from trainers.training.folds import plan_folds
from trainers.training.plan import Plan, TrainOptions, make_plan
from transforms.dataset.ledger import read_tracks
from transforms.dataset.manifest import load
from transforms.tracks import SPLITS

pytestmark = pytest.mark.usefixtures("tiny_models")

THREE = ("--folds", "3", "--seed", "1")


@pytest.fixture(scope="module")
def pairs(tmp_path_factory) -> Path:
    """36 tracks of two genres in three shards a split, two of each artist, some in two splits; without statistics."""
    folder = tmp_path_factory.mktemp("pairs") / "dataset"
    counts = {"training": 23, "validation": 4, "test": 9}
    write_dataset(folder, ("mel", "raw", "stats"), tracks=counts, shards=3, per_artist=2)
    return folder


@pytest.fixture(scope="module")
def folded(tiny_models, pairs, tmp_path_factory) -> Path:
    """A finished cross-validation. Not to be written to."""
    run = tmp_path_factory.mktemp("runs") / "folded"
    assert train(pairs, run, *THREE) == 0
    return run


def plans(dataset: Path, run: Path, model: str = "tiny") -> list[Plan]:
    return plan_folds(make_plan(TrainOptions(model, str(dataset), str(run), folds=3, seed=1)))


def test_every_track_is_answered_once_in_the_folds_of_baselines(pairs, folded, tmp_path):
    assert fma.main(["baselines", "--data", str(pairs), "--run", str(tmp_path / "b"), "--models", "gnb", *THREE]) == 0
    ours, theirs = (read_predictions(str(run), "test") for run in (folded, tmp_path / "b"))
    assert ours.track_id.tolist() == list(range(1, 37))
    assert set(ours.fold.tolist()) == {0, 1, 2}
    for name in ("track_id", "label", "fold"):
        assert getattr(ours, name).tolist() == getattr(theirs, name).tolist()


def test_an_answer_is_that_of_a_model_whose_training_and_validation_have_none_of_the_artists_tracks(pairs, folded):
    artists = {track.track_id: track.artist for track in read_tracks(str(pairs), load(str(pairs)))}
    answered = read_predictions(str(folded), "test")
    for number, plan in enumerate(plans(pairs, folded)):
        inputs = Inputs(str(pairs), plan.manifest, "mel", splits=plan.splits)
        found = {split: [int(one) for batch in inputs.read(split, 4) for one in kept(batch)] for split in SPLITS}
        assert {len(ids) for ids in found.values()} == {24}, "two records of each of twelve tracks"
        assert set(found["test"]) == set(answered.track_id[answered.fold == number].tolist())
        singers = [{artists[track_id] for track_id in found[split]} for split in SPLITS]
        assert sum(map(len, singers)) == len(set().union(*singers)) == 18
        stored = read_predictions(plan.options.run, "validation")
        assert set(stored.track_id.tolist()) == set(found["validation"])


def kept(batch) -> np.ndarray:
    return batch["track_id"].numpy()[batch["weight"].numpy() > 0]


@pytest.mark.parametrize("cache", ["on", "off"])
def test_each_epoch_has_every_record_of_the_folds_training_once(pairs, folded, cache):
    plan = plans(pairs, folded)[0]
    inputs = Inputs(str(pairs), plan.manifest, "mel", splits=plan.splits)
    options = ReadOptions(6, training=True, seeds=(5, 6), reproducible=True, cache=cache)
    ids = np.concatenate([batch["track_id"].numpy() for batch in inputs.read_split("training", options)])
    for epoch in (ids[:24], ids[24:]):
        assert sorted(epoch) == sorted(plan.splits["training"].track_id.tolist() * 2)
    assert ids[:24].tolist() != ids[24:].tolist()


def test_there_is_one_accuracy_with_one_interval_and_that_of_each_fold(folded, pairs, capsys):
    before = {path: path.stat().st_mtime_ns for path in folded.rglob("*") if path.is_file()}
    assert train(pairs, folded, *THREE) == 0
    assert before == {path: path.stat().st_mtime_ns for path in folded.rglob("*") if path.is_file()}
    said = capsys.readouterr().out
    assert f"{folded} is finished already" in said and "accuracy by track, 3 folds by artist" in said
    found, entry = read_predictions(str(folded), "test"), read_metrics(str(folded))["models"]["tiny"]
    right = found.log_probabilities["tiny"].argmax(axis=1) == found.label
    assert entry["per_track"]["accuracy"] == right.mean() and entry["per_track"]["tracks"] == 36
    assert entry["per_track"]["interval"] == list(wilson(int(right.sum()), 36))
    by_fold = [right[found.fold == fold].mean() for fold in range(3)]
    assert entry["by_fold"] == {
        "accuracy": by_fold,
        "mean": pytest.approx(np.mean(by_fold)),
        "deviation": pytest.approx(np.std(by_fold, ddof=1)),
    }
    assert [fit["run"] for fit in entry["fits"]] == ["folds/1", "folds/2", "folds/3"]
    assert f"{np.mean(by_fold):.3f} ± {np.std(by_fold, ddof=1):.3f}" in said


def test_a_killed_cross_validation_goes_on_and_trains_no_finished_fold_again(pairs, folded, tmp_path, monkeypatch):
    run = tmp_path / "run"
    kill_at(monkeypatch, "trainers.training.callbacks.advance", 4, lambda: train(pairs, run, *THREE))
    assert [load_state(str(run / "folds" / number)).epoch for number in "123"] == [2, 1, 0]
    first = {path: path.stat().st_mtime_ns for path in (run / "folds" / "1").rglob("*") if path.is_file()}
    assert train(pairs, run, *THREE) == 0
    assert first == {path: path.stat().st_mtime_ns for path in (run / "folds" / "1").rglob("*") if path.is_file()}
    assert read_metrics(str(run)) == read_metrics(str(folded))
    one, other = (read_predictions(str(path), "test").log_probabilities["tiny"] for path in (run, folded))
    np.testing.assert_array_equal(one, other)


def test_a_fold_is_normalised_by_its_training_tracks_alone(dataset, pairs, folded):
    from trainers.training.checkpoint import load_model
    from trainers.training.normalization import measure_mel

    manifest = load(str(dataset))
    of_dataset = find_normalization(str(dataset), manifest, "mel")
    measured = measure_mel(Inputs(str(dataset), manifest, "mel"))
    np.testing.assert_allclose(measured.mean, of_dataset.mean, rtol=1e-6)
    np.testing.assert_allclose(measured.deviation, of_dataset.deviation, rtol=1e-6)
    means = []
    for plan in plans(pairs, folded):
        inputs = Inputs(str(pairs), plan.manifest, "mel", splits=plan.splits)
        decibels = np.concatenate([batch["input"].numpy() for batch in inputs.read("training", 24)])
        decibels = decibels * plan.manifest.config.db_step + plan.manifest.config.db_min
        layer = normalization_of(load_model(plan.options.run))
        np.testing.assert_allclose(layer.mean, decibels.mean(axis=(0, 2)), rtol=1e-5)
        np.testing.assert_allclose(layer.deviation, decibels.std(axis=(0, 2)), rtol=1e-5)
        means.append(np.asarray(layer.mean))
    assert not np.allclose(means[0], means[1])


def test_a_cross_validation_is_compared_in_the_report_and_gives_no_model_for_new_music(folded, pairs, tmp_path, capsys):
    assert fma.main(["report", str(folded), "--out", str(tmp_path / "r.html")]) == 0
    said = f"{folded} has 3 folds: each track was scored by a model that knows none of its artist&#x27;s."
    page = (tmp_path / "r.html").read_text()
    assert said in page and "a model for each fold, none for new music" in page
    (predicted,), missing = collect_predictions([str(folded)], "training", 1)
    assert (predicted.model, missing) == ("tiny", [])
    for run in (folded, folded / "folds" / "1"):
        assert fma.main(["evaluate", str(run), "--data", str(pairs)]) == 2
        error = capsys.readouterr().err
        assert f"{run} is a cross-validation" in error and "fma train tiny without --folds" in error


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--folds", "3", "--labels", "all"), "--folds is for --labels top"),
        (("--folds", "19"), "has artists for 18 folds only"),
        (
            ("--folds", "3", "--backend", "jax", "--coordinator", "a:1", "--processes", "2", "--process", "0"),
            "--folds trains on one host",
        ),
    ],
)
def test_what_does_not_go_together_with_folds_is_refused(pairs, tmp_path, capsys, options, message):
    assert train(pairs, tmp_path / "run", *options) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ((), "folds is 3, not unset"),
        (("--folds", "4"), "folds is 3, not 4"),
        (("--folds", "3", "--epochs", "1"), "holds a run with other settings: epochs is 2, not 1"),
    ],
)
def test_other_settings_are_refused(pairs, folded, capsys, options, message):
    assert train(pairs, folded, "--seed", "1", *options) == 2
    assert message in capsys.readouterr().err


@pytest.mark.long
def test_more_epochs_are_trained_in_each_fold(pairs, tmp_path):
    assert train(pairs, tmp_path / "run", *THREE, "--epochs", "1") == 0
    first = read_metrics(str(tmp_path / "run"))
    assert train(pairs, tmp_path / "run", *THREE, "--epochs", "3", "--learning-rate", "0.01") == 0
    assert [load_state(str(tmp_path / "run" / "folds" / number)).epoch for number in "123"] == [3, 3, 3]
    assert read_metrics(str(tmp_path / "run")) != first


@pytest.mark.long
@pytest.mark.parametrize(
    ("model", "options"),
    [
        ("tiny", ("--cache", "device")),
        ("tiny", ("--cache", "off")),
        ("tiny_raw", ()),
        ("tiny_transfer", ()),
        ("tiny_pooled", ()),
    ],
)
def test_every_kind_of_model_and_cache_has_folds(pairs, folded, tmp_path, model, options):
    assert train(pairs, tmp_path / "run", *THREE, *options, model=model) == 0
    found = read_metrics(str(tmp_path / "run"))
    assert found["models"][model]["per_track"]["tracks"] == 36
    if options[1:] == ("device",):
        assert found == read_metrics(str(folded))
