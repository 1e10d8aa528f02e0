"""`fma train` makes the statistics that a dataset lacks, by `fma statistics` in a process of its own."""

import os
import signal
import sys
from pathlib import Path

import pytest

import fma
from tests.processes import assert_all_end, descendants, start, wait_for
from tests.trainers.synthetic import write_dataset
from trainers.runs.normalization import find_normalization, make_statistics
from transforms.dataset.growth import locked
from transforms.dataset.manifest import load
from transforms.errors import UsageError

pytestmark = [pytest.mark.long, pytest.mark.usefixtures("tiny_models")]


def train(dataset: Path, run: Path, model: str = "tiny") -> int:
    return fma.main(["train", model, "--data", str(dataset), "--run", str(run), "--device", "cpu", "--epochs", "1"])


def test_statistics_are_made_once_and_said(tmp_path, capfd):
    dataset = tmp_path / "my music"
    write_dataset(dataset, ("mel",))
    assert train(dataset, tmp_path / "run") == 0
    shown = capfd.readouterr()
    said = f"{dataset} has no statistics of kind mel: they are made now, once, by fma statistics '{dataset}'"
    assert shown.err.startswith(said)
    assert "statistics: 24 of 24 records" in shown.err
    assert "analysed 24 mel records" not in shown.out
    assert make_statistics(str(dataset), load(str(dataset)), "mel") == 0
    assert capfd.readouterr().err == ""


def test_a_model_that_reads_raw_makes_no_statistics(tmp_path, capfd):
    write_dataset(tmp_path / "dataset")
    assert train(tmp_path / "dataset", tmp_path / "run", "tiny_raw") == 0
    assert load(str(tmp_path / "dataset")).transform_fn is None
    assert "statistics" not in capfd.readouterr().err


def test_where_beam_is_not_installed_the_line_says_what_to_run_elsewhere(tmp_path, monkeypatch, capsys):
    write_dataset(tmp_path / "dataset", ("mel",))
    monkeypatch.setitem(sys.modules, "apache_beam", None)  # as if it were not there
    assert train(tmp_path / "dataset", tmp_path / "run") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"run fma statistics {tmp_path / 'dataset'} first, on a machine with Apache Beam" in line
    assert not (tmp_path / "run").exists()


def test_what_stops_the_statistics_is_one_line_and_no_run_begins(tmp_path, capfd):
    dataset = tmp_path / "dataset"
    write_dataset(dataset, ("mel",))
    (dataset / ".lock").symlink_to("elsewhere")
    assert train(dataset, tmp_path / "run") == 1
    said, error = capfd.readouterr().err.splitlines()
    assert "they are made now" in said
    assert error.startswith(f"fma: error: {dataset}/.lock: ")
    assert not (tmp_path / "run").exists()


def test_of_two_at_once_one_makes_the_statistics_and_the_other_waits_for_them(tmp_path):
    dataset = str(tmp_path)
    write_dataset(dataset, ("mel",))
    with locked(dataset):  # until both have asked for it
        both = [start(["statistics", dataset, "--workers", "1", "--wait"]) for _ in range(2)]
        for process in both:
            assert f"another command is writing to {dataset}: waiting until it is done" in process.stderr.readline()
    said = sorted(process.communicate(timeout=120)[0] for process in both)
    assert [process.returncode for process in both] == [0, 0]
    assert said[0].startswith("analysed 24 mel records")
    assert said[1].startswith(f"the statistics of {dataset} are up to date")
    find_normalization(dataset, load(dataset), "mel")


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="finds processes through /proc")
def test_ctrl_c_while_statistics_are_made_is_one_line_and_nothing_goes_on(tmp_path):
    write_dataset(tmp_path / "dataset", ("mel",))
    process = start(["train", "mel_cnn", "--data", str(tmp_path / "dataset"), "--run", str(tmp_path / "run")])
    wait_for(process.pid, "statistics")
    below = descendants(process.pid)
    os.killpg(process.pid, signal.SIGINT)
    _, shown = process.communicate(timeout=60)
    assert [line for line in shown.splitlines() if "statistics" not in line] == ["fma: interrupted"]
    assert process.returncode == 130
    assert_all_end(below)
    assert not (tmp_path / "run").exists()
    with pytest.raises(UsageError, match="has no statistics"):
        find_normalization(str(tmp_path / "dataset"), load(str(tmp_path / "dataset")), "mel")
