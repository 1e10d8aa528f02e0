import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from transforms.catalog.metadata import read_catalog
from transforms.errors import UsageError
from transforms.tracks import number_of

ROOT = Path(__file__).resolve().parents[3]

FMA = """\
,album,artist,set,set,track,track,track,track
,title,name,split,subset,duration,genre_top,license,title
track_id,,,,,,,,
10,Al,Bo,test,medium,12,Rock,CC BY,Ten
2,Al,Bo,training,small,168,Rock,CC BY,Two
5,Al,,validation,small,0,Pop,,
7,Al,Cy,training,large,200,,,
8,Al,Cy,training,small,200,,,
9,Al,Cy,training,large,3600,Folk,,
11,Al,Cy,training,large,,Folk,,
"""


@pytest.fixture
def fma(tmp_path) -> Path:
    """An unpacked fma_metadata folder."""
    folder = tmp_path / "fma_metadata"
    folder.mkdir()
    (folder / "tracks.csv").write_text(FMA, encoding="utf-8")
    (folder / "raw_tracks.csv").write_text("track_id,track_title\n", encoding="utf-8")
    return folder


def plain(tmp_path: Path, text: str) -> str:
    path = tmp_path / "music.csv"
    path.write_text(text, encoding="utf-8")
    return str(path)


def zip_of(folder: Path, compression: int, prefix: str = "fma_metadata/") -> str:
    path = folder.parent / f"metadata-{compression}.zip"
    with zipfile.ZipFile(path, "w", compression) as archive:
        for file in sorted(folder.iterdir(), reverse=True):
            archive.write(file, prefix + file.name)
    return str(path)


def ids(catalog) -> list[int]:
    return [track.track_id for track in catalog.tracks]


@pytest.mark.parametrize(
    ("subset", "found", "skipped"),
    [
        ("small", [2, 5], {"not_in_subset": 4, "no_genre": 1}),
        ("medium", [2, 5, 10], {"not_in_subset": 3, "no_genre": 1}),
        ("large", [2, 5, 9, 10, 11], {"no_genre": 2}),
        ("full", [2, 5, 9, 10, 11], {"no_genre": 2}),
    ],
)
def test_a_larger_subset_holds_the_smaller_ones_and_skipped_rows_are_counted_once(fma, subset, found, skipped):
    catalog = read_catalog(str(fma), subset)
    assert ids(catalog) == found
    assert catalog.skipped == skipped
    assert (catalog.form, catalog.subset) == ("fma", subset)


def test_a_track_carries_what_the_metadata_says(fma):
    track = read_catalog(str(fma), "small").tracks[0]
    assert (track.track_id, track.genre, track.split, track.artist) == (2, "Rock", "training", "Bo")
    assert (track.album, track.title, track.license, track.subset) == ("Al", "Two", "CC BY", "small")
    assert (track.path, track.archive, track.size) == ("", "", None)


def test_clips_are_expected_to_last_30_seconds_at_most_and_whole_songs_as_long_as_declared(fma):
    clips = {track.track_id: track.duration for track in read_catalog(str(fma), "large").tracks}
    songs = {track.track_id: track.duration for track in read_catalog(str(fma), "full").tracks}
    assert clips == {2: 30.0, 5: None, 9: 30.0, 10: 12.0, 11: None}
    assert songs == {2: 168.0, 5: None, 9: 3600.0, 10: 12.0, 11: None}


def test_fmas_metadata_reads_the_same_from_zip_folder_and_file(fma):
    expected = read_catalog(str(fma), "medium")
    assert read_catalog(str(fma / "tracks.csv"), "medium") == expected
    assert read_catalog(str(fma.parent), "medium") == expected
    for compression in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2):
        assert read_catalog(zip_of(fma, compression), "medium") == expected
    assert read_catalog(zip_of(fma, zipfile.ZIP_DEFLATED, prefix=""), "medium") == expected


@pytest.mark.parametrize("subset", [None, "tiny"])
def test_fmas_metadata_needs_a_subset_that_exists(fma, subset):
    with pytest.raises(UsageError, match="choose one of small, medium, large, full"):
        read_catalog(str(fma), subset)


