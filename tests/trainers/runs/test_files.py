"""Files of a run carry a checksum: whatever happens to one is noticed before its content is used, in one line."""

import json
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import fma
from tests.trainers.finished_runs import change, write_run
from trainers.runs import files
from trainers.runs.directory import load_config, read_metrics
from trainers.runs.files import (
    CONFIG,
    FORMAT_VERSION,
    ID,
    open_zip,
    read_identity,
    read_json,
    write_identity,
    write_json,
    write_zip,
)
from trainers.runs.predictions import read_predictions
from trainers.runs.state import load_state
from transforms.errors import FmaError

pytestmark = pytest.mark.usefixtures("tiny_models")


@pytest.fixture
def folder(tmp_path) -> str:
    """A folder that is a run, with a JSON and a zip file."""
    write_identity(str(tmp_path), CONFIG, {ID: "of the one"})
    write_json(str(tmp_path), "some.json", {"accuracy": 0.5, "by_fold": {10: 1, 9: None}})
    write_zip(str(tmp_path), "some.npz", lambda file: np.savez(file, values=np.arange(5)))
    return str(tmp_path)


def read_zip(folder: str, name: str) -> bytes:
    with open_zip(folder, name) as file:
        return file.read()


READERS: dict[str, Callable] = {
    CONFIG: lambda folder: read_identity(folder, CONFIG),
    "some.json": lambda folder: read_json(folder, "some.json"),
    "some.npz": lambda folder: read_zip(folder, "some.npz"),
}


@pytest.mark.parametrize("name", READERS)
def test_no_flipped_bit_goes_unnoticed_where_it_changes_anything(folder, name):
    path, read = Path(folder) / name, READERS[name]
    data, before = path.read_bytes(), read(folder)
    for position in range(len(data)):
        flipped = bytearray(data)
        flipped[position] ^= 1 << position % 8
        path.write_bytes(flipped)
        try:
            assert read(folder) == before
            assert name.endswith(".json")  # of JSON, a space between two values may become another one
        except FmaError as error:
            assert str(path) in str(error)
            assert "\n" not in str(error)


