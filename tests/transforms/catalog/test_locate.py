import errno
import io
import os
import re
import socket
import stat
import zipfile
from pathlib import Path

import pytest

from transforms.catalog import locate as module
from transforms.catalog.locate import fma_path, locate, locate_again, open_track
from transforms.catalog.metadata import read_catalog
from transforms.errors import TrackError, UsageError
from transforms.tracks import Track


def tracks_of(*found: int | str) -> list[Track]:
    """Tracks by id (FMA) or by path (plain csv)."""
    return [
        Track(key, "Rock", "test") if isinstance(key, int) else Track(i, "Rock", "test", key)
        for i, key in enumerate(found)
    ]


def write(folder: Path, **files: bytes) -> None:
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def write_zip(path: Path, members: dict[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> str:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return str(path)


def reason_of(track: Track) -> str:
    with pytest.raises(TrackError) as caught:
        open_track(track)
    assert track.path in caught.value.message
    return caught.value.reason


def test_fma_keeps_a_track_in_a_folder_of_its_first_three_digits():
    assert [fma_path(i) for i in (2, 99_134, 155_320)] == ["000/000002.mp3", "099/099134.mp3", "155/155320.mp3"]


@pytest.mark.parametrize("prefix", ["", "fma_small/"])
def test_fma_tracks_are_found_in_a_folder_or_one_below_it(tmp_path, prefix):
    write(tmp_path, **{f"{prefix}000/000002.mp3": b"two", f"{prefix}155/155320.mp3": b"", "notes/a.txt": b"x"})
    (tmp_path / prefix / "000" / "000003.mp3").mkdir()
    two, three, five, last = locate(tracks_of(2, 3, 5, 155_320), str(tmp_path), "fma")
    assert (two.path, two.archive, two.size) == (f"{tmp_path}/{prefix}000/000002.mp3", "", 3)
    assert (five.path, five.size) == (f"{tmp_path}/{prefix}000/000005.mp3", None)
    assert (three.size, last.size) == (None, 0)
    assert open_track(two).read() == b"two"
    assert open_track(last).read() == b""
    assert (reason_of(five), reason_of(three)) == ("missing_audio", "not_a_file")


def test_the_folder_with_most_tracks_counts(tmp_path):
    write(tmp_path, **{"a/000/000002.mp3": b"a", "b/000/000002.mp3": b"b", "b/000/000003.mp3": b"b"})
    write(tmp_path, **{f"a/000/{i:06d}.mp3": b"other" for i in range(10, 20)})
    assert {track.path.split("/")[-3] for track in locate(tracks_of(2, 3), str(tmp_path), "fma")} == {"b"}


def test_a_file_url_and_a_trailing_slash_name_the_same_folder(tmp_path):
    write(tmp_path, **{"000/000002.mp3": b"two"})
    for audio in (f"{tmp_path}/", f"file://{tmp_path}"):
        track = locate(tracks_of(2), audio, "fma")[0]
        assert (track.size, open_track(track).read()) == (3, b"two")


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2])
def test_fma_tracks_are_read_in_place_in_a_zip(tmp_path, compression):
    members = {"fma_small/README.txt": b"x", "fma_small/000/000002.mp3": b"two" * 999, "fma_small/000/000003.mp3": b""}
    extra = {"__MACOSX/fma_small/000/._000002.mp3": b"?", "old/000/000002.mp3": b"old", "/000/000002.mp3": b"abs"}
    audio = write_zip(tmp_path / "fma.zip", members | extra, compression)
    two, three, five = locate(tracks_of(2, 3, 5), audio, "fma")
    assert (two.path, two.archive, two.size) == ("fma_small/000/000002.mp3", audio, 2997)
    assert (three.size, five.path, five.size) == (0, "fma_small/000/000005.mp3", None)
    assert open_track(two).read() == b"two" * 999
    assert open_track(three).read() == b""
    assert reason_of(five) == "missing_audio"


def test_paths_of_a_plain_csv_are_below_the_folder_or_absolute(tmp_path):
    write(tmp_path, **{"music/a ü.ogg": b"a", "music/b/c.wav": b"cc", "else/d.mp3": b"ddd"})
    paths = ["a ü.ogg", "./b/x/../c.wav", f"{tmp_path}/else/d.mp3", "no.mp3", "a ü.ogg/x", "n" * 300, "b"]
    located = locate(tracks_of(*paths), str(tmp_path / "music"), "csv")
    assert [track.size for track in located[:6]] == [1, 2, 3, None, None, None]
    assert located[1].path == f"{tmp_path}/music/b/c.wav"
    assert [open_track(track).read() for track in located[:3]] == [b"a", b"cc", b"ddd"]
    assert {reason_of(track) for track in located[3:6]} == {"missing_audio"}
    assert reason_of(located[6]) == "not_a_file"


