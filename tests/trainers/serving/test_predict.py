"""`fma predict`: files, folders and bytes on standard input; a bad file costs itself alone."""

import io
import json
import os
import re
import resource
import sys
import time

import numpy as np
import pytest
import soundfile

import fma
from tests.conftest import tone
from tests.trainers.serving.bad_songs import write_bad_songs, write_ten_hours
from trainers.evaluation.calibration import Calibration
from trainers.serving.answers import Answer
from trainers.serving.inputs import find_songs
from trainers.serving.tasks import OneLabel
from transforms.errors import UsageError


def test_each_file_has_its_entry_in_the_order_given(predict, engine_of, music):
    paths = [track.path for track in music.of("test")][::-1]
    code, out, _ = predict("mel_cnn", *paths, "--json")
    entries = json.loads(out)
    assert (code, [entry["file"] for entry in entries]) == (0, paths)
    engine = engine_of("mel_cnn")
    for entry in entries:
        answer = engine.predict(entry["file"])
        assert entry == {"file": entry["file"]} | answer.to_json()
        assert sum(genre["probability"] for genre in entry["genres"]) == pytest.approx(1, abs=1e-5)
        assert entry["genres"][0]["probability"] == pytest.approx(answer.probabilities.max(), abs=1e-6)
        assert entry["seconds"] == pytest.approx(soundfile.info(entry["file"]).duration, abs=0.1)


def test_bad_files_have_their_reason_and_the_others_their_answer(predict, tmp_path):
    expected = write_bad_songs(tmp_path)
    missing = tmp_path / "missing.mp3"
    code, out, err = predict("mel_cnn", *(tmp_path / name for name in expected), missing, "--json")
    entries = {os.path.basename(entry.pop("file")): entry for entry in json.loads(out)}
    assert code == 1
    assert {name: entry.get("error", "") for name, entry in entries.items()} == expected | {
        "missing.mp3": "missing_audio"
    }
    assert all(entry["message"] for entry in entries.values() if "error" in entry)
    assert "Traceback" not in err


def test_bad_files_are_a_table_of_their_own(predict, tmp_path, music):
    (tmp_path / "notes.mp3").write_text("no music")
    code, out, _ = predict("baselines", tmp_path / "notes.mp3", music.tracks[0].path)
    answers, failures = out.split("no answer\n")
    assert code == 1
    assert music.tracks[0].path in answers
    assert "notes.mp3" not in answers
    assert "corrupt_audio" in failures


def test_a_folder_stands_for_the_audio_below_it(predict, tmp_path):
    (tmp_path / "album" / "cd 1").mkdir(parents=True)
    for name in ("album/b.WAV", "album/cd 1/a.wav"):
        soundfile.write(tmp_path / name, tone(2), 22_050, format="WAV")
    (tmp_path / "album" / "cover.jpg").write_bytes(b"jpeg")
    code, out, err = predict("baselines", tmp_path / "album", "--json")
    assert code == 0
    assert [entry["file"] for entry in json.loads(out)] == [
        str(tmp_path / name) for name in ("album/b.WAV", "album/cd 1/a.wav")
    ]
    assert "left out what is not audio by its name, 1 of 3 files" in err


def test_a_folder_without_audio_is_refused(tmp_path):
    with pytest.raises(UsageError, match="no audio files below it"):
        find_songs([str(tmp_path)])


def stdin(monkeypatch, data: bytes) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))


def test_a_song_can_come_on_standard_input(predict, music, monkeypatch):
    path = music.tracks[0].path
    with open(path, "rb") as file:
        stdin(monkeypatch, file.read())
    code, out, _ = predict("baselines", "-", path, "--json")
    piped, named = json.loads(out)
    assert (code, piped.pop("file"), named.pop("file")) == (0, "-", path)
    assert piped == named


def test_nothing_on_standard_input_is_an_empty_song(predict, monkeypatch):
    stdin(monkeypatch, b"")
    code, out, _ = predict("baselines", "-", "--json")
    assert (code, json.loads(out)[0]["error"]) == (1, "empty_audio")


def test_a_verdict_below_the_threshold_is_unsure(predict, music):
    path = music.of("test")[0].path
    verdicts = []
    for threshold in ("0", "0.999999"):
        _, out, _ = predict("mel_cnn", path, "--json", "--threshold", threshold)
        (entry,) = json.loads(out)
        verdicts.append(entry["verdict"])
        top = entry["genres"][0]["genre"]
    assert verdicts == [top, "unsure"]


