"""What an earlier version made is read by this one: datasets, finished runs, a killed run, a folder of `fma run`.

`data/version-0.1.0.tar.xz` was made by that version's own commands. Whoever changes a format leaves the archive as it
is, and adds one of the version before the change.

| in it | what |
|---|---|
| corpus/ | songs of 3 s in the form of FMA, some of them broken; subset large has one more than medium |
| work/ | what `fma run` left of small and, later, medium; beside these a mobilenet_v2, and a killed mel_cnn |
| own/ | silence with a plain csv; a dataset that has grown since `fma statistics`; a yamnet |
| expected.json | the command lines, and what 0.1.0 said about all of that |
"""

import csv
import hashlib
import json
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fma
from trainers.evaluation.metrics import wilson

ARCHIVE = Path(__file__).resolve().parent / "data" / "version-0.1.0.tar.xz"
MODELS = ("mel_cnn", "waveform_cnn", "mobilenet_v2", "yamnet", "baselines")


@pytest.fixture
def expected(tmp_path, monkeypatch) -> dict[str, Any]:
    """Unpacks the archive into the working directory of the test; runs name their dataset relative to it."""
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(tmp_path, filter="data")
    monkeypatch.chdir(tmp_path)
    return json.loads(Path("expected.json").read_text())


@pytest.fixture
def said(capsys):
    """Runs a command that must succeed; returns what it printed, parsed where that is JSON."""

    def run(*words: str) -> Any:
        capsys.readouterr()
        code = fma.main(list(words))
        out, err = capsys.readouterr()
        assert code == 0, err
        return json.loads(out) if "--json" in words else out

    return run


def agrees(found: Any, then: Any, within: float, at: str = "") -> None:
    """Asserts that a JSON value is the one of then; fractions may be so far off, and objects may have new keys."""
    if isinstance(then, dict):
        for key, part in then.items():
            assert key in found, at
            agrees(found[key], part, within, f"{at}/{key}")
    elif isinstance(then, list):
        assert len(found) == len(then), at
        for i, part in enumerate(then):
            agrees(found[i], part, within, f"{at}/{i}")
    else:
        assert found == (pytest.approx(then, abs=within, rel=0) if isinstance(then, float) else then), at


def contents(folder: str) -> dict[str, str]:
    """A hash of each file below a folder."""
    files = (path for path in Path(folder).rglob("*") if path.is_file())
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def last_line(text: str) -> str:
    return text.splitlines()[-1]


@pytest.mark.parametrize("dataset", ["work/dataset", "own/dataset"])
def test_an_older_dataset_is_sound_and_has_the_digest_it_had(expected, said, dataset):
    then = expected["show"][dataset]
    verdict = said("verify", dataset, "--json")
    assert verdict["ok"] and not verdict["problems"]
    assert verdict["digest"] == then["digest"]
    agrees(said("show", dataset, "--json"), then, 0)
    assert last_line(said("show", dataset)) == f"digest {then['digest']}"


@pytest.mark.parametrize("model", MODELS)
def test_an_older_run_scores_and_predicts_as_it_did(expected, said, model):
    run, song = expected["runs"][model], expected["song"]
    dataset = f"{run.partition('/')[0]}/dataset"
    values = predictions(run)
    agrees(said("evaluate", run, "--data", dataset, "--json"), with_wilson(expected["evaluate"][run]), 1e-4)
    for name, found in predictions(run).items():
        np.testing.assert_allclose(found, values[name], rtol=0, atol=1e-3, err_msg=name)
    (answer,) = said("predict", run, song, "--json")
    then = expected["predict"][run]
    assert (answer["verdict"], answer["windows"]) == (then["verdict"], then["windows"])
    assert answer["genres"][0]["genre"] == then["genres"][0]["genre"]
    agrees(likely(answer), likely(then), 0.01)  # decoders of two libsndfiles are not the same to the last bit


def with_wilson(metrics: dict[str, Any]) -> dict[str, Any]:
    """Metrics of before with the interval of today by track, where the other ones were bootstrapped."""
    if "models" in metrics:
        return metrics | {"models": {name: with_wilson(found) for name, found in metrics["models"].items()}}
    track = metrics["per_track"]
    interval = list(wilson(round(track["accuracy"] * track["tracks"]), track["tracks"]))
    return metrics | {"per_track": track | {"interval": interval}}


