"""More epochs for a run that has had its own: training goes on where it ended."""

import shutil
from pathlib import Path

import pytest

from tests.trainers import tiny
from tests.trainers.training.test_resume import epochs, kill_at, train, validation_loss
from tests.trainers.training.test_train import files_of
from trainers.runs.directory import read_metrics
from trainers.runs.state import load_state
from trainers.training.objective import cosine_schedule

pytestmark = [pytest.mark.long, pytest.mark.usefixtures("tiny_models")]

STEPS = 4  # in an epoch


@pytest.fixture
def run(finished, tmp_path) -> Path:
    """A finished run of two epochs."""
    return Path(shutil.copytree(finished, tmp_path / "run"))


def rates(run: Path) -> list[float]:
    return [row["learning_rate"] for row in load_state(str(run)).history]


def metrics_time(run: Path) -> int:
    return (run / "metrics.json").stat().st_mtime_ns


def test_a_finished_run_goes_on_with_the_learning_rate_of_a_run_that_long(dataset, run, capsys):
    before, written = load_state(str(run)), metrics_time(run)
    assert train(dataset, run, "--epochs", "4") == 0
    said = (
        "carrying on after epoch 2, where it had ended (all epochs done); the learning rate is now that of 4 epochs, "
    )
    assert said + "and 10 without a lower validation loss end them" in capsys.readouterr().err
    state = load_state(str(run))
    assert (epochs(run), state.history[:2], state.finished) == ([1, 2, 3, 4], before.history, "all epochs done")
    schedule = cosine_schedule(tiny.phase(epochs=4), STEPS)  # it goes by the optimizer's own count of steps
    assert rates(run)[2:] == pytest.approx([float(schedule(STEPS * epoch)) for epoch in (3, 4)], abs=1e-8)
    assert rates(run)[2] > rates(run)[1]
    assert state.best <= before.best
    assert validation_loss(dataset, run) == pytest.approx(state.best, abs=1e-5)
    assert metrics_time(run) > written
    assert files_of(run / "backup") == ["epoch-0004/state.npz"]
    assert train(dataset, run, "--epochs", "4") == 0
    assert "finished already" in capsys.readouterr().out
    assert train(dataset, run, "--epochs", "2") == 2
    assert "epochs is 4, not 2. Give the same settings, or more epochs for its last phase" in capsys.readouterr().err


@pytest.mark.parametrize(
    "kill",  # where, at which call, epochs that are committed then
    [
        ("trainers.training.callbacks.save_state", 1, 2),  # the first new epoch's files are there, and do not count
        ("trainers.training.checkpoint.promote_best", 2, 3),  # 1 at the start
        ("trainers.training.loop.write_metrics", 1, 4),
        ("trainers.training.loop.remove_leftovers", 1, 4),
    ],
)
def test_a_run_that_is_killed_on_the_way_is_finished_or_goes_on(dataset, run, monkeypatch, capsys, kill):
    place, call, done = kill
    scores = read_metrics(str(run))
    kill_at(monkeypatch, place, call, lambda: train(dataset, run, "--epochs", "4"))
    state = load_state(str(run))
    assert state.epoch == done
    assert bool(state.finished) == (done == 2 or "remove_leftovers" in place)
    assert validation_loss(dataset, run) == pytest.approx(state.best, abs=1e-5)
    if done == 2:  # as if nothing had been asked
        assert train(dataset, run) == 0
        assert "finished already" in capsys.readouterr().out
        assert read_metrics(str(run)) == scores
        assert files_of(run / "backup") == ["epoch-0002/state.npz"]
    assert train(dataset, run, "--epochs", "4") == 0
    assert epochs(run) == [1, 2, 3, 4]
    assert files_of(run / "backup") == ["epoch-0004/state.npz"]


def test_a_damaged_backup_costs_more_epochs_and_not_the_run(dataset, run, capsys):
    (run / "backup" / "epoch-0002" / "state.npz").write_bytes(b"damaged")
    assert train(dataset, run, "--epochs", "4") == 1
    assert "the run is as it was; for more epochs give another --run" in capsys.readouterr().err.splitlines()[-1]
    assert train(dataset, run) == 0
    assert "finished already" in capsys.readouterr().out


def test_a_run_that_stopped_early_goes_on_until_patience_ends_again(dataset, tmp_path, capsys):
    run, settings = tmp_path / "run", ("--learning-rate", "0.3", "--patience", "1")
    assert train(dataset, run, "--epochs", "40", *settings) == 0
    stopped = load_state(str(run))
    assert stopped.finished == "validation no longer improved"
    capsys.readouterr()
    assert train(dataset, run, "--epochs", "50", *settings) == 0
    said = f"carrying on after epoch {stopped.epoch}, where it had ended (validation no longer improved); "
    said += "the learning rate is now that of 50 epochs, and 1 without a lower validation loss end them"
    assert said in capsys.readouterr().err
    state = load_state(str(run))
    assert state.epoch > stopped.epoch
    assert state.wait == 1 or state.epoch == 50


def phases_of(run: Path) -> list[str]:
    return [row["phase"] for row in load_state(str(run)).history]


def test_phases_get_more_epochs_or_begin_later(dataset, tmp_path, capsys):
    run = tmp_path / "run"
    for each, phases in (
        ("1,0", ["head"]),
        ("2,0", ["head"] * 2),
        ("2,1", ["head"] * 2 + ["fine"]),
        ("2,2", ["head"] * 2 + ["fine"] * 2),
    ):
        assert train(dataset, run, "--epochs", each, model="tiny_transfer") == 0
        assert phases_of(run) == phases
    said = capsys.readouterr().err
    assert "after epoch 2, where it had ended (all epochs done), with phase fine" in said
    assert train(dataset, run, "--epochs", "3,2", model="tiny_transfer") == 2
    assert "epochs of phase head is 2, not 3. Give the same settings, or more epochs for its last phase" in (
        capsys.readouterr().err
    )
