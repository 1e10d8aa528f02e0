"""What a model costs: read from the files of runs that were really made."""

import re
import shutil

import keras
import pytest

import fma
from tests.trainers.report.test_report import Parsed
from tests.trainers.synthetic import CONFIG
from trainers.report.collect import compare, read_runs
from trainers.report.cost import costs, count_parameters, read_song_time, read_training
from trainers.runs.directory import read_metrics


def test_parameters_size_and_time_are_those_of_the_run(finished, tmp_path):
    network = keras.models.load_model(finished / "model.keras")
    assert count_parameters(str(finished)) == network.count_params()
    found = read_training(str(finished))
    assert found and found.seconds > 0
    text = Parsed(costs(compare(read_runs([str(finished)])[0]).models)).text
    assert f"{network.count_params():,}" in text
    assert re.search(r"20\d\d-\d\d-\d\d", text)
    assert f"fma predict {finished} song.mp3" in text


def test_the_time_for_a_song_is_that_of_its_windows_at_the_speed_of_evaluation(finished, dataset, tmp_path):
    run = str(shutil.copytree(finished, tmp_path / "run"))
    assert read_song_time(read_runs([run])[0][0]) is None
    assert fma.main(["evaluate", run, "--data", str(dataset), "--device", "cpu", "--batch-size", "4"]) == 0
    speed = read_metrics(run)["test"]["speed"]["records_per_second"]
    windows = 30 * CONFIG.sample_rate // (CONFIG.window_frames * CONFIG.hop_length)
    (cell,) = re.findall(r"([\d.e-]+) s \(cpu\)", Parsed(costs(compare(read_runs([run])[0]).models)).text)
    assert float(cell) == pytest.approx(windows / speed, rel=0.05)


def test_a_log_that_was_cut_off_counts_as_far_as_it_goes(finished, tmp_path):
    run = shutil.copytree(finished, tmp_path / "run")
    (log,) = (run / "logs" / "train").iterdir()
    whole = read_training(str(run))
    log.write_bytes(log.read_bytes()[:-7])
    assert read_training(str(run)).seconds <= whole.seconds
    shutil.rmtree(run / "logs")
    assert read_training(str(run)) is None