def test_a_plain_csv_is_taken_whole_with_any_subset(tmp_path):
    path = plain(
        tmp_path,
        "track_id,path,genre,artist,split,album,title,license,duration\n"
        "12,b/ü.ogg,Folk,Ann,dev,Al,Ti,CC0,61.5\n3,/abs/a.wav,Rock,,TRAIN,,,,\n4,c.mp3,,,test,,,,\n",
    )
    catalog = read_catalog(path, "small")
    assert catalog == read_catalog(path, None)
    assert (catalog.form, catalog.subset) == ("csv", "")
    assert catalog.skipped == {"no_genre": 1}
    first, second = catalog.tracks
    assert (first.track_id, first.path, first.split, first.duration) == (3, "/abs/a.wav", "training", None)
    assert (second.path, second.split, second.artist, second.duration) == ("b/ü.ogg", "validation", "Ann", 61.5)
    assert (second.album, second.title, second.license, second.subset) == ("Al", "Ti", "CC0", "")


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (",a.mp3,Rock,test,", "line 3: track_id ''"),
        (f"{'x' * 5000},a.mp3,Rock,test,", "line 3: track_id 'x+'"),
        ("01,a.mp3,Rock,test,", "line 3: track_id '01' is in the file twice"),
        ("2,a.mp3,Rock,holdout,", "line 3: split 'holdout' is none of training, "),
        ("2,a.mp3,Rock,,", "line 3: split ''"),
        ("2,,Rock,test,", "line 3: path ''"),
        ("2,a\0.mp3,Rock,test,", "line 3: path"),
        (f"2,{'a' * 5000}.mp3,Rock,test,", r"line 3: path 'a+'\.\.\. is not"),
        ("2,a.mp3,Rock,test,3:20", "line 3: duration '3:20' is not a number of seconds"),
        ("2,a.mp3,Rock,test,1e308", "line 3: duration '1e308' is more than a week"),
        (f"2,a.mp3,{'R' * 201},test,", r"line 3: genre 'R+'\.\.\. has 201 characters; shorten it to 200"),
        ("2,a.mp3,Ro\x1b[31mck,test,", r"line 3: genre 'Ro\\x1b\[31mck' has the control character '\\x1b'"),
        ('2,a.mp3,"Rock\nPop",test,', "line 3: genre 'Rock.*control character"),
        ("2,a.mp3,Rock\u202e,test,", "line 3: genre 'Rock.*control character"),
        (f"2,a.mp3,Rock,{'t' * 100_000},", r"line 3: split 't+'\.\.\. is none of"),
    ],
)
def test_a_bad_row_is_named(tmp_path, row, message):
    path = plain(tmp_path, f"track_id,path,genre,split,duration\n1,z.mp3,Pop,test,1\n{row}\n")
    with pytest.raises(UsageError, match=message) as caught:
        read_catalog(path, None)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400


def test_an_id_may_be_any_text_and_is_a_stable_number_in_records(tmp_path):
    text = "track_id,path,genre,split\nsong-a,a.mp3,Rock,test\n7,b.mp3,Rock,test\n"
    number, hashed = read_catalog(plain(tmp_path, text), None).tracks
    assert (number.track_id, number.id_text) == (7, "")
    assert (hashed.track_id, hashed.id_text) == (5650804862298618428, "song-a")
    assert number_of("song-a") == hashed.track_id < 1 << 63


def test_without_a_column_of_ids_the_path_is_the_id(tmp_path):
    (track,) = read_catalog(plain(tmp_path, "path,genre,split\nx/a.mp3,Rock,test\n"), None).tracks
    assert (track.track_id, track.id_text) == (number_of("x/a.mp3"), "x/a.mp3")
    with pytest.raises(UsageError, match=r"line 3: track_id 'a.mp3' is in the file twice"):
        read_catalog(plain(tmp_path, "path,genre,split\na.mp3,Rock,test\na.mp3,Pop,test\n"), None)


def test_a_csv_in_latin_1_is_read_and_said(tmp_path, capsys):
    path = tmp_path / "music.csv"
    path.write_bytes("path,genre,artist,split\na.mp3,Chansón,Björk,test\n".encode("latin-1"))
    (track,) = read_catalog(str(path), None).tracks
    assert (track.genre, track.artist) == ("Chansón", "Björk")
    assert capsys.readouterr().err == f"{path}: not UTF-8 text, so it is read as Latin-1 (Windows-1252)\n"


def test_damaged_utf_8_is_not_taken_for_latin_1(tmp_path):
    path = tmp_path / "music.csv"
    path.write_bytes(
        "path,genre,artist,split\na.mp3,Chansón,Björk,test\nb.mp3,Pop,J\udc80,test\n".encode(errors="surrogateescape")
    )
    with pytest.raises(UsageError, match=r"not UTF-8 text .*; save the csv as UTF-8"):
        read_catalog(str(path), None)


def test_titles_and_artists_may_have_any_characters(tmp_path):
    text = f'track_id,path,genre,split,artist,title\n1,a.mp3,Rock,test,Bj\u202eörk\x1b[0m,"{"T" * 5000}\nx"\n'
    (track,) = read_catalog(plain(tmp_path, text), None).tracks
    assert (track.artist, track.title) == ("Bj\u202eörk\x1b[0m", "T" * 5000 + "\nx")


def test_durations_that_are_not_positive_numbers_count_as_undeclared(tmp_path):
    rows = "".join(f"{i},{i}.mp3,Pop,test,{cell}\n" for i, cell in enumerate(["", "0", "-3", "nan", "inf"]))
    tracks = read_catalog(plain(tmp_path, "track_id,path,genre,split,duration\n" + rows), None).tracks
    assert [track.duration for track in tracks] == [None] * 5


