import io

import pytest

from transforms.catalog.tables import read_rows
from transforms.errors import UsageError

FMA_HEADER = (
    ",album,artist,artist,set,set,track,track,track,track\n"
    ",title,bio,name,split,subset,duration,genre_top,license,title\n"
    "track_id,,,,,,,,,\n"
)


def read(text: str | bytes, need_split: bool = True):
    data = text if isinstance(text, bytes) else text.encode()
    form, _, rows = read_rows(io.BufferedReader(io.BytesIO(data)), "t.csv", need_split)
    return form, list(rows)


def test_fma_rows_have_the_names_of_the_plain_csv():
    form, rows = read(FMA_HEADER + "2,Food,bio,AWOL,training,small,168,Hip-Hop,CC BY,Food\n")
    assert form == "fma"
    cells = {"track_id": "2", "split": "training", "subset": "small", "artist": "AWOL", "album": "Food"}
    assert rows == [
        ("t.csv line 4", cells | {"genre": "Hip-Hop", "duration": "168", "license": "CC BY", "title": "Food"})
    ]


def test_quoted_cells_keep_commas_and_line_breaks_and_lines_are_counted_as_an_editor_does():
    biography = '"<p>one,\ntwo ""three""\n</p>"'
    form, rows = read(
        FMA_HEADER + f'2,Food,{biography},"A, B",training,small,168,Rock,,"x\ny"\n' + "3,Food,,C,test,small,1,Pop,,z\n"
    )
    assert form == "fma"
    assert [(where, row["artist"], row["title"]) for where, row in rows] == [
        ("t.csv line 4", "A, B", "x\ny"),
        ("t.csv line 8", "C", "z"),
    ]


def test_a_biography_longer_than_the_csv_modules_usual_limit_is_read():
    _, rows = read(FMA_HEADER + f"2,Food,{'b' * 200_000},AWOL,training,small,168,Rock,,t\n")
    assert rows[0][1]["artist"] == "AWOL"


def test_a_plain_csv_takes_its_columns_in_any_order_with_or_without_a_byte_order_mark():
    text = "Genre, path ,TRACK_ID,mood,split\r\n Rock , a.mp3 ,7,calm,test\r\n\r\n,,,,\r\nPop,b.mp3,8,,dev\r\n"
    for data in (text.encode(), text.encode("utf-8-sig")):
        form, rows = read(data)
        assert form == "csv"
        assert rows == [
            ("t.csv line 2", {"track_id": "7", "path": "a.mp3", "genre": "Rock", "split": "test"}),
            ("t.csv line 5", {"track_id": "8", "path": "b.mp3", "genre": "Pop", "split": "dev"}),
        ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "t.csv: the file is empty"),
        ("id,name\n1,a.mp3\n", "columns missing: path, genre"),
        ("id,file,label,class,split\n", "more than one column may be the genre: label and class; rename all but one"),
        ("track_id,path,genre\n1,a.mp3,Rock\n", "no split column; pass --split artist"),
        ("track_id,path,genre,split,path\n1,a,Rock,test,b\n", "more than one column may be the path: path and path"),
        (
            "track_id,path,genre,split\n1,a,Rock,test\n2,b,Rock, Pop,test\n",
            "t.csv line 3: 5 cells where the header has 4",
        ),
        ("track_id,path,genre,split\n1,a,Rock\n", "t.csv line 2: 3 cells where the header has 4"),
        ('track_id,path,genre,split\n1,"a,Rock,test\n2,b,Pop,test\n', "not a well-formed csv"),
        ("track_id,path,genre,split\n1,a,Møt,test\n".encode("latin-1"), "not UTF-8 text"),
        ("track_id,path,genre,split\n".encode("utf-16-le"), "columns missing"),
        (
            FMA_HEADER.replace("subset", "sub").replace("genre_top", "top"),
            "columns missing: set/subset, track/genre_top",
        ),
        (",set,track\n,split,title\n2,training,a\n", "three header rows"),
        (",set,track\n", "three header rows"),
    ],
)
def test_a_table_of_another_form_is_refused_in_one_line(text, message):
    with pytest.raises(UsageError, match=message) as caught:
        read(text)
    assert "\n" not in str(caught.value)


def test_the_split_column_is_needed_only_where_splits_come_from_it():
    assert read("track_id,path,genre\n1,a.mp3,Rock\n", need_split=False)[0] == "csv"
    assert read(FMA_HEADER.replace("split", "fold"), need_split=False)[0] == "fma"
    with pytest.raises(UsageError, match="columns missing: set/split"):
        read(FMA_HEADER.replace("split", "fold"))


@pytest.mark.parametrize(("delimiter", "word"), [(";", "semicolons"), ("\t", "tabs"), (",", "")])
def test_the_separator_is_found_by_the_columns_that_it_gives(delimiter, word, capsys):
    cells = ["1", '"a,b;c\td.mp3"', "Rock", "test"]
    _, rows = read(delimiter.join(["track_id", "path", "genre", "split"]) + "\n" + delimiter.join(cells) + "\n")
    assert rows[0][1] == {"track_id": "1", "path": "a,b;c\td.mp3", "genre": "Rock", "split": "test"}
    assert capsys.readouterr().err == (f"t.csv: cells are separated by {word}\n" if word else "")
    with pytest.raises(UsageError, match=f"line 2: 2 cells where the header has 4; quote cells with {word}"):
        read(delimiter.join(["track_id", "path", "genre", "split"]) + f"\n1{delimiter}2\n")


def test_usual_names_of_columns_are_taken_and_said(capsys):
    _, rows = read("ID\tFile Name\tLABEL\tArtist-Name\tFold\tMood\n7\ta.mp3\tRock\tAnn\ttrain\tcalm\n")
    assert rows[0][1] == {"track_id": "7", "path": "a.mp3", "genre": "Rock", "artist": "Ann", "split": "train"}
    assert "ID is taken for track_id, File Name is taken for path, LABEL is taken for genre" in capsys.readouterr().err


def test_a_column_of_the_very_name_goes_before_another_that_might_be_it():
    _, rows = read("path,label,genre,split\na.mp3,no,Rock,test\n")
    assert rows[0][1]["genre"] == "Rock"


def test_utf_16_with_a_byte_order_mark_is_read():
    _, rows = read("path,genre,split\nø.mp3,Møt,test\n".encode("utf-16"))
    assert rows[0][1] == {"track_id": "ø.mp3", "path": "ø.mp3", "genre": "Møt", "split": "test"}