def test_paths_of_a_plain_csv_are_names_in_a_zip_or_absolute(tmp_path):
    write(tmp_path, **{"d.mp3": b"ddd"})
    audio = write_zip(tmp_path / "m.zip", {"x/a.ogg": b"a"})
    inside, outside, absent = locate(tracks_of("./x/a.ogg", f"{tmp_path}/d.mp3", "a.ogg"), audio, "csv")
    assert (inside.path, inside.archive, inside.size) == ("x/a.ogg", audio, 1)
    assert (outside.archive, outside.size) == ("", 3)
    assert (open_track(inside).read(), open_track(outside).read()) == (b"a", b"ddd")
    assert reason_of(absent) == "missing_audio"


@pytest.mark.parametrize("there", ["Rock/Ümlaut.MP3", "rock/U\u0308mlaut.mp3"])
def test_a_name_that_differs_in_case_or_unicode_form_is_suggested(tmp_path, there):
    folder = tmp_path / "audio"
    write(folder, **{there: b"a"})
    archive = write_zip(tmp_path / "audio.zip", {there: b"a"})
    for audio, meant in ((str(folder), folder / there), (archive, there)):
        with pytest.raises(UsageError, match=re.escape(f"did you mean {meant}?")):
            locate(tracks_of("rock/ümlaut.mp3"), audio, "csv")
        found = locate(tracks_of("rock/ümlaut.mp3", there), audio, "csv")
        with pytest.raises(TrackError, match=re.escape(f"did you mean {meant}?")):
            open_track(found[0])


def test_a_path_that_leads_out_of_the_root_is_refused(tmp_path):
    write(tmp_path, **{"m/a.mp3": b"a", "secret.mp3": b"s"})
    audio = write_zip(tmp_path / "m.zip", {"a.mp3": b"a", "../secret.mp3": b"s"})
    for root in (str(tmp_path / "m"), audio):
        for path in ("../secret.mp3", "x/../../secret.mp3", ".."):
            with pytest.raises(UsageError, match=r"track 1: the path .* leads out"):
                locate(tracks_of("a.mp3", path), root, "csv")


def test_audio_that_is_not_there_is_one_clear_line(tmp_path):
    write(tmp_path, **{"000/000002.mp3": b"two", "a.txt": b"text"})
    half = tmp_path / "half.zip"
    half.write_bytes(Path(write_zip(tmp_path / "m.zip", {"000/000002.mp3": b"a" * 999})).read_bytes()[:100])
    for audio, form, message in [
        ("no", "fma", "no such folder or zip"),
        ("a.txt/x", "fma", "no such folder or zip"),
        ("a.txt", "csv", "neither a folder nor a zip"),
        ("half.zip", "fma", "neither a folder nor a zip"),
        ("", "fma", r"holds none of the 1 tracks: looked for .*/000/000009\.mp3"),
        ("m.zip", "fma", r"holds none of the 1 tracks: looked for .*m\.zip!000/000009\.mp3"),
        ("", "csv", r"holds none of the 1 tracks: looked for .*/b\.mp3"),
    ]:
        with pytest.raises(UsageError, match=message) as caught:
            locate(tracks_of(9) if form == "fma" else tracks_of("b.mp3"), str(tmp_path / audio), form)
        assert "\n" not in str(caught.value)


def test_no_tracks_are_located_nowhere(tmp_path):
    assert locate([], str(tmp_path), "fma") == locate([], str(tmp_path), "csv") == []