def predictions(run: str) -> dict[str, np.ndarray]:
    """What a run keeps of its test tracks, which evaluation writes anew: ids, labels, log-probabilities."""
    with np.load(f"{run}/predictions/test.npz") as arrays:
        return {name: arrays[name] for name in arrays.files if arrays[name].dtype.kind in "if"}


def likely(answer: dict[str, Any]) -> dict[str, float]:
    return {entry["genre"]: entry["probability"] for entry in answer["genres"]}


def test_older_runs_stand_in_one_report_and_explain_a_track(expected, said):
    runs = {model: run for model, run in expected["runs"].items() if run.startswith("work/")}
    table = said("report", *runs.values(), "--out", "report.html")
    scores = dict(line.split()[:2] for line in table.splitlines() if " to " in line)
    found = {model: expected["evaluate"][run] for model, run in runs.items()}
    found |= found.pop("baselines")["models"]
    assert scores == {name: f"{metrics['per_track']['accuracy']:.1%}" for name, metrics in found.items()}
    assert Path("report.html").stat().st_size > 10_000
    explained = said("explain", "work/dataset", str(int(Path(expected["song"]).stem)))
    assert all(run in explained for run in runs.values())


def test_the_same_commands_find_that_older_runs_are_done_and_that_the_statistics_lack_their_arrays(expected, said):
    before = contents(".")
    for words in expected["finished"].values():
        said(*words)
    steps = [line for line in said(*expected["run"], "--plan").splitlines() if line]
    why = {line.split()[0]: line.rpartition("  ")[2] for line in steps}
    assert contents(".") == before
    assert why["ingest"] == "nothing new, 22 tracks kept"
    assert why["statistics"] == "the training split is not analysed yet, or by an older version"
    for model in ("mel_cnn", "waveform_cnn"):
        assert why[model] == "after statistics"


@pytest.mark.long
def test_a_new_run_on_older_statistics_makes_them_again(expected, capfd):
    words = [word.replace("broken_off", "new") for word in expected["broken_off"]]
    assert fma.main(words) == 0
    assert "the statistics of work/dataset were made by an older version: they are made now" in capfd.readouterr().err
    assert not Path("work/runs/new/transform_fn").exists()


@pytest.mark.long
def test_a_run_that_an_older_version_began_is_carried_on(expected, capsys):
    run = Path("work/runs/broken_off")
    assert json.loads((run / "state.json").read_text())["epoch"] == 2
    before = (run / "history.csv").read_text()
    assert fma.main(expected["broken_off"]) == 0
    assert "carrying on after epoch 2" in capsys.readouterr().err
    after = (run / "history.csv").read_text()
    assert after.startswith(before)
    assert [row["epoch"] for row in csv.DictReader(after.splitlines())] == ["1", "2", "3"]
    assert set(json.loads((run / "metrics.json").read_text())) == {"validation", "test"}
    assert [path.name for path in (run / "backup").rglob("*.*")] == ["state.npz"]


def test_an_older_dataset_grows_and_its_files_stay(expected, said):
    words, then = expected["ingest"], expected["show"]["work/dataset"]
    assert last_line(said(*words, "--subset", "medium")) == "nothing new, 0 new, 22 kept, 0 bytes rewritten"
    shards = {path: found for path, found in contents("work/dataset").items() if "/000" in path}
    assert last_line(said(*words, "--subset", "large")) == "1 new, 22 kept, 0 bytes rewritten"
    assert contents("work/dataset").items() >= shards.items()
    grown = said("verify", "work/dataset", "--json")
    assert grown["ok"]
    assert grown["totals"]["tracks"] == 23
    assert grown["totals"]["failures"] == then["totals"]["failures"]
    assert said("show", "work/dataset", "--json")["labels"] == then["labels"]
    said("compact", "work/dataset")
    assert said("verify", "work/dataset", "--json")["digest"] == grown["digest"]


@pytest.mark.long
def test_sums_that_an_older_version_kept_without_checksums_are_made_again(expected, said):
    assert said("statistics", "own/dataset").startswith("analysed 4 mel, 4 stats records of the training split: ")
