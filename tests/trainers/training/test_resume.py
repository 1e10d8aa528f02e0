"""An interrupted run goes on where it was, wherever that is."""

import importlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import fma
from tests.trainers import tiny
from tests.trainers.synthetic import CONFIG, write_dataset
from tests.trainers.training.test_train import weights
from trainers.runs.directory import read_metrics
from trainers.runs.state import load_state
from transforms.config import DatasetConfig
from transforms.dataset.normalization import Normalization
from transforms.errors import UsageError

ROOT = Path(__file__).resolve().parents[3]

pytestmark = pytest.mark.usefixtures("tiny_models")


class Killed(BaseException):
    """Stands for the end of the process: nothing in the product handles it."""


def train(dataset: Path, run: Path, *options: str, model: str = "tiny") -> int:
    return fma.main(["train", model, "--data", str(dataset), "--run", str(run), "--device", "cpu", *options])


def kill_at(monkeypatch, place: str, call: int, train_it: Callable[[], int]) -> None:
    """Trains until the so-manieth call of a function, which ends the process before it does anything."""
    module, name = place.rsplit(".", 1)
    original = getattr(importlib.import_module(module), name)
    calls = iter(range(1, 1000))

    def stand_in(*args, **kwargs):
        if next(calls) == call:
            raise Killed
        return original(*args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(place, stand_in)
        with pytest.raises(Killed):
            train_it()


def epochs(run: Path) -> list[int]:
    return [row["epoch"] for row in load_state(str(run)).history]


@pytest.mark.long
@pytest.mark.parametrize(
    "kill",  # where, at which call, epochs that are committed then
    [
        ("trainers.training.normalization.find_normalization", 1, 0),  # config.json is all there is
        ("trainers.training.callbacks.advance", 2, 1),  # in an epoch
        ("trainers.training.checkpoint.model_bytes", 1, 0),  # while the first epoch's files are written
        ("trainers.training.callbacks.save_state", 2, 1),  # the epoch's files are there, and do not count
        ("trainers.training.callbacks.write_history", 2, 2),  # history.csv lacks a row
        ("trainers.training.checkpoint.promote_best", 3, 2),  # 1 at the start; committed, but model.keras is old
        ("trainers.training.loop.save_state", 1, 3),
        ("trainers.training.loop.remove_leftovers", 1, 3),  # finished, but not tidied up
    ],
)
def test_a_run_killed_anywhere_ends_with_every_epoch_once(dataset, tmp_path, monkeypatch, kill):
    from trainers.training.objective import cosine_schedule

    place, call, done = kill
    run = tmp_path / "run"
    kill_at(monkeypatch, place, call, lambda: train(dataset, run, "--epochs", "3"))
    assert load_state(str(run)).epoch == done
    assert train(dataset, run, "--epochs", "3") == 0
    state = load_state(str(run))
    assert epochs(run) == [1, 2, 3]
    schedule = cosine_schedule(tiny.phase(epochs=3), 4)  # it goes by the optimizer's own count of steps
    rates = [row["learning_rate"] for row in load_state(str(run)).history]
    assert rates == pytest.approx([float(schedule(4 * epoch)) for epoch in (1, 2, 3)], abs=1e-8)
    assert (state.epoch, state.finished) == (3, "all epochs done")
    losses = [row["val_loss"] for row in load_state(str(run)).history]
    assert losses[state.best_epoch - 1] == min(losses) == pytest.approx(state.best, rel=1e-6)
    assert validation_loss(dataset, run) == pytest.approx(state.best, abs=1e-5)
    assert set(read_metrics(str(run))) == {"validation", "test"}
    assert [path.name for path in (run / "backup").rglob("*")] == ["epoch-0003", "state.npz"]


@pytest.mark.parametrize(
    "kill",  # model, epoch
    [("tiny", 2), *(pytest.param(kill, marks=pytest.mark.long) for kill in (("tiny_transfer", 5), ("tiny_pooled", 3)))],
)
def test_a_run_killed_and_carried_on_with_is_the_run_that_was_not_killed(dataset, tmp_path, monkeypatch, kill):
    """To the last bit: order, augmentation, dropout and the optimizer's steps."""
    (model, epoch), killed, whole = kill, tmp_path / "killed", tmp_path / "whole"
    kill_at(monkeypatch, "trainers.training.callbacks.advance", epoch, lambda: train(dataset, killed, model=model))
    assert load_state(str(killed)).epoch == epoch - 1
    assert train(dataset, killed, model=model) == 0
    assert train(dataset, whole, model=model) == 0
    assert load_state(str(killed)).history == load_state(str(whole)).history
    for one, other in zip(weights(killed), weights(whole), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.long
def test_equal_seeds_give_equal_weights_in_every_process(tmp_path):
    data, config = str(tmp_path / "data"), DatasetConfig(features=("mel",))
    write_dataset(data, ("mel",), tracks={"training": 64, "validation": 8, "test": 8}, config=config)
    histories = []
    for number in range(3):
        run = str(tmp_path / str(number))
        words = ["mel_cnn", "--data", data, "--run", run, "--epochs", "3", "--device", "cpu"]
        subprocess.run([sys.executable, "-m", "fma", "train", *words], cwd=ROOT, check=True, capture_output=True)
        histories.append(load_state(run).history)
    assert all(history == histories[0] for history in histories)


@pytest.mark.long
def test_the_best_model_is_used_before_it_is_model_keras_and_no_other_is(dataset, tmp_path, monkeypatch, capsys):
    run, options = tmp_path / "run", ("--epochs", "3")
    # Its second call is after the first epoch: state.json is written, and the model still in the backup.
    kill_at(monkeypatch, "trainers.training.checkpoint.promote_best", 2, lambda: train(dataset, run, *options))
    assert not (run / "model.keras").exists()
    evaluate = ["evaluate", str(run), "--data", str(dataset), "--device", "cpu"]
    assert fma.main(evaluate) == 0
    first = (run / "backup" / "epoch-0001" / "best.keras").read_bytes()
    assert train(dataset, run, *options) == 0
    assert load_state(str(run)).best_epoch > 1
    (run / "model.keras").write_bytes(first)
    assert fma.main(evaluate) == 1
    assert "model.keras is damaged, or not the file that was written here" in capsys.readouterr().err


def validation_loss(dataset: Path, run: Path) -> float:
    from trainers.data.inputs import Inputs
    from trainers.evaluation.evaluate import Predictions, Predictor
    from trainers.training.checkpoint import load_model
    from trainers.training.devices import open_device
    from transforms.dataset.manifest import load

    inputs = Inputs(str(dataset), load(str(dataset)), "mel")
    predictor = Predictor(tiny.TINY, load_model(str(run)), open_device("cpu"))
    windows = Predictions.of(predictor.predict(inputs, "validation", 8)[0])
    return float(-np.mean(windows.log_probabilities[np.arange(len(windows.label)), windows.label]))


@pytest.mark.long
def test_patience_and_best_loss_survive_a_kill(dataset, tmp_path, monkeypatch):
    options = ("--epochs", "30", "--learning-rate", "0.3", "--patience", "3")
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    assert train(dataset, whole, *options) == 0
    best = load_state(str(whole)).best_epoch
    assert validation_loss(dataset, whole) == pytest.approx(load_state(str(whole)).best, abs=1e-5)
    # two epochs without improvement are used up
    kill_at(monkeypatch, "trainers.training.callbacks.advance", best + 3, lambda: train(dataset, broken, *options))
    state = load_state(str(broken))
    assert (state.wait, state.best_epoch) == (2, best)
    assert train(dataset, broken, *options) == 0
    after = load_state(str(broken)).history[best + 2]["val_loss"]
    assert (load_state(str(broken)).epoch == best + 3) == (after >= state.best)
    assert load_state(str(broken)).best <= state.best


def test_the_state_of_optimizer_and_dropout_survives(dataset, tmp_path, monkeypatch):
    from trainers.models.records import add_normalization
    from trainers.training import callbacks, checkpoint
    from trainers.training.answers import OneLabel
    from trainers.training.devices import open_device
    from trainers.training.objective import compile_part

    written: dict[str, list] = {}
    original = checkpoint.write

    def spy(run, name, model, optimizer, **more):
        written[name] = [np.asarray(variable) for variable in [*model.variables, *optimizer.variables]]
        seeds = [v for v in model.variables if "seed_generator_state" in v.path]
        assert len(seeds) == 1
        original(run, name, model, optimizer, **more)

    run = tmp_path / "run"
    monkeypatch.setattr(callbacks.checkpoint, "write", spy)
    kill_at(monkeypatch, "trainers.training.callbacks.advance", 2, lambda: train(dataset, run, "--epochs", "3"))
    network = tiny.build(tiny.ModelInput((32, 32)), 2, tiny.ModelOptions())
    ones = np.ones(32, np.float32)
    model = add_normalization(network, "mel", CONFIG, Normalization("mel", ones, ones))
    optimizer = compile_part(network, tiny.phase(), OneLabel.of(np.ones(2), tiny.phase()), 4).optimizer
    checkpoint.restore(str(run), load_state(str(run)), model, optimizer, open_device("cpu"))
    for variable, value in zip([*model.variables, *optimizer.variables], written["epoch-0001"], strict=True):
        np.testing.assert_array_equal(np.asarray(variable), value)
    assert int(optimizer.iterations) == 4


@pytest.mark.long
def test_a_model_of_two_phases_resumes_in_the_phase_it_was_in(dataset, tmp_path, monkeypatch):
    run = tmp_path / "run"
    kill_at(monkeypatch, "trainers.training.callbacks.advance", 4, lambda: train(dataset, run, model="two_phases"))
    state = load_state(str(run))
    assert (state.epoch, state.phase, state.phase_epoch) == (3, 1, 1)
    assert train(dataset, run, model="two_phases") == 0
    assert [(row["epoch"], row["phase"]) for row in load_state(str(run)).history] == [
        (1, "top"), (2, "top"), (3, "all"), (4, "all"), (5, "all"),
    ]  # fmt: skip


@pytest.mark.long
def test_a_run_killed_between_two_phases_starts_the_second(dataset, tmp_path, monkeypatch):
    run = tmp_path / "run"
    kill_at(monkeypatch, "trainers.training.loop.train_phase", 2, lambda: train(dataset, run, model="two_phases"))
    assert load_state(str(run)).phase_done
    assert train(dataset, run, model="two_phases") == 0
    assert [row["phase"] for row in load_state(str(run)).history] == ["top", "top", "all", "all", "all"]


@pytest.mark.long
def test_a_head_is_trained_on_with_the_features_that_are_there(dataset, tmp_path, monkeypatch, capsys):
    run = tmp_path / "run"
    kill_at(monkeypatch, "trainers.training.callbacks.advance", 3, lambda: train(dataset, run, model="tiny_transfer"))
    capsys.readouterr()
    assert train(dataset, run, model="tiny_transfer") == 0
    assert "features of training" not in capsys.readouterr().err
    assert [row["phase"] for row in load_state(str(run)).history] == ["head"] * 3 + ["fine"] * 2


def test_a_run_goes_on_only_where_it_would_be_the_same_run(finished):
    import tensorflow as tf

    from trainers.training.devices import JaxDevice, TensorFlowDevice
    from trainers.training.loop import check_device

    strategy = tf.distribute.get_strategy()
    check_device(str(finished), TensorFlowDevice("cpu", strategy, "float32"))
    with pytest.raises(UsageError, match=r"in float32 on cpu, .* in mixed_float16.* another --run") as refused:
        check_device(str(finished), TensorFlowDevice("gpu", strategy, "mixed_float16"))
    assert "remove" not in str(refused.value)
    with pytest.raises(UsageError, match="trained with --backend tensorflow"):
        check_device(str(finished), JaxDevice("cpu", "float32", 1))
    two = SimpleNamespace(name="gpu", replicas=2, precision="float32", backend="tensorflow")
    with pytest.raises(UsageError, match="on 1 replicas, and here are 2"):
        check_device(str(finished), two)


def test_a_lost_backup_is_one_line(dataset, tmp_path, monkeypatch, capsys):
    run = tmp_path / "run"
    kill_at(monkeypatch, "trainers.training.callbacks.advance", 2, lambda: train(dataset, run))
    (run / "backup" / "epoch-0001" / "state.npz").write_bytes(b"damaged")
    assert train(dataset, run) == 1
    assert f"remove {run} and train again" in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.long
def test_kill_9_in_the_middle_of_an_epoch_and_the_same_command_again(tmp_path):
    folder, run = tmp_path / "dataset", tmp_path / "run"
    write_dataset(folder, ("raw",), tracks={"training": 60, "validation": 4, "test": 4}, windows=8)
    script = "import sys, fma; from tests.trainers import tiny; tiny.register(); sys.exit(fma.main(sys.argv[1:]))"
    options = ["--epochs", "4", "--batch-size", "1", "--device", "cpu"]
    command = [sys.executable, "-c", script, "train", "tiny_raw", "--data", str(folder), "--run", str(run), *options]
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, start_new_session=True) as process:
        while load_state(str(run)).epoch == 0 and process.poll() is None:
            time.sleep(0.01)
        time.sleep(0.05)  # into the next epoch, of 480 steps
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
    before = load_state(str(run)).epoch
    rows = load_state(str(run)).history[:before]
    assert process.returncode == -signal.SIGKILL
    assert 1 <= before < 4
    again = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert again.returncode == 0, again.stderr
    assert f"carrying on after epoch {before}" in again.stderr
    assert "oneDNN" not in again.stderr  # TensorFlow's own notes are not the user's
    assert epochs(run) == [1, 2, 3, 4]
    assert load_state(str(run)).history[:before] == rows
    assert load_state(str(run)).finished
    assert train(folder, tmp_path / "whole", *options, model="tiny_raw") == 0
    assert load_state(str(run)).history == load_state(str(tmp_path / "whole")).history