def test_what_may_not_be_read_is_reported_as_such(tmp_path):
    write(tmp_path, **{"000/000002.mp3": b"a", "001/001000.mp3": b"a", "002/002000.mp3": b"a"})
    (tmp_path / "001").chmod(0)
    (tmp_path / "002" / "002000.mp3").chmod(0)
    if os.access(tmp_path / "001", os.R_OK):
        pytest.skip("this user may read everything")
    try:
        readable, locked, secret = locate(tracks_of(2, 1000, 2000), str(tmp_path), "fma")
        assert (readable.size, locked.size, secret.size) == (1, None, 1)
        assert reason_of(locked) == reason_of(secret) == "unreadable_audio"
        again = locate(tracks_of("000/000002.mp3", "001/001000.mp3"), str(tmp_path), "csv")
        assert [track.size for track in again] == [1, None]
        with pytest.raises(UsageError, match="no permission"):
            locate(tracks_of(2), str(tmp_path / "001"), "fma")
        with pytest.raises(UsageError, match="no permission"):
            locate(tracks_of(2), str(tmp_path / "002" / "002000.mp3"), "fma")
    finally:
        (tmp_path / "001").chmod(0o700)


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2])
def test_a_damaged_member_is_a_failure_and_its_neighbours_are_read(tmp_path, compression):
    sound = os.urandom(5000)
    path = tmp_path / "fma.zip"
    write_zip(path, {"000/000002.mp3": sound, "000/000003.mp3": sound}, compression)
    damaged = bytearray(path.read_bytes())
    damaged[2000:2010] = bytes(byte ^ 0xFF for byte in damaged[2000:2010])
    path.write_bytes(damaged)
    bad, good = locate(tracks_of(2, 3), str(path), "fma")
    assert reason_of(bad) == "corrupt_audio"
    assert open_track(good).read() == sound


def test_an_encrypted_member_is_a_failure(tmp_path):
    path = tmp_path / "fma.zip"
    write_zip(path, {"000/000002.mp3": b"two"}, zipfile.ZIP_STORED)
    data = bytearray(path.read_bytes())
    for header, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(header) + flags] |= 1
    path.write_bytes(data)
    assert reason_of(locate(tracks_of(2), str(path), "fma")[0]) == "unreadable_audio"


def test_a_zip_that_is_gone_fails_loudly(tmp_path):
    with pytest.raises(FileNotFoundError):
        open_track(Track(2, "Rock", "test", "000/000002.mp3", archive=str(tmp_path / "gone.zip")))


@pytest.mark.parametrize("size", [1, 499, 500, 501, 2000, None])
def test_a_file_is_read_whole_whatever_size_it_had_when_it_was_found(tmp_path, size):
    (tmp_path / "song.mp3").write_bytes(bytes(range(250)) * 2)
    with open_track(Track(1, "Rock", "training", str(tmp_path / "song.mp3"), size=size)) as file:
        assert isinstance(file, io.BytesIO)
        assert file.read() == bytes(range(250)) * 2


def test_long_audio_is_not_read_into_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "IN_MEMORY", 1000)
    long, short = os.urandom(5000), os.urandom(1000)
    write(tmp_path, **{"long.wav": long, "short.wav": short})
    audio = write_zip(tmp_path / "m.zip", {"long.wav": long, "short.wav": short}, zipfile.ZIP_BZIP2)
    for root in (str(tmp_path), audio):
        for track, data in zip(locate(tracks_of("long.wav", "short.wav"), root, "csv"), (long, short), strict=True):
            with open_track(track) as file:
                assert isinstance(file, io.BytesIO) == (data is short)
                assert file.read() == data
                assert file.seek(10) == 10
                assert file.read(5) == data[10:15]


def special_files(folder: Path) -> dict[str, str]:
    """Make what is no regular file, and links to some of them; return what each is called, by path."""
    os.mkfifo(folder / "pipe.mp3")
    with socket.socket(socket.AF_UNIX) as end:
        end.bind(str(folder / "socket.mp3"))
    (folder / "folder.mp3").mkdir()
    found = {"pipe": "a named pipe", "socket": "a socket", "folder": "a folder"}
    (folder / "zero.mp3").symlink_to("/dev/zero")
    for name in found:
        (folder / f"to_{name}.mp3").symlink_to(f"{name}.mp3")
    links = {f"to_{name}": what for name, what in found.items()} | {"zero": "a device"}
    return {f"{folder}/{name}.mp3": what for name, what in (found | links).items()} | {"/dev/tty": "a device"}


def test_what_is_no_regular_file_is_never_opened_and_has_a_reason(tmp_path):
    for path, what in special_files(tmp_path).items():
        with pytest.raises(TrackError) as caught:
            open_track(Track(1, "Rock", "test", path))
        assert (caught.value.reason, caught.value.message) == (
            "not_a_file",
            f"{path}: {what}, not a file: put the audio file itself there",
        )


def test_a_link_to_a_file_is_a_file(tmp_path):
    write(tmp_path, **{"disk/song.mp3": b"song"})
    (tmp_path / "music").symlink_to("disk")
    (tmp_path / "song.mp3").symlink_to("music/song.mp3")
    assert open_track(Track(1, "Rock", "test", f"{tmp_path}/song.mp3")).read() == b"song"


