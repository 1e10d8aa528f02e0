"""`fma predict` with inputs that are not plain files, or have odd names: each affects itself alone."""

import io
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import soundfile

import fma
from tests.conftest import tone
from tests.trainers.serving.bad_songs import write_ten_hours
from trainers.serving import inputs
from trainers.serving.inputs import find_songs, on_disk
from transforms.errors import TrackError, UsageError

ROOT = Path(__file__).resolve().parents[3]
ODD = (
    "A$AP $ong.wav",
    r"$\foo$.wav",
    "日本語.wav",
    "esc\x1b[31mred.wav",
    "new\nline.wav",
    os.fsdecode(b"latin\xe9.wav"),
)


def stdin(monkeypatch, data: bytes) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))


def test_standard_input_has_an_end(monkeypatch):
    monkeypatch.setattr(inputs, "MOST_BYTES", 3 << 20)
    stdin(monkeypatch, bytes(4 << 20))
    with pytest.raises(UsageError, match=r"more than 3\.0 MiB"), on_disk(find_songs(["-"]), 9):
        pass
    with pytest.raises(UsageError, match="once only"):
        find_songs(["-", "a.mp3", "-"])


def test_standard_input_that_is_closed_is_one_line(predict, monkeypatch):
    monkeypatch.setattr(sys, "stdin", None)
    assert predict("baselines", "-")[::2] == (2, "fma: error: standard input is closed\n")


def test_the_run_is_looked_at_before_standard_input_is_read(tmp_path, monkeypatch, capsys):
    source = io.TextIOWrapper(io.BytesIO(b"words"))
    monkeypatch.setattr(sys, "stdin", source)
    assert fma.main(["predict", str(tmp_path), "-"]) == 2
    assert source.buffer.tell() == 0


def test_a_pipe_is_predicted_like_a_file(predict, tmp_path):
    soundfile.write(tmp_path / "song.wav", tone(3), 22_050)
    os.mkfifo(tmp_path / "pipe.wav")
    data = (tmp_path / "song.wav").read_bytes()
    writer = threading.Thread(target=(tmp_path / "pipe.wav").write_bytes, args=(data,))
    writer.start()
    code, out, _ = predict("baselines", tmp_path / "song.wav", tmp_path / "pipe.wav", "--json")
    writer.join()
    file, pipe = json.loads(out)
    assert (code, pipe.pop("file"), file.pop("file")) == (0, str(tmp_path / "pipe.wav"), str(tmp_path / "song.wav"))
    assert file == pipe


@pytest.mark.long
def test_standard_input_by_its_path_is_ours_and_not_the_decoders(run_of, tmp_path):
    soundfile.write(tmp_path / "song.wav", tone(3), 22_050)
    command = [sys.executable, "-m", "fma", "predict", str(run_of("baselines")), "/dev/stdin", "--json"]
    with open(tmp_path / "song.wav", "rb") as file:
        done = subprocess.run(command, stdin=file, capture_output=True, text=True, cwd=ROOT, check=False)
    assert (done.returncode, json.loads(done.stdout)[0].get("error")) == (0, None), done.stderr


def test_pipes_and_devices_without_an_end_have_a_reason(predict, tmp_path, monkeypatch):
    monkeypatch.setattr(inputs, "MOST_BYTES", 1 << 20)
    os.mkfifo(tmp_path / "nobody")
    soundfile.write(tmp_path / "song.wav", tone(3), 22_050)
    began = time.monotonic()
    files = (tmp_path / "nobody", "/dev/zero", "/dev/null", "/proc/self/mem", tmp_path / "song.wav")
    code, out, _ = predict("baselines", *files, "--json", "--timeout", "2")
    errors = [entry.get("error") for entry in json.loads(out)]
    assert (code, errors) == (1, ["timeout", "too_large", "empty_audio", "unreadable_audio", None])
    assert time.monotonic() - began < 30


