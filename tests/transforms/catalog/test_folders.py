"""A folder of genres in the place of metadata."""

import os
import zipfile
from pathlib import Path

import numpy as np
import pytest
import soundfile

from transforms.catalog.folders import read_folders
from transforms.catalog.locate import locate
from transforms.errors import UsageError
from transforms.tracks import number_of


def write_song(path: Path, **tags: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with soundfile.SoundFile(path, "w", 8000, 1) as file:
        for name, value in tags.items():
            setattr(file, name, value)
        file.write(np.zeros(80))


@pytest.fixture
def music(tmp_path) -> Path:
    folder = tmp_path / "music"
    write_song(folder / "rock" / "a.flac", artist=" Ann  B", title="One", album="Al")
    write_song(folder / "rock" / "live" / "b.wav")
    write_song(folder / "Hip-Hop" / "c.ogg", artist="Cy")
    write_song(folder / "loose.wav")
    (folder / "rock" / "cover.jpg").write_bytes(b"picture")
    (folder / "rock" / "broken.mp3").write_bytes(b"no audio")
    return folder


def test_the_first_folder_is_the_genre_the_path_the_id_and_the_tags_are_the_artist_and_title(music):
    catalog = read_folders(str(music))
    assert (catalog.form, catalog.subset, catalog.skipped) == ("csv", "", {"no_genre": 1})
    found = {track.id_text: track for track in catalog.tracks}
    assert {path: track.genre for path, track in found.items()} == {
        "rock/a.flac": "rock",
        "rock/broken.mp3": "rock",
        "rock/live/b.wav": "rock",
        "Hip-Hop/c.ogg": "Hip-Hop",
    }
    one = found["rock/a.flac"]
    assert (one.artist, one.title, one.album) == ("Ann B", "One", "Al")
    assert one.track_id == number_of("rock/a.flac")
    assert catalog.by_artist and one.split == ""
    assert found["rock/live/b.wav"].artist == ""
    assert all(track.size for track in locate(catalog.tracks, str(music), catalog.form))


def test_a_zip_of_such_a_folder_has_the_same_genres(music, tmp_path):
    path = tmp_path / "music.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for file in music.rglob("*.*"):
            archive.write(file, file.relative_to(music.parent))
    catalog = read_folders(str(path))
    assert sorted(track.genre for track in catalog.tracks) == ["Hip-Hop", "rock", "rock", "rock"]
    assert catalog.skipped == {"no_genre": 1}
    assert all(track.size for track in locate(catalog.tracks, str(path), catalog.form))


def test_what_is_hidden_and_folders_that_hold_themselves_add_nothing(music, tmp_path):
    before = [track.id_text for track in read_folders(str(music)).tracks]
    for name in ("rock/._a.flac", ".Trash-1000/files/old.wav", "Hip-Hop/.old/c.ogg", ".DS_Store"):
        (music / name).parent.mkdir(parents=True, exist_ok=True)
        (music / name).write_bytes(b"Mac OS X")
    (music / "rock" / "self").symlink_to(music)
    assert [track.id_text for track in read_folders(str(music)).tracks] == before
    (music / "rock" / "self").unlink()
    path = tmp_path / "music.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for file in music.rglob("*.*"):
            archive.write(file, file.relative_to(music))
            archive.write(file, f"__MACOSX/{file.parent.relative_to(music)}/._{file.name}")
    assert [track.id_text for track in read_folders(str(path)).tracks] == before


@pytest.mark.parametrize("made", ["", "empty", "file.txt"])
def test_a_place_without_folders_of_audio_is_one_line(tmp_path, made):
    (tmp_path / "empty").mkdir()
    (tmp_path / "file.txt").write_text("no zip")
    with pytest.raises(UsageError) as caught:
        read_folders(str(tmp_path / (made or "missing")))
    assert "\n" not in str(caught.value)
    assert made in str(caught.value)


def test_a_song_whose_name_is_not_utf_8_is_a_track_like_others(tmp_path):
    write_song(tmp_path / "rock" / "a.wav")
    os.rename(tmp_path / "rock" / "a.wav", os.fsencode(tmp_path) + b"/rock/\xe9.wav")
    (track,) = read_folders(str(tmp_path)).tracks
    assert (track.genre, os.fsencode(track.path)) == ("rock", b"rock/\xe9.wav")
    assert track.track_id >> 62 == 1
