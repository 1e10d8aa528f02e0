import json
from pathlib import Path

import numpy as np
import pytest

import fma
from tests.pipelines.ingest.test_ingest import ingest, make_music
from tests.trainers.finished_runs import write_genre_run
from trainers.runs.predictions import single_model_predictions, write_predictions
from transforms.dataset.manifest import load
from transforms.records import deserialize, frame

SMALL = ("--n-mels", "32", "--window-frames", "20", "--features", "mel,raw", "--max-failures", "50")


@pytest.fixture(scope="module")
def work(tmp_path_factory) -> Path:
    """A dataset of twelve tracks and one without a file, and a run that has seen its test tracks 6 and 7."""
    folder = tmp_path_factory.mktemp("explain")
    with open(make_music(folder), "a") as file:
        file.write("99,missing.mp3,Rock,artist 99,test\n")
    assert ingest(folder, "dataset", settings=SMALL) == 0
    run = folder / "runs" / "tiny"
    run.mkdir(parents=True)
    config = {
        "model": "mel_cnn",
        "options": {},
        "seed": 0,
        "dataset": {"path": "x", "digest": ""},
        "labels": ["Folk", "Rock"],
    }
    (run / "config.json").write_text(json.dumps({"format_version": 1, **config, "phases": [], "made_with": {}}))
    chances = np.log([[0.9, 0.1], [0.7, 0.3]])
    tiny = single_model_predictions("mel_cnn", np.array([6, 7]), np.array([1, 0]), ["Folk", "Rock"], chances)
    write_predictions(str(run), "test", tiny)
    return folder


def explain(work: Path, track_id: int, *more: str) -> int:
    return fma.main(["explain", str(work / "dataset"), str(track_id), *more])


def test_a_track_is_shown_with_its_metadata_its_records_and_what_each_run_says(work, capsys):
    assert explain(work, 6) == 0
    text = capsys.readouterr().out
    assert "track 6, ingested" in text
    for words in ("artist 6", "test", "mel_cnn", "Folk", "90%", "10%", "wrong"):
        assert words in text, words


def test_a_run_with_many_genres_shows_their_tree(work, tmp_path, capsys):
    tree = {"Rock": "", "Punk": "Rock", "Jazz": ""}
    run = write_genre_run(tmp_path / "many", tree, track_id=range(12), skill=6.0)
    assert explain(work, 6, "--runs", run, "--json") == 0
    (found,) = json.loads(capsys.readouterr().out)["predictions"]
    assert (found["run"], found["model"], found["labels"]) == (run, "mel_cnn", "all")
    assert {one["genre"]: one["parent"] for one in found["genres"]} == tree
    assert explain(work, 6, "--runs", run) == 0
    text = capsys.readouterr().out
    assert f"{run}, mel_cnn\n" in text
    assert "\n  Punk " in text
    assert "has it" in text
    assert explain(work, 0, "--runs", run) == 0
    assert "a training track" in capsys.readouterr().out


def test_offsets_lead_to_the_tracks_own_records(work, capsys):
    assert explain(work, 7, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert {place["kind"] for place in found["records"]} == {"mel", "raw"}
    for place in found["records"]:
        data = (work / "dataset" / place["shard"]).read_bytes()[place["offset"] :][: place["length"]]
        payload = data[12:-4]
        assert frame(payload) == data
        record = deserialize(payload)
        assert (record.track_id, record.window) == (7, place["window"])
    assert found["predictions"][0]["probabilities"] == {"Folk": 0.7, "Rock": 0.3}
    assert found["predictions"][0]["right"]


def test_a_failed_track_is_shown_with_its_reason(work, capsys):
    assert explain(work, 99) == 0
    assert "track 99, failed: missing_audio" in capsys.readouterr().out


def test_a_training_track_has_no_predictions_and_a_line_says_why(work, capsys):
    assert load(str(work / "dataset")).totals["by_split"]["training"] == 8
    assert explain(work, 0) == 0
    assert "a training track: runs keep predictions for validation and test" in capsys.readouterr().out


def test_an_unknown_track_and_a_folder_without_runs_are_one_line(work, capsys):
    assert explain(work, 12345) == 1
    assert "knows no track 12345" in capsys.readouterr().err
    assert explain(work, 6, "--runs", str(work / "dataset")) == 2
    assert "neither a run nor a folder of runs" in capsys.readouterr().err
