"""`fma train` from start to end, and what it refuses."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

import fma
from tests.trainers import tiny
from tests.trainers.synthetic import write_dataset
from trainers.runs.directory import load_config, read_metrics
from trainers.runs.state import load_state
from transforms.dataset.manifest import commit, load

pytestmark = pytest.mark.usefixtures("tiny_models")


def files_of(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def train(dataset: Path, run: Path, *options: str, model: str = "tiny") -> int:
    return fma.main(["train", model, "--data", str(dataset), "--run", str(run), "--device", "cpu", *options])


def weights(run: Path) -> list[np.ndarray]:
    import keras

    return keras.saving.load_model(run / "model.keras", compile=False).get_weights()


@pytest.fixture(scope="module")
def five_tracks(tmp_path_factory) -> Path:
    """Five tracks of two genres, of two windows each."""
    folder = tmp_path_factory.mktemp("few") / "dataset"
    write_dataset(folder, ("mel",), tracks={"training": 6, "validation": 2, "test": 2})
    assert fma.main(["statistics", str(folder)]) == 0
    return folder


def test_a_run_leaves_all_that_it_promises(dataset, finished):
    manifest = load(str(dataset))
    config = load_config(str(finished))
    assert (config.model, config.seed, config.labels) == ("tiny", 0, ["Folk", "Rock"])
    assert config.dataset == {"path": str(dataset), "digest": manifest.digest, "config": manifest.config.to_json()}
    assert config.options["width"] == 1.0
    assert [(phase["epochs"], phase["batch_size"]) for phase in config.phases] == [(2, 8)]
    assert {"keras", "tensorflow", "python", "device", "replicas", "precision"} <= set(config.made_with)
    rows = load_state(str(finished)).history
    assert [row["epoch"] for row in rows] == [1, 2]
    assert all(np.isfinite(row[name]) for row in rows for name in ("loss", "val_loss", "accuracy", "val_accuracy"))
    state = load_state(str(finished))
    assert (state.epoch, state.finished) == (2, "all epochs done")
    assert state.best == pytest.approx(min(row["val_loss"] for row in rows), rel=1e-6)
    assert rows[state.best_epoch - 1]["val_loss"] == pytest.approx(state.best, rel=1e-6)
    assert not (finished / "normalization.npz").exists()  # the model has it
    assert list((finished / "logs" / "train").glob("events*"))
    assert list((finished / "logs" / "validation").glob("events*"))
    assert files_of(finished / "backup") == ["epoch-0002/state.npz"]  # for more epochs


def test_metrics_are_by_split_by_track_and_by_window(finished):
    metrics = read_metrics(str(finished))
    assert set(metrics) == {"validation", "test"}
    for name, tracks in {"validation": 10, "test": 6}.items():
        split = metrics[name]
        assert set(split) == {"per_track", "per_window", "labels", "left_out"}
        assert split["per_track"]["tracks"] == tracks
        assert split["per_window"]["records"] == 2 * tracks
        low, high = split["per_track"]["interval"]
        assert 0 <= low <= split["per_track"]["accuracy"] <= high <= 1
        assert np.sum(split["per_track"]["confusion"]) == tracks


def test_the_model_that_is_kept_is_that_of_the_best_epoch(dataset, finished):
    import keras

    from trainers.data.inputs import Inputs
    from trainers.evaluation.evaluate import Predictions, Predictor
    from trainers.training.devices import open_device

    inputs = Inputs(str(dataset), load(str(dataset)), "mel")
    model = keras.saving.load_model(finished / "model.keras", compile=False)
    predictor = Predictor(tiny.TINY, model, open_device("cpu"))
    windows = Predictions.of(predictor.predict(inputs, "validation", 5)[0])
    loss = -np.mean(windows.log_probabilities[np.arange(len(windows.label)), windows.label])
    assert loss == pytest.approx(load_state(str(finished)).best, abs=1e-5)
    assert not model.compiled


def test_a_head_is_trained_on_features_that_are_computed_once(dataset, tmp_path, capsys):
    assert train(dataset, tmp_path / "run", model="tiny_transfer") == 0
    error = capsys.readouterr().err
    assert error.count("features of training: 32 of 32 records") == 1
    assert [row["phase"] for row in load_state(str(tmp_path / "run")).history] == ["head"] * 3 + ["fine"] * 2
    assert not (tmp_path / "run" / "features").exists()


@pytest.mark.long
def test_validation_losses_of_head_and_whole_model_are_the_same_measure(dataset, tmp_path):
    """The fine-tuning starts from the best head; with a learning rate of nearly nothing it stays there."""
    assert train(dataset, tmp_path / "run", "--learning-rate", "0.05,1e-9", model="tiny_transfer") == 0
    rows = load_state(str(tmp_path / "run")).history
    best = min(row["val_loss"] for row in rows[:3])
    assert [row["val_loss"] for row in rows[3:]] == pytest.approx([best, best], rel=1e-4)


def test_a_head_that_pools_tracks_classifies_tracks_and_windows(dataset, tmp_path):
    assert train(dataset, tmp_path / "run", "--epochs", "30", model="tiny_pooled") == 0
    metrics = read_metrics(str(tmp_path / "run"))["test"]
    assert (metrics["per_track"]["tracks"], metrics["per_window"]["records"]) == (6, 12)
    assert metrics["per_track"]["accuracy"] == 1.0
    before = json.loads(json.dumps(metrics))
    assert fma.main(["evaluate", str(tmp_path / "run"), "--data", str(dataset), "--device", "cpu"]) == 0
    assert read_metrics(str(tmp_path / "run"))["test"] == before


def test_a_finished_run_says_so_and_is_left_alone(dataset, finished, capsys):
    before = {path: path.stat().st_mtime_ns for path in finished.rglob("*") if path.is_file()}
    assert train(dataset, finished) == 0
    assert "finished already" in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in finished.rglob("*") if path.is_file()} == before


def test_a_run_with_other_settings_is_refused(dataset, finished, capsys):
    assert train(dataset, finished, "--epochs", "1", "--seed", "1") == 2
    error = capsys.readouterr().err
    assert "seed is 0, not 1" in error
    assert "epochs is 2, not 1" in error
    assert len(error.splitlines()) == 1


@pytest.mark.long
def test_equal_seeds_give_equal_models_and_other_seeds_others(dataset, finished, tmp_path):
    assert train(dataset, tmp_path / "again") == 0
    assert train(dataset, tmp_path / "other", "--seed", "1") == 0
    one, again, other = (weights(run) for run in (finished, tmp_path / "again", tmp_path / "other"))
    for a, b in zip(one, again, strict=True):
        np.testing.assert_array_equal(a, b)
    assert any(not np.array_equal(a, b) for a, b in zip(one, other, strict=True))
    assert (tmp_path / "again" / "history.csv").read_bytes() == (finished / "history.csv").read_bytes()


@pytest.mark.long
def test_a_dataset_without_validation_trains_to_the_end_and_says_so(tmp_path, capsys):
    write_dataset(tmp_path / "dataset", ("mel",), tracks={"training": 8, "test": 2})
    assert fma.main(["statistics", str(tmp_path / "dataset")]) == 0
    assert train(tmp_path / "dataset", tmp_path / "run") == 0
    error = capsys.readouterr().err
    assert "no validation split: no early stopping" in error
    assert "--folds 5 scores on all tracks instead, by cross-validation that keeps artists together" in error
    assert [row["val_loss"] for row in load_state(str(tmp_path / "run")).history] == [None, None]
    assert load_state(str(tmp_path / "run")).best_epoch == 2
    assert set(read_metrics(str(tmp_path / "run"))) == {"test"}


def test_a_dataset_of_training_tracks_only_is_not_evaluated(tmp_path, capsys):
    write_dataset(tmp_path / "dataset", ("raw",), tracks={"training": 8})
    assert train(tmp_path / "dataset", tmp_path / "run", "--epochs", "1", model="tiny_raw") == 0
    assert "neither a validation nor a test split" in capsys.readouterr().out
    assert (tmp_path / "run" / "model.keras").is_file()


def test_training_stops_early_where_validation_does_not_improve(dataset, tmp_path, capsys):
    assert train(dataset, tmp_path / "run", "--epochs", "40", "--learning-rate", "0.3", "--patience", "1") == 0
    state = load_state(str(tmp_path / "run"))
    assert state.epoch < 40
    assert state.epoch == state.best_epoch + 1
    assert state.finished == "validation no longer improved"
    assert f"stopped after {state.epoch} of 40 epochs" in capsys.readouterr().err


def test_a_validation_split_with_few_tracks_of_a_genre_neither_ends_training_nor_chooses_an_epoch(tmp_path, capsys):
    write_dataset(tmp_path / "dataset", ("raw",), tracks={"training": 16, "validation": 9, "test": 4})
    options = ("--epochs", "6", "--learning-rate", "3", "--patience", "1")
    assert train(tmp_path / "dataset", tmp_path / "run", *options, model="tiny_raw") == 0
    said = "validation has too few tracks: no early stopping, and the last epoch's model is kept"
    assert said in capsys.readouterr().err
    state = load_state(str(tmp_path / "run"))
    losses = [row["val_loss"] for row in state.history]
    assert (state.epoch, state.best_epoch, state.best) == (6, 6, None)
    assert any(
        loss >= min(losses[:epoch]) for epoch, loss in enumerate(losses) if epoch
    )  # patience would have ended it


def explode_at(monkeypatch, step: int) -> None:
    """From that step on, steps are infinite. An epoch has 4 steps."""
    import keras

    class Explosive(keras.optimizers.schedules.LearningRateSchedule):
        def __call__(self, now):
            return keras.ops.where(now < step, 1e-3, float("inf"))

    monkeypatch.setattr("trainers.training.objective.cosine_schedule", lambda phase, steps: Explosive())


def test_a_loss_that_is_no_number_stops_the_run_and_keeps_the_last_good_model(dataset, tmp_path, capsys, monkeypatch):
    explode_at(monkeypatch, 5)
    assert train(dataset, tmp_path / "run", "--epochs", "3") == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert "not a finite number any more at step 3 of epoch 2" in error
    assert "the model up to epoch 1 is kept" in error
    assert "--learning-rate" in error
    assert load_state(str(tmp_path / "run")).epoch == 1
    assert [row["epoch"] for row in load_state(str(tmp_path / "run")).history] == [1]
    assert all(np.isfinite(value).all() for value in weights(tmp_path / "run"))


def test_weights_that_are_ruined_by_an_epochs_last_step_are_not_kept(tmp_path, capsys, monkeypatch):
    """Also where no validation loss would show it."""
    explode_at(monkeypatch, 3)
    write_dataset(tmp_path / "dataset", ("raw",), tracks={"training": 16})
    assert train(tmp_path / "dataset", tmp_path / "run", model="tiny_raw") == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert "at the end of epoch 1; no epoch had ended" in error
    assert load_state(str(tmp_path / "run")).epoch == 0
    assert not (tmp_path / "run" / "model.keras").exists()


def test_an_unknown_model_lists_the_models(dataset, tmp_path, capsys):
    assert train(dataset, tmp_path / "run", model="resnet99") == 2
    error = capsys.readouterr().err
    assert "unknown model resnet99" in error
    assert "mel_cnn" in error
    assert not (tmp_path / "run").exists()


def test_a_dataset_without_the_records_that_a_model_needs_is_refused(tmp_path, capsys):
    write_dataset(tmp_path / "dataset", ("raw",))
    assert train(tmp_path / "dataset", tmp_path / "run") == 2
    assert "no mel records" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"tracks": {"validation": 4, "test": 4}}, "no mel records in its training split"),
        ({"genres": ("Folk",)}, "one genre only"),
    ],
)
def test_a_dataset_that_teaches_nothing_is_refused(tmp_path, capsys, arguments, message):
    write_dataset(tmp_path / "dataset", ("mel",), **arguments)
    assert train(tmp_path / "dataset", tmp_path / "run") == 2
    assert message in capsys.readouterr().err


def test_a_damaged_shard_is_one_line(dataset, tmp_path, capsys):
    copy = tmp_path / "dataset"
    shutil.copytree(dataset, copy)
    shard = copy / load(str(copy)).shards("mel", "training")[0].path
    data = bytearray(shard.read_bytes())
    data[len(data) // 2] ^= 0xFF
    shard.write_bytes(data)
    assert train(copy, tmp_path / "run", "--epochs", "1") == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert shard.name in error
    assert f"run fma verify {copy}" in error


def test_a_dataset_that_has_changed_is_refused(dataset, finished, tmp_path, capsys):
    copy = tmp_path / "dataset"
    shutil.copytree(dataset, copy)
    manifest = load(str(copy))
    manifest.generations[0].shards[0].digest = "0" * 64
    commit(str(copy), manifest)
    assert train(copy, finished) == 2
    assert "the dataset is not the one that the run began with" in capsys.readouterr().err


@pytest.mark.long
@pytest.mark.parametrize("model", ["tiny", "two_phases", "tiny_transfer", "tiny_pooled"])
def test_five_tracks_of_each_genre_are_trained_and_evaluated(five_tracks, tmp_path, capsys, model):
    assert train(five_tracks, tmp_path / "run", "--batch-size", "64", model=model) == 0
    notes = [line for line in capsys.readouterr().err.splitlines() if "fewer than a batch of 64" in line]
    assert notes[0].endswith(f"its batches have {6 if model == 'tiny_pooled' else 12}")  # tracks, or their windows
    assert len(notes) == len({line.split()[2] for line in notes})  # one for each phase
    metrics = read_metrics(str(tmp_path / "run"))
    assert [metrics[split]["per_track"]["tracks"] for split in ("validation", "test")] == [2, 2]
    assert all(np.isfinite(row["val_loss"]) for row in load_state(str(tmp_path / "run")).history)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--epochs", "0"), "at least one phase needs epochs"),
        (("--epochs", "3,4"), "2 numbers for 1 phases"),
        (("--weights", "imagenet"), "takes no --weights"),
    ],
)
def test_settings_that_do_not_fit_are_refused(dataset, tmp_path, capsys, options, message):
    assert train(dataset, tmp_path / "run", *options) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("option", ["--epochs=-1", "--learning-rate=0", "--label-smoothing=1", "--epochs=two"])
def test_settings_that_are_no_settings_are_refused(dataset, tmp_path, option):
    with pytest.raises(SystemExit) as refused:
        train(dataset, tmp_path / "run", option)
    assert refused.value.code == 2
