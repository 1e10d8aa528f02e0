"""What a model costs: read from the files of runs that were really made."""

import re
import shutil

import keras

from tests.trainers.report.test_report import Parsed
from trainers.report.collect import compare, read_runs
from trainers.report.cost import costs, count_parameters, read_training


def test_parameters_size_and_time_are_those_of_the_run(finished, tmp_path):
    network = keras.models.load_model(finished / "model.keras")
    assert count_parameters(str(finished)) == network.count_params()
    found = read_training(str(finished))
    assert found and found.seconds > 0
    text = Parsed(costs(compare(read_runs([str(finished)])[0]).models)).text
    assert f"{network.count_params():,}" in text
    assert re.search(r"20\d\d-\d\d-\d\d", text)
    assert f"fma predict {finished} song.mp3" in text


def test_a_log_that_was_cut_off_counts_as_far_as_it_goes(finished, tmp_path):
    run = shutil.copytree(finished, tmp_path / "run")
    (log,) = (run / "logs" / "train").iterdir()
    whole = read_training(str(run))
    log.write_bytes(log.read_bytes()[:-7])
    assert read_training(str(run)).seconds <= whole.seconds
    shutil.rmtree(run / "logs")
    assert read_training(str(run)) is None
