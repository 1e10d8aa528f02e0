"""Sounds of the dataset's songs that the server plays, and what it knows of a song that it was trained on."""

import io
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
import soundfile

import fma
from tests.trainers.serving.live import Client, listening, send
from trainers.serving.app import create_app
from trainers.serving.clips import open_clips
from trainers.serving.neighbours import read_recordings
from transforms.audio.decoder_process import Limits
from transforms.errors import UsageError


@pytest.fixture(scope="module")
def client(service, music):
    clips = open_clips(str(music.dataset), str(Path(music.tracks[0].path).parent), Limits())
    known = read_recordings(str(music.dataset))
    heard = replace(service, clips=clips, recordings=known)
    with closing(clips), listening(create_app(heard)) as port, Client(port) as client:
        yield client


def test_a_song_of_the_training_is_not_its_own_neighbour(client, music):
    for track in music.of("training"):
        found = send(client, track.path, "?nearest=5").json()
        assert found["in_training"] is True
        assert len(found["nearest"]) == 5
        assert track.track_id not in [one["track_id"] for one in found["nearest"]]
    found = send(client, music.of("test")[0].path, "?nearest=6").json()
    assert found["in_training"] is False and len(found["nearest"]) == 6


def test_clips_are_of_the_tracks_that_songs_are_compared_with(client, music):
    track = music.of("training")[0]
    for _ in range(2):
        answer = client.get(f"/clip?track={track.track_id}")
        assert answer.headers["content-type"] == "audio/mpeg"
        samples, rate = soundfile.read(io.BytesIO(answer.content))
        assert samples.ndim == 1 and 1.9 < len(samples) / rate < 2.3
    for unknown in ("12345", music.of("validation")[0].track_id, "../../etc/passwd"):
        assert client.get(f"/clip?track={unknown}").status_code == 404
    facts = client.get("/model").json()
    assert facts["clips"] is True
    assert facts["example"]["track_id"] == music.of("test")[0].track_id


def test_without_its_audio_there_are_no_clips(service, music, tmp_path, capsys):
    with listening(create_app(service)) as port, Client(port) as client:
        assert client.get("/clip?track=0").status_code == 404
        assert client.get("/model").json()["clips"] is False
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="holds none of the 14 tracks"):
        open_clips(str(music.dataset), str(tmp_path / "empty"), Limits())
    assert fma.main(["serve", "run", "--port", "0", "--audio", str(tmp_path)]) == 2
    assert "--audio needs the dataset" in capsys.readouterr().err
