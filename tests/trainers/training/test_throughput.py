import json
import re

import pytest

from fma import main
from tests.trainers.synthetic import write_dataset
from trainers.training.throughput import (
    TRAINING,
    TRANSFER,
    Stage,
    Throughput,
    TrainingStep,
    describe_bottleneck,
    epochs_for,
    find_bottleneck,
)

INPUT_STAGES = ["reading", "shuffling and batching", "parsing"]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> str:
    """24 windows to train on."""
    folder = tmp_path_factory.mktemp("bench") / "dataset"
    write_dataset(folder, ("mel", "raw", "stats"))
    return str(folder)


def bench(*arguments: str) -> int:
    return main(["bench-input", *arguments, "--seconds", "0.01", "--records", "30", "--batch-size", "4"])


@pytest.mark.parametrize(
    ("kind", "stages"), [("mel", INPUT_STAGES), ("raw", INPUT_STAGES), ("stats", INPUT_STAGES[:3])]
)
def test_each_stage_of_the_input_is_measured(dataset, capsys, kind, stages):
    assert bench(dataset, "--kind", kind, "--json") == 0
    output = capsys.readouterr()
    result = json.loads(output.out)
    assert [stage["name"] for stage in result["stages"]] == stages
    for stage in result["stages"]:
        assert stage["records_per_s"] * stage["ms"] == pytest.approx(1000)
    added = sum(stage["added_ms"] for stage in result["stages"])
    assert added == pytest.approx(max(stage["ms"] for stage in result["stages"]))
    assert result["bottleneck"] in stages
    assert result["model"] is None
    assert "bench-input" in output.err


def test_the_table_ends_with_the_bottleneck(dataset, capsys):
    assert bench(dataset) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "24 mel records of the training split, 3 shards, batches of 4"
    assert [line.split("  ")[0] for line in lines[3:-1]] == INPUT_STAGES
    assert lines[-1].startswith("bottleneck: ")


@pytest.mark.long
def test_a_models_training_step_is_measured_too(dataset, capsys):
    assert bench(dataset, "--model", "mel_cnn", "--json") == 0
    result = json.loads(capsys.readouterr().out)
    assert [stage["name"] for stage in result["stages"]] == [*INPUT_STAGES, TRANSFER, TRAINING]
    assert result["kind"] == "mel"
    assert result["model"]["name"] == "mel_cnn"
    assert result["model"]["step_ms"] == pytest.approx(4 * 1000 / result["model"]["records_per_s"])
    assert 0 <= result["model"]["idle"] < 1


def test_only_as_many_shards_are_read_as_it_takes(dataset, capsys):
    assert main(["bench-input", dataset, "--seconds", "0", "--records", "5", "--batch-size", "2", "--json"]) == 0
    assert 5 <= json.loads(capsys.readouterr().out)["records"] < 24


def test_fewer_records_than_a_batch_are_measured_in_a_smaller_one(dataset, capsys):
    assert main(["bench-input", dataset, "--seconds", "0", "--records", "5", "--batch-size", "25", "--json"]) == 0
    output = capsys.readouterr()
    assert json.loads(output.out)["batch_size"] == 24
    assert "has 24 mel records for training: measured with batches of 24" in output.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--kind", "chroma"], "has no chroma records (it holds mel, raw, stats)"),
        (["--model", "mel_cnnn"], "unknown model mel_cnnn"),
        (["--model", "mel_cnn", "--kind", "raw"], "mel_cnn reads mel records, not raw"),
        (["--batch-size", "0"], "at least 1"),
    ],
)
def test_what_does_not_fit_is_a_line_and_exit_code_2(dataset, capsys, arguments, message):
    assert main(["bench-input", dataset, *arguments]) == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert message in output.err.splitlines()[-1]


def test_a_damaged_shard_is_a_line_and_exit_code_1(tmp_path, capsys):
    manifest = write_dataset(tmp_path, ("mel",))
    path = tmp_path / manifest.shards("mel", "training")[0].path
    data = bytearray(path.read_bytes())
    data[500] ^= 1
    path.write_bytes(data)
    assert bench(str(tmp_path), "--json") == 1
    output = capsys.readouterr()
    assert output.out == ""
    found = ": record 0 is damaged| is not the file that was written"  # by the reader, or by the check beside it
    line = rf"fma: error: {path}({found}) \(checksum\): run fma verify {tmp_path}"
    assert re.fullmatch(line, output.err.splitlines()[-1])


def stages_of(*added: float) -> list[Stage]:
    names = [*INPUT_STAGES, TRAINING][: len(added)]
    times = [sum(added[: i + 1]) for i in range(len(added))]
    return [Stage(name, 1000 / ms, ms, more) for name, ms, more in zip(names, times, added, strict=True)]


def test_the_bottleneck_of_the_input_is_its_costliest_stage():
    assert find_bottleneck(stages_of(0.2, 0.3, 0.1), None) == "shuffling and batching"


def test_the_training_step_is_the_bottleneck_where_alone_it_is_slower_than_the_input():
    stages = stages_of(0.2, 0.3, 0.5, 0.5)  # the input gives 1,000 records/s
    assert find_bottleneck(stages, TrainingStep("mel_cnn", "cpu", 900, 1, 0)) == TRAINING
    assert find_bottleneck(stages, TrainingStep("mel_cnn", "cpu", 1100, 1, 0)) == "parsing"


def test_the_bottleneck_is_explained_in_a_sentence():
    stages = stages_of(0.3, 0.2, 0.5)
    sentence = "bottleneck: parsing, 0.500 of 1.000 ms for each record of the input"
    assert describe_bottleneck(Throughput(stages, "parsing", None)) == sentence
    assert describe_bottleneck(Throughput(stages, TRAINING, TrainingStep("mel_cnn", "cpu", 500.0, 64.0, 0.125))) == (
        "bottleneck: training step: mel_cnn alone takes 500 records/s (64.0 ms a step), the input gives 1,000; "
        "the step waits 12% of the time"
    )


def test_a_small_split_is_read_several_times():
    assert [epochs_for(2000, records) for records in (24, 1000, 1999, 2000, 5000)] == [84, 2, 2, 1, 1]