def test_silence_has_no_genre(predict, tmp_path):
    soundfile.write(tmp_path / "silence.wav", np.zeros(60_000), 22_050)
    code, out, _ = predict("mel_cnn", tmp_path / "silence.wav", "--threshold", "0")
    assert code == 0
    assert "unsure" in out
    assert "digital silence" in out


def test_the_timeline_is_a_picture_with_a_row_for_each_song(predict, music, tmp_path):
    sizes = []
    for count in (1, 3):
        png = tmp_path / f"{count}.png"
        code, _, err = predict("mel_cnn", *(track.path for track in music.of("test")[:count]), "--timeline", png)
        assert (code, f"timeline: {png}" in err) == (0, True)
        head = png.read_bytes()[:24]
        assert head.startswith(b"\x89PNG")
        sizes.append(int.from_bytes(head[20:24], "big"))
    assert sizes[1] > 2 * sizes[0]


def test_a_window_of_the_timeline_lasts_until_the_next_one_begins():
    windows = np.array([[0.9, 0.1], [0.5, 0.5], [0.2, 0.8]])
    none = np.empty((0, 0))
    answer = Answer(
        OneLabel(["Folk", "Rock"], Calibration()), windows[0], windows, 2.0, 0.5, 3.4, False, none, none, 0.0
    )
    edges, values = answer.steps()
    assert edges.tolist() == [0, 0.5, 1.0, 3.0]
    assert values[:, 0].tolist() == [0.9, 0.5, 0.2, 0.2]
    assert answer.timeline()[1] == {"start": 0.5, "end": 2.5, "probabilities": [0.5, 0.5]}


def test_a_timeline_needs_a_model_that_predicts_windows(predict, music, tmp_path):
    code, _, err = predict("baselines", music.tracks[0].path, "--timeline", tmp_path / "t.png")
    assert (code, err) == (2, "fma: error: --timeline: " + err.split("--timeline: ")[1])
    assert "predicts whole songs" in err


@pytest.mark.long
def test_a_timeline_of_many_songs_shows_the_first_forty(predict, music, tmp_path):
    code, _, err = predict("mel_cnn", *[music.tracks[0].path] * 41, "--timeline", tmp_path / "t.png")
    assert code == 0
    assert err.endswith(f"timeline: {tmp_path / 't.png'} (the first 40 of 41 songs)\n")


def test_ten_hours_are_ended_by_the_limit_and_take_no_memory(predict, tmp_path):
    write_ten_hours(tmp_path / "long.wav")
    before, began = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.monotonic()
    code, out, _ = predict("mel_cnn", tmp_path / "long.wav", "--json", "--timeout", "2")
    (found,) = json.loads(out)
    assert (code, found["error"]) == (1, "timeout")
    assert found["message"] == "not done within 2 s: --timeout 4 allows more"
    assert time.monotonic() - began < 20
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200 << 10


def test_the_model_of_a_baselines_run_can_be_chosen(predict, run_of, music):
    path = music.of("test")[0].path
    found = json.loads((run_of("baselines") / "metrics.json").read_text())["models"]
    best = min(found, key=lambda name: found[name]["fits"][0]["validation"]["log_loss"])
    answers = {
        name: predict("baselines", path, "--json", *options)[1]
        for name, options in {
            "default": (),
            "logreg": ("--model", "logreg"),
            "gnb": ("--model", "gnb"),
        }.items()
    }
    assert answers["default"] == answers[best]
    assert answers["logreg"] != answers["gnb"]
    code, _, err = predict("baselines", path, "--model", "svm")
    assert (code, "has logreg, gnb" in err) == (2, True)
    code, _, err = predict("mel_cnn", path, "--model", "svm")
    assert (code, "is for runs of fma baselines" in err) == (2, True)


def test_a_folder_that_is_no_run_is_one_line(tmp_path, capsys, music):
    assert fma.main(["predict", str(tmp_path), music.tracks[0].path]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_the_folder_of_fma_run_stands_for_its_best_run_on_validation(run_of, music, tmp_path, capsys):
    (tmp_path / "runs").mkdir()
    (tmp_path / "dataset").symlink_to(music.dataset)
    assert fma.main(["predict", str(tmp_path), music.tracks[0].path]) == 2
    assert "has no finished run on its dataset: run fma run again" in capsys.readouterr().err
    for model in ("mel_cnn", "baselines"):
        (tmp_path / "runs" / model).symlink_to(run_of(model))
    capsys.readouterr()
    assert fma.main(["predict", str(tmp_path), music.tracks[0].path, "--json"]) == 0
    found = capsys.readouterr()
    said = r"the run that validation vouches for most: .*/runs/(mel_cnn|baselines) \(\d+% by track\)"
    assert re.search(said, found.err)
    assert len(json.loads(found.out)) == 1