def test_an_unknown_subset_in_a_row_is_named(fma):
    (fma / "tracks.csv").write_text(FMA.replace("large,3600", "lrage,3600"), encoding="utf-8")
    with pytest.raises(UsageError, match=r"line 9: set/subset 'lrage'"):
        read_catalog(str(fma), "small")


def test_splits_by_artist_are_given_later_whatever_fma_says(fma):
    catalog = read_catalog(str(fma), "full", "artist")
    assert catalog.by_artist
    assert {track.split for track in catalog.tracks} == {""}
    assert not read_catalog(str(fma), "full").by_artist


def test_a_split_column_and_splits_by_artist_exclude_each_other(tmp_path):
    path = plain(tmp_path, "track_id,path,genre,artist,split\n1,a.mp3,Rock,Ann,test\n")
    with pytest.raises(UsageError, match=r"music\.csv has a split column: leave out --split artist, or the column$"):
        read_catalog(path, None, "artist")


def test_an_unknown_kind_of_split_is_refused(fma):
    with pytest.raises(UsageError, match="--split random"):
        read_catalog(str(fma), "small", "random")


def test_metadata_that_is_not_there_is_one_clear_line(tmp_path, fma):
    for path in (tmp_path / "no.csv", fma / "tracks.csv" / "x", tmp_path / ("n" * 300)):
        with pytest.raises(UsageError, match=r"no such file|file name too long"):
            read_catalog(str(path), "small")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match=r"holds no tracks\.csv"):
        read_catalog(str(tmp_path / "empty"), "small")


def test_metadata_that_may_not_be_read_is_one_clear_line(fma):
    (fma / "tracks.csv").chmod(0)
    if os.access(fma / "tracks.csv", os.R_OK):
        pytest.skip("this user may read everything")
    with pytest.raises(UsageError, match="no permission"):
        read_catalog(str(fma), "small")


def test_zips_that_are_damaged_or_hold_no_tracks_are_one_clear_line(tmp_path, fma):
    for compression in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2):
        whole = Path(zip_of(fma, compression)).read_bytes()
        broken = tmp_path / "broken.zip"
        at = whole.index(b"Folk") if compression == zipfile.ZIP_STORED else whole.index(b"tracks.csv") + 100
        broken.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        with pytest.raises(UsageError, match="the zip cannot be read"):
            read_catalog(str(broken), "small")
        broken.write_bytes(whole[: len(whole) // 2])
        with pytest.raises(UsageError, match="the zip cannot be read"):
            read_catalog(str(broken), "small")
    (fma / "tracks.csv").unlink()
    with pytest.raises(UsageError, match=r"no tracks\.csv inside"):
        read_catalog(zip_of(fma, zipfile.ZIP_DEFLATED), "small")


@pytest.mark.parametrize(
    ("cell", "compression", "message"),
    [
        ("a", None, "line 3: longer than 4 MiB: this is not a table"),
        ("a", zipfile.ZIP_DEFLATED, "line 3: longer than 4 MiB: this is not a table"),
        ("a", zipfile.ZIP_BZIP2, "line 3: longer than 4 MiB: this is not a table"),
        ("a\n", None, "not a well-formed csv (field larger than"),
    ],
)
def test_a_line_or_a_cell_without_an_end_is_refused_in_little_memory(tmp_path, cell, compression, message):
    path = tmp_path / "music.csv"
    path.write_text('track_id,path,genre,split\n1,a.mp3,Rock,test\n2,"' + cell * 80_000_000)
    if compression is not None:
        with zipfile.ZipFile(tmp_path / "music.zip", "w", compression, compresslevel=1) as archive:
            archive.write(path, "tracks.csv")
        path = tmp_path / "music.zip"
    code = (
        "import resource, sys\n"
        "from transforms.catalog.metadata import read_catalog\n"
        "from transforms.errors import UsageError\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "try: read_catalog(sys.argv[1], None)\n"
        "except UsageError as error: print(error)\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)"
    )
    ran = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True, cwd=ROOT)
    said, kibibytes = ran.stdout.splitlines()
    assert message in said
    assert int(kibibytes) < 64 << 10


@pytest.mark.parametrize(
    ("subset", "tracks", "skipped"),
    [("small", 86, {"not_in_subset": 101}), ("medium", 184, {"not_in_subset": 3}), ("large", 184, {"no_genre": 3})],
)
def test_the_real_sample_has_its_known_counts(fma_sample, subset, tracks, skipped):
    catalog = read_catalog(str(fma_sample / "fma_metadata"), subset)
    assert len(catalog.tracks) == tracks
    assert catalog.skipped == skipped
    assert all(track.duration for track in catalog.tracks)
