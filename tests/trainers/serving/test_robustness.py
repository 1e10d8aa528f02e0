"""`fma evaluate --robustness`: a run's answers for the songs of a split, as they are and altered."""

import json
import shutil

import numpy as np
import pytest

import fma
from tests.trainers.finished_runs import write_genre_run
from tests.trainers.synthetic import write_dataset
from trainers.evaluation.metrics import wilson
from trainers.runs.files import read_json, write_json
from trainers.runs.predictions import read_predictions, read_run_predictions
from trainers.serving.robustness import read_robustness, score
from transforms.audio.alterations import ALTERATIONS


@pytest.fixture
def measure(run_of, music, capsys):
    """Runs the command on a run of a model, or on the run at a path; returns exit code, output and log."""

    def run(model: str, *options: object, data=music.dataset) -> tuple[int, str, str]:
        folder = run_of(model) if model.isidentifier() else model
        capsys.readouterr()
        words = ["evaluate", str(folder), "--data", str(data), "--robustness", *map(str, options)]
        return fma.main([*words, "--device", "cpu"]), *capsys.readouterr()

    return run


@pytest.fixture
def run(run_of, tmp_path) -> str:
    """A run of the test's own."""
    return str(shutil.copytree(run_of("mel_cnn"), tmp_path / "run"))


def test_answers_for_unchanged_songs_are_those_of_the_evaluation_and_interrupted_work_goes_on(measure, run, music):
    code, out, err = measure(run, "--json")
    found = json.loads(out)
    assert (code, found["model"], found["tracks"], list(found["sounds"])) == (0, "mel_cnn", 4, list(ALTERATIONS))
    (stored,) = read_run_predictions(run).values()
    right = int((stored.log_probabilities.argmax(axis=1) == stored.label).sum())
    unchanged = {"accuracy": right / 4, "interval": list(wilson(right, 4)), "changed": 0.0}
    assert found["sounds"]["unchanged"] == unchanged
    entry = read_json(run, "robustness/test.json")["models"]["mel_cnn"]
    answers = dict(zip(map(str, stored.track_id), stored.log_probabilities.argmax(axis=1).tolist(), strict=True))
    assert {track: numbers[1] for track, numbers in entry["tracks"].items()} == answers
    assert read_robustness(run, "test")["mel_cnn"].scores == found["sounds"]

    first, *others = entry["tracks"]
    kept = {first: [0, *[9] * len(ALTERATIONS)]}  # no model answers this: it can only come from the file
    del entry["scores"]
    change_entry(run, entry | {"tracks": kept})
    code, _, err = measure(run)
    again = read_json(run, "robustness/test.json")["models"]["mel_cnn"]
    assert (code, again["tracks"]) == (0, kept | {track: entry["tracks"][track] for track in others})
    assert "robustness: 4 of 4 songs" in err

    change_entry(run, entry | {"tracks": kept, "model_sha256": "of another epoch"})
    assert measure(run)[0] == 0
    assert read_json(run, "robustness/test.json")["models"]["mel_cnn"]["tracks"] == entry["tracks"]


def change_entry(run: str, entry: dict) -> None:
    write_json(run, "robustness/test.json", {"models": {"mel_cnn": entry}})


def test_scores_count_right_answers_and_those_that_changed():
    names = list(ALTERATIONS)
    rows = {str(track): [0] + [0] * len(names) for track in range(10)}
    for track in "012":
        rows[track][1 + names.index("mp3")] = 1  # right before, and not any more
    rows["9"] = [1] + [0] * len(names)  # wrong, but unchanged
    found = score(rows)
    assert found["unchanged"] == {"accuracy": 0.9, "interval": list(wilson(9, 10)), "changed": 0}
    assert (found["mp3"]["accuracy"], found["mp3"]["changed"]) == (0.6, pytest.approx(0.3))
    assert np.all([found[name]["changed"] == 0 for name in names if name != "mp3"])


def test_people_get_a_table_of_a_baselines_model_and_moved_audio_is_found(measure, music, tmp_path):
    moved = shutil.copytree(music.dataset.parent / "songs", tmp_path / "elsewhere")
    code, out, _ = measure("baselines", "--model", "gnb", "--audio", moved, "--split", "validation")
    assert code == 0
    assert out.startswith("gnb on 4 validation songs\n")
    assert "answers changed" in out
    assert "mp3 at 64 kb/s" in out
    assert "95% interval" in out


def test_what_cannot_be_measured_is_one_line(measure, run, music, tmp_path, capsys):
    code, _, err = measure(run, "--audio", tmp_path / "nowhere")
    assert code == 2
    assert "no such folder or zip" in err
    assert fma.main(["evaluate", run, "--data", str(music.dataset), "--audio", "here"]) == 2
    assert "--audio is for --robustness" in capsys.readouterr().err
    code, _, err = measure(write_genre_run(tmp_path / "many", {"Folk": "", "Rock": ""}))
    assert code == 2
    assert "--robustness is for runs with one label each" in err


def test_a_cross_validation_of_baselines_answers_unchanged_songs_as_it_did(measure, music, tmp_path):
    folder = str(tmp_path / "folds")
    words = ["--models", "gnb,logreg", "--folds", "3", "--jobs", "1"]
    assert fma.main(["baselines", "--data", str(music.dataset), "--run", folder, *words]) == 0
    code, out, _ = measure(folder, "--model", "gnb", "--json")
    found, predictions = json.loads(out), read_predictions(folder, "test")
    assert (code, found["model"], found["tracks"]) == (0, "gnb", len(predictions.track_id))
    answers = predictions.log_probabilities["gnb"].argmax(axis=1)
    assert_unchanged(folder, "gnb", predictions.track_id, answers)
    code, _, err = measure(folder, "--model", "svm")
    assert code == 2
    assert "--model svm: " in err
    (tmp_path / "folds" / "metrics.json").unlink()
    code, _, err = measure(folder)
    assert code == 2
    assert "is not finished" in err


def assert_unchanged(run: str, model: str, track_ids: np.ndarray, answers: np.ndarray) -> None:
    assert len(set(answers.tolist())) > 1
    stored = read_json(run, "robustness/test.json")["models"][model]["tracks"]
    assert {track: numbers[1] for track, numbers in stored.items()} == dict(
        zip(map(str, track_ids), answers.tolist(), strict=True)
    )


@pytest.mark.long
def test_in_a_cross_validation_each_song_is_altered_for_the_model_that_knows_none_of_its_artist(
    measure, music, tmp_path, capsys
):
    folder, quick = str(tmp_path / "folds"), ["--width", "0.1", "--epochs", "8", "--batch-size", "4", "--no-augment"]
    command = ["train", "mel_cnn", "--data", str(music.dataset), "--run", folder, "--folds", "3", *quick]
    assert fma.main([*command, "--learning-rate", "0.02", "--device", "cpu"]) == 0
    code, out, _ = measure(folder, "--json")
    found, predictions = json.loads(out), read_predictions(folder, "test")
    assert (code, found["tracks"]) == (0, len(predictions.track_id))
    answers = predictions.log_probabilities["mel_cnn"].argmax(axis=1)
    assert_unchanged(folder, "mel_cnn", predictions.track_id, answers)
    assert measure(folder, "--model", "mel_cnn")[0] == 2
    other = tmp_path / "other"
    write_dataset(other, ("mel",))
    code, _, err = measure(folder, data=other)
    assert code == 2
    assert "is a cross-validation of" in err