def test_a_file_that_its_disk_does_not_give_costs_that_song_alone(engine_of, music):
    engine = engine_of("mel_cnn")
    with pytest.raises(TrackError, match="input/output error") as caught:
        engine.predict("/proc/self/mem")
    assert caught.value.reason == "unreadable_audio"
    assert engine.predict(music.tracks[0].path).seconds > 2


def test_odd_names_are_shown_on_one_line_and_in_the_picture(predict, tmp_path):
    for name in ODD:
        soundfile.write(tmp_path / "song.wav", tone(2), 22_050)
        os.rename(tmp_path / "song.wav", os.path.join(tmp_path, name))
    picture = tmp_path / "picture"
    code, out, err = predict("mel_cnn", tmp_path, "--timeline", picture)
    assert code == 0
    shown = [line.partition(str(tmp_path))[2] for line in out.splitlines() if str(tmp_path) in line]
    assert len(shown) == len(ODD)
    assert all(
        any(name in line for line in shown) for name in (r"esc\x1b[31mred", r"new\nline", r"latin\xe9", "日本語")
    )
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert err.splitlines()[-1] == f"timeline: {picture}"
    assert "Warning" not in err
    _, out, _ = predict("baselines", os.path.join(tmp_path, ODD[-1]), "--json")
    assert os.path.basename(json.loads(out)[0]["file"]) == ODD[-1]


def test_a_picture_that_cannot_be_written_is_refused_before_the_model_is_loaded(tmp_path, capsys):
    for path, why in ((tmp_path / "no" / "t.png", "there is no folder"), (tmp_path, "is a folder")):
        assert fma.main(["predict", str(tmp_path / "no run"), "a.mp3", "--timeline", str(path)]) == 2
        assert why in capsys.readouterr().err


def test_a_folder_that_may_not_be_looked_into_costs_a_note(predict, tmp_path, monkeypatch):
    for folder in ("locked", "open"):
        (tmp_path / folder).mkdir()
        soundfile.write(tmp_path / folder / "song.wav", tone(2), 22_050)
    look = os.scandir

    def scandir(path):
        if str(path).endswith("locked"):
            raise PermissionError(13, "Permission denied", path)
        return look(path)

    monkeypatch.setattr(os, "scandir", scandir)  # tests may run as root, who may look into everything
    code, out, err = predict("baselines", tmp_path, "--json")
    assert (code, len(json.loads(out))) == (0, 1)
    assert f"note: {tmp_path / 'locked'} is left out" in err


@pytest.mark.parametrize("option", ["--timeout=1e10", "--timeout=inf", "--timeout=nan", "--memory=99999999999999"])
@pytest.mark.parametrize("command", ["predict", "serve"])
def test_limits_that_no_system_can_hold_are_refused(command, option, capsys):
    with pytest.raises(SystemExit):
        fma.main([command, "run", *(["song.mp3"] if command == "predict" else []), option])
    assert f"argument {option.partition('=')[0]}: must be " in capsys.readouterr().err


@pytest.mark.long
def test_ctrl_c_ends_songs_that_are_being_predicted_in_one_line(run_of, tmp_path):
    songs = [tmp_path / f"{i}.wav" for i in range(4)]
    for song in songs:
        write_ten_hours(song)
    command = [sys.executable, "-m", "fma", "predict", str(run_of("mel_cnn")), *map(str, songs), "--jobs", "2"]
    for wait in (1.0, 2.5):  # while the decoders start, and while they are at work
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT, start_new_session=True
        ) as process:
            try:
                deadline = time.monotonic() + 60
                while not _children(process.pid):
                    assert time.monotonic() < deadline
                    time.sleep(0.05)
                time.sleep(wait)
                process.send_signal(signal.SIGINT)
                _, err = process.communicate(timeout=30)
            finally:
                process.kill()
        assert (process.returncode, err.splitlines()[-1]) == (130, "fma: interrupted"), err
        assert "Traceback" not in err


def _children(pid: int) -> bool:
    tasks = Path(f"/proc/{pid}/task").glob("*/children")
    return any(task.read_text().split() for task in tasks)
