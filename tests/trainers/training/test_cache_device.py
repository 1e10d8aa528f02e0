"""`fma train --cache device`: the records of training lie in the device's memory, and batches are drawn there."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest

import fma
from tests.trainers.synthetic import write_dataset
from tests.trainers.training.test_resume import kill_at
from tests.trainers.training.test_train import weights
from trainers.data.pipeline import draw_rows
from trainers.runs.state import load_state

pytestmark = pytest.mark.usefixtures("tiny_models")


def train(dataset: Path, run: Path, where: str, *, model: str = "tiny") -> int:
    words = ["train", model, "--data", str(dataset), "--run", str(run)]
    return fma.main([*words, "--device", "cpu", "--cache", where])


def test_every_epoch_has_the_same_records_once_in_an_order_of_its_own():
    first, second, again = (
        [row for batch in draw_rows(12, 4, seeds).as_numpy_iterator() for row in batch] for seeds in ([7], [8], [7])
    )
    assert sorted(first) == sorted(second) == list(range(12))
    assert first != second
    assert first == again
    both = [row for batch in draw_rows(12, 4, [7, 8]).as_numpy_iterator() for row in batch]
    assert both == first + second


def test_fewer_records_than_a_batch_are_repeated():
    (batch,) = draw_rows(3, 8, [0]).as_numpy_iterator()
    assert set(np.bincount(batch, minlength=3)) <= {2, 3, 4}


@pytest.fixture(scope="module")
def trained(tiny_models, dataset, tmp_path_factory) -> Callable[[str, str], Path]:
    """Finished runs by model and cache."""

    @cache
    def run_of(model: str, where: str) -> Path:
        run = tmp_path_factory.mktemp("cached") / f"{model}-{where}"
        assert train(dataset, run, where, model=model) == 0
        return run

    return run_of


@pytest.mark.long
@pytest.mark.parametrize("model", ["tiny", "tiny_raw"])
def test_a_run_is_the_one_that_the_host_feeds_to_the_last_bit(trained, model):
    host, device = trained(model, "on"), trained(model, "device")
    assert load_state(str(device)).history == load_state(str(host)).history
    for one, other in zip(weights(device), weights(host), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.long
def test_a_run_killed_and_carried_on_with_is_the_run_that_was_not_killed(dataset, trained, tmp_path, monkeypatch):
    killed = tmp_path / "killed"
    kill_at(monkeypatch, "trainers.training.callbacks.advance", 2, lambda: train(dataset, killed, "device"))
    assert load_state(str(killed)).epoch == 1
    assert train(dataset, killed, "device") == 0
    assert load_state(str(killed)).history == load_state(str(trained("tiny", "device"))).history


@pytest.mark.long
def test_the_records_are_no_part_of_the_run(trained):
    backups = [trained("tiny", where) / "backup" for where in ("on", "device")]
    host, device = ({file.name: file.stat().st_size for file in backup.rglob("*.npz")} for backup in backups)
    assert device == host


def test_records_that_do_not_fit_are_refused_in_one_line_before_an_epoch(dataset, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("trainers.training.device_records.available_memory", lambda: 50_000)
    assert train(dataset, tmp_path / "run", "device") == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert "--cache device: the training records take" in line
    assert "train with --cache auto" in line
    assert load_state(str(tmp_path / "run")).epoch == 0


def test_a_run_that_trains_a_head_alone_is_refused_in_one_line(dataset, tmp_path, capsys):
    assert train(dataset, tmp_path / "run", "device", model="tiny_pooled") == 2
    assert "of tiny_pooled only the head is trained" in capsys.readouterr().err.splitlines()[-1]


def test_a_shard_that_is_not_what_was_written_is_named(tmp_path, capsys):
    folder = tmp_path / "dataset"
    manifest = write_dataset(folder, ("raw",), tracks={"training": 4, "validation": 2})
    path = folder / manifest.shards("raw", "training")[0].path
    data = bytearray(path.read_bytes())
    data[500] ^= 1
    path.write_bytes(data)
    assert train(folder, tmp_path / "run", "device", model="tiny_raw") == 1
    assert str(path) in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.long
def test_under_jax_one_device_and_eight_train_to_the_loss_of_the_host_after_a_kill_too(dataset, tmp_path):
    """tiny_transfer: a phase on features, and one on records."""
    root = Path(__file__).resolve().parents[3]

    def history(devices: int, where: str, *, kill: bool = False) -> list[dict]:
        run = tmp_path / f"{devices}-{where}"
        words = [
            sys.executable,
            "-m",
            "tests.trainers.training.jax_runs",
            str(devices),
            "fma",
            "train",
            "tiny_transfer",
        ]
        words += ["--data", str(dataset), "--run", str(run), "--cache", where, "--batch-size", str(8 // devices)]
        if kill:
            with subprocess.Popen(words, cwd=root, stderr=subprocess.DEVNULL, start_new_session=True) as process:
                while load_state(str(run)).epoch < 4 and process.poll() is None:
                    time.sleep(0.01)
                os.killpg(process.pid, signal.SIGKILL)
            assert not load_state(str(run)).finished
        ran = subprocess.run(words, capture_output=True, text=True, check=False, cwd=root, timeout=240)
        assert ran.returncode == 0, ran.stderr[-2000:]
        return load_state(str(run)).history

    host = history(1, "on")
    assert history(1, "device", kill=True) == host
    for row, expected in zip(history(8, "device"), host, strict=True):
        for column in ("loss", "val_loss"):
            assert row[column] == pytest.approx(expected[column], abs=1e-5)