@pytest.mark.skipif(not os.path.exists("/proc/self/mem"), reason="only Linux has /proc")
def test_a_file_of_the_kernels_that_gives_no_bytes_is_a_failure_of_its_track(tmp_path):
    (tmp_path / "link.mp3").symlink_to("/proc/self/mem")
    for path in ("/proc/self/mem", f"{tmp_path}/link.mp3", "/sys/class/net/lo/speed"):
        if os.path.exists(path):
            assert reason_of(Track(1, "Rock", "test", path)) == "unreadable_audio"
    assert open_track(Track(1, "Rock", "test", "/proc/self/status")).read().startswith(b"Name:")


@pytest.mark.parametrize(("code", "stops"), [(errno.EIO, True), (errno.ESTALE, True), (errno.EPERM, False)])
def test_a_disk_that_fails_stops_the_run_and_a_file_that_is_refused_does_not(tmp_path, monkeypatch, code, stops):
    write(tmp_path, **{"song.mp3": b"song"})

    def read(*_):
        raise OSError(code, os.strerror(code), "song.mp3")

    monkeypatch.setattr(module, "_read_start", read)  # a disk cannot be made to fail here
    with pytest.raises(OSError if stops else TrackError):
        open_track(Track(1, "Rock", "test", f"{tmp_path}/song.mp3"))


def test_a_member_of_a_zip_that_is_a_link_is_no_file(tmp_path):
    with zipfile.ZipFile(tmp_path / "m.zip", "w") as archive:
        for name, mode in (("link.mp3", stat.S_IFLNK), ("pipe.mp3", stat.S_IFIFO), ("song.mp3", stat.S_IFREG)):
            info = zipfile.ZipInfo(name)
            info.create_system, info.external_attr = 3, (mode | 0o644) << 16
            archive.writestr(info, "/etc/passwd")
    link, pipe, song = locate(tracks_of("link.mp3", "pipe.mp3", "song.mp3"), str(tmp_path / "m.zip"), "csv")
    assert reason_of(link) == reason_of(pipe) == "not_a_file"
    assert open_track(song).read() == b"/etc/passwd"


def test_audio_and_metadata_that_are_pipes_or_devices_are_one_line_at_once(tmp_path):
    for path, what in special_files(tmp_path).items():
        if "folder" not in path:
            with pytest.raises(UsageError, match=f"^--audio {path}: {what}, not a file; give a folder or a zip$"):
                locate(tracks_of("a.mp3"), path, "csv")
            with pytest.raises(UsageError, match=f"^{path}: {what}, not a file$"):
                read_catalog(path, None)


def test_the_real_sample_lacks_one_file(fma_sample, tmp_path):
    catalog = read_catalog(str(fma_sample / "fma_metadata"), "medium")
    located = locate(catalog.tracks, str(fma_sample / "audio"), catalog.form)
    assert [track.track_id for track in located if track.size is None] == [602]
    assert [track.track_id for track in located if track.size == 0] == [108_925]
    assert all(len(open_track(track).read()) == track.size for track in located if track.size is not None)


def test_songs_that_were_moved_are_found_by_their_place_below_what_they_share(tmp_path):
    write(tmp_path / "new", **{"rock/a.mp3": b"a", "jazz/b.mp3": b"bb"})
    tracks = tracks_of("/old/music/rock/a.mp3", "/old/music/jazz/b.mp3")
    found = locate_again(tracks, str(tmp_path / "new"))
    assert [open_track(track).read() for track in found] == [b"a", b"bb"]
    archive = write_zip(tmp_path / "new.zip", {"rock/a.mp3": b"a", "jazz/b.mp3": b"bb"})
    assert [open_track(track).read() for track in locate_again(tracks, archive)] == [b"a", b"bb"]
    back = locate_again(locate(tracks_of("rock/a.mp3", "jazz/b.mp3"), archive, "csv"), str(tmp_path / "new"))
    assert [(track.path, track.archive) for track in back] == [(track.path, "") for track in found]


def test_fmas_tracks_that_were_moved_are_found_by_their_ids(tmp_path):
    write(tmp_path, **{"fma_small/000/000002.mp3": b"two"})
    (found,) = locate_again([Track(2, "Rock", "test", "/old/fma/000/000002.mp3", size=1)], str(tmp_path))
    assert (open_track(found).read(), found.size) == (b"two", 3)