@pytest.mark.parametrize("name", READERS)
def test_no_cut_goes_unnoticed(folder, name):
    path, read = Path(folder) / name, READERS[name]
    data = path.read_bytes().rstrip(b"\n")
    for size in (0, 1, len(data) // 2, len(data) - 1):
        path.write_bytes(data[:size])
        with pytest.raises(FmaError, match="is damaged"):
            read(folder)


def test_a_file_that_is_missing_is_named(folder):
    for name in ("some.json", "some.npz"):
        (Path(folder) / name).unlink()
        with pytest.raises(FmaError, match=f"{name} is missing: restore it from a copy, or train again"):
            READERS[name](folder)


@pytest.mark.parametrize("name", ["some.json", "some.npz"])
def test_a_file_under_another_name_or_of_another_run_is_refused(folder, tmp_path, name):
    other = str(tmp_path / "other")
    write_identity(other, CONFIG, {ID: "of the other"})
    shutil.copy(Path(folder) / name, other)
    with pytest.raises(FmaError, match=f"{other}/{name} is damaged, or not the file that was written here"):
        READERS[name](other)
    moved = f"other-{name}"
    shutil.copy(Path(folder) / name, Path(folder) / moved)
    with pytest.raises(FmaError, match=f"{moved} is damaged, or not the file that was written here"):
        (read_json if name.endswith("json") else read_zip)(folder, moved)


def test_a_run_that_was_copied_is_whole(folder, tmp_path):
    copied = str(shutil.copytree(folder, tmp_path / "copied", ignore=shutil.ignore_patterns("copied")))
    for read in READERS.values():
        assert read(copied) == read(folder)


def test_other_programs_read_the_files_as_ever(folder):
    assert json.loads((Path(folder) / "some.json").read_text())["accuracy"] == 0.5
    with np.load(f"{folder}/some.npz") as arrays:
        assert arrays["values"].tolist() == [0, 1, 2, 3, 4]
    assert zipfile.ZipFile(f"{folder}/some.npz").testzip() is None


def test_a_large_file_is_read_in_pieces(folder, monkeypatch):
    before = read_zip(folder, "some.npz")
    monkeypatch.setattr(files, "_CHUNK", 7)
    assert read_zip(folder, "some.npz") == before


def test_a_write_that_fails_leaves_the_old_file_and_no_other(folder):
    before = sorted(Path(folder).iterdir())

    def fail(file):
        file.write(b"half a file")
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        write_zip(folder, "some.npz", fail)
    assert sorted(Path(folder).iterdir()) == before
    assert read_zip(folder, "some.npz")


def test_files_of_a_run_of_the_version_before_checksums_are_read_without(tmp_path):
    (tmp_path / CONFIG).write_text(json.dumps({"format_version": 1, "model": "any"}))
    folder = str(tmp_path)
    (tmp_path / "some.json").write_text('{"accuracy": 0.5}')
    assert read_json(folder, "some.json") == {"accuracy": 0.5}
    write_json(folder, "some.json", {"accuracy": 1.0})
    assert (tmp_path / "some.json").read_text() == '{\n "accuracy": 1.0\n}\n'
    write_zip(folder, "some.npz", lambda file: np.savez(file, values=np.arange(5)))
    assert zipfile.ZipFile(tmp_path / "some.npz").comment == b""
    assert read_zip(folder, "some.npz")


def test_a_run_of_a_newer_version_is_refused(folder):
    change(Path(folder) / CONFIG, format_version=FORMAT_VERSION + 1)
    with pytest.raises(FmaError, match="update fma-genres"):
        read_json(folder, "some.json")


@pytest.fixture
def run(finished, tmp_path) -> Path:
    """A finished run of the test's own."""
    return shutil.copytree(finished, tmp_path / "run")


def swap(run: Path, name: str) -> None:
    """Puts the file of another run in its place."""
    other = run.parent / "other"
    write_run(other, digest="b" * 64)
    shutil.copy(other / name, run / name)


def flip(run: Path, name: str) -> None:
    data = bytearray((run / name).read_bytes())
    data[len(data) // 2] ^= 1
    (run / name).write_bytes(data)


def delete(run: Path, name: str) -> None:
    (run / name).unlink()


USES = {
    "config.json": ("evaluate", "{run}", "--data", "{data}"),
    "state.json": ("train", "tiny", "--data", "{data}", "--run", "{run}"),
    "model.keras": ("evaluate", "{run}", "--data", "{data}"),
    "metrics.json": ("train", "tiny", "--data", "{data}", "--run", "{run}"),
    "predictions/test.npz": ("report", "{run}", "--out", "{run}.html"),
    "predictions/validation.npz": ("predict", "{run}", __file__),
}
"""A command that uses each file."""

CASES = [
    *((name, flip) for name in USES),
    # without predictions for validation, a note says that probabilities are not calibrated
    *((name, delete) for name in USES if name != "predictions/validation.npz"),
    *((name, swap) for name in ("state.json", "predictions/test.npz")),
]


@pytest.mark.parametrize(("name", "damage"), CASES)
def test_no_command_uses_a_file_that_is_not_the_runs_own(run, dataset, capsys, name, damage):
    damage(run, name)
    capsys.readouterr()
    assert fma.main([word.format(run=run, data=dataset) for word in USES[name]]) in (1, 2)
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("fma: error: ")
    assert name in last or "has no test predictions yet" in last
    assert not (run.parent / "run.html").exists()


def test_a_history_that_was_lost_is_written_again(run, dataset):
    state = load_state(str(run))
    assert [row["epoch"] for row in state.history] == [1, 2]
    (run / "history.csv").unlink()
    words = ["train", "tiny", "--data", str(dataset), "--run", str(run), "--device", "cpu", "--epochs", "2"]
    change(run / "state.json", finished="")
    assert fma.main(words) == 0
    rows = (run / "history.csv").read_text().splitlines()
    assert [row.partition(",")[0] for row in rows] == ["epoch", "1", "2"]
    assert load_state(str(run)).history == state.history


def test_all_is_read_back_from_a_finished_run(run):
    assert len(load_config(str(run)).id) == 16
    assert load_state(str(run)).finished
    assert set(read_metrics(str(run))) == {"validation", "test"}
    assert read_predictions(str(run), "test").genres == ["Folk", "Rock"]
