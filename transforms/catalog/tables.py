"""Tables of tracks, FMA's tracks.csv or anybody's csv: their text, their columns, their rows."""

import codecs
import csv
import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain
from typing import Any, BinaryIO, TextIO

from transforms.catalog.lines import LONGEST_LINE
from transforms.errors import UsageError
from transforms.runtime import console

FMA_COLUMNS = {
    "set/split": "split",
    "set/subset": "subset",
    "artist/name": "artist",
    "album/title": "album",
    "track/genre_top": "genre",
    "track/genres": "genres",
    "track/genres_all": "genres_all",
    "track/duration": "duration",
    "track/license": "license",
    "track/title": "title",
    "album/id": "album_id",
}
OPTIONAL_COLUMNS = ("album/id", "track/genres", "track/genres_all")

PLAIN_COLUMNS = {
    "track_id": ("id", "song_id"),
    "path": ("file", "filename", "file_name", "filepath", "file_path", "audio", "audio_file", "audio_path"),
    "genre": ("label", "class", "category", "style", "genre_top"),
    "artist": ("artist_name", "performer", "band"),
    "split": ("fold", "partition"),
    "album": ("album_title", "album_name"),
    "album_id": (),
    "title": ("track_title", "song_title"),
    "license": ("licence",),
    "duration": ("seconds", "length"),
}
"""The columns of a plain csv, each with other names that are taken for it where nothing else has its own."""
NEEDED = ("path", "genre")

DELIMITERS = {",": "commas", ";": "semicolons", "\t": "tabs"}
LATIN_1 = "cp1252"
"""Latin-1 as Windows writes it: the same letters, and printable characters where Latin-1 has control characters."""

Row = tuple[str, dict[str, str]]


class NotUtf8Error(UsageError):
    """A table's text is not UTF-8."""


def read_rows(
    file: io.BufferedReader, name: str, need_split: bool, encoding: str = ""
) -> tuple[str, set[str], Iterator[Row]]:
    """Read the header at once and the rows lazily.

    Args:
      file: the csv's bytes: UTF-8, or UTF-16 with a byte order mark; a plain csv's cells may be separated by commas,
        semicolons or tabs, whichever gives its header the most columns that are known.
      name: what to call the file in messages.
      need_split: whether the table has to say which split each track belongs to.
      encoding: of the text, if it is known.

    Returns:
      The form ("fma": three header rows, "csv": one), the names of the columns, and the rows: where each begins
      ("tracks.csv line 4") and its cells by name, stripped. Names are those of a plain csv: FMA's `track/genre_top` is
      "genre" here. Without a column track_id, the path is the id.

    Raises:
      UsageError: no header or columns missing; while reading also a row with more or fewer cells than the header, or
        an unclosed quote.
      NotUtf8Error: the text is not UTF-8, and the encoding was not given.
    """
    csv.field_size_limit(LONGEST_LINE)  # of a cell, which may have several lines: an unclosed quote meets it
    text = io.TextIOWrapper(file, encoding=encoding or _encoding(file), newline="")
    reader, header = _read_header(text, name)
    if header[0] == "" and {"set", "track"} <= set(header):
        if encoding:
            raise UsageError(f"{name}: not UTF-8 text; give FMA's tracks.csv as published")
        with _text_errors(name, reader):
            form, columns = "fma", _fma_columns(reader, header, name, need_split)
    else:
        form, columns = "csv", _plain_columns(header, name, need_split)
    return form, set(columns), _rows(reader, name, columns, len(header))


def _encoding(file: io.BufferedReader) -> str:
    start = file.peek(2)[:2]
    return "utf-16" if start in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE) else "utf-8-sig"


def is_damaged_utf8(file: BinaryIO) -> bool:
    """Return whether bytes that are not UTF-8 have more letters outside of ASCII in UTF-8 than damage."""
    valid = damaged = 0
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    while data := file.read(1 << 20):
        others = re.sub(r"[\x00-\x7f]+", "", decoder.decode(data))
        damaged += others.count("\N{REPLACEMENT CHARACTER}")
        valid += len(others) - others.count("\N{REPLACEMENT CHARACTER}")
    return valid > damaged


def _read_header(text: TextIO, name: str) -> tuple[Any, list[str]]:
    """Return a reader of the rows, and the header's cells."""
    with _text_errors(name):
        line = text.readline()
    known = {*PLAIN_COLUMNS, *(other for others in PLAIN_COLUMNS.values() for other in others)}
    found = {}
    for delimiter in DELIMITERS:
        reader = csv.reader([line], delimiter=delimiter)
        found[delimiter] = len(known & {_plain_name(cell) for cell in next(reader, [])})
    delimiter = max(found, key=lambda one: found[one])  # of equals the first, a comma
    if delimiter != ",":
        console.log(f"{name}: cells are separated by {DELIMITERS[delimiter]}")
    reader = csv.reader(chain([line] if line else [], text), strict=True, delimiter=delimiter)
    with _text_errors(name, reader):
        header = [cell.strip() for cell in next(reader, [])]
    if not header:
        raise UsageError(f"{name}: the file is empty")
    return reader, header


def _fma_columns(reader: Iterator[list[str]], groups: list[str], name: str, need_split: bool) -> dict[str, int]:
    fields, index = next(reader, []), next(reader, [])
    if len(fields) != len(groups) or not index or index[0].strip() != "track_id":
        raise UsageError(f"{name}: FMA's tracks.csv has three header rows, the third beginning with track_id")
    position = {f"{group}/{field.strip()}": at for at, (group, field) in enumerate(zip(groups, fields, strict=True))}
    optional = OPTIONAL_COLUMNS if need_split else (*OPTIONAL_COLUMNS, "set/split")
    missing = [key for key in FMA_COLUMNS if key not in position and key not in optional]
    if missing:
        raise UsageError(f"{name}: columns missing: {', '.join(missing)}")
    columns = {plain: position[key] for key, plain in FMA_COLUMNS.items() if key in position}
    return {"track_id": 0, **columns}


def _plain_name(cell: str) -> str:
    return re.sub(r"[\s-]+", "_", cell.strip().casefold())


def _plain_columns(header: list[str], name: str, need_split: bool) -> dict[str, int]:
    names = [_plain_name(cell) for cell in header]
    columns: dict[str, int] = {}
    taken = []
    for column, others in PLAIN_COLUMNS.items():
        found = [at for at, cell in enumerate(names) if cell == column]
        found = found or [at for at, cell in enumerate(names) if cell in others]
        if len(found) > 1:
            which = " and ".join(header[at] for at in found)
            raise UsageError(f"{name}: more than one column may be the {column}: {which}; rename all but one")
        for at in found:
            columns[column] = at
            taken += [f"{header[at]} is taken for {column}"] * (names[at] != column)
    missing = [column for column in NEEDED if column not in columns]
    if missing:
        raise UsageError(
            f"{name}: columns missing: {', '.join(missing)}; a csv of your own music begins with the line "
            "track_id,path,genre,artist,split (track_id, artist and split may be left out)"
        )
    if need_split and "split" not in columns:
        raise UsageError(f"{name}: there is no split column; pass --split artist to split by artist")
    if taken:
        console.log(f"{name}: column {', '.join(taken)}")
    return {"track_id": columns["path"]} | columns


def _rows(reader: Any, name: str, columns: dict[str, int], width: int) -> Iterator[Row]:
    line = reader.line_num + 1
    with _text_errors(name, reader):
        for cells in reader:
            if any(cells):
                if len(cells) != width:
                    delimiters = DELIMITERS[reader.dialect.delimiter]
                    raise UsageError(
                        f"{name} line {line}: {len(cells)} cells where the header has {width}; "
                        f"quote cells with {delimiters}"
                    )
                yield f"{name} line {line}", {key: cells[at].strip() for key, at in columns.items()}
            line = reader.line_num + 1


@contextmanager
def _text_errors(name: str, reader: Any = None) -> Iterator[None]:
    try:
        yield
    except UnicodeError as error:
        why = error.reason if isinstance(error, UnicodeDecodeError) else str(error)
        raise NotUtf8Error(f"{name}: not UTF-8 text ({why}); save the csv as UTF-8") from None
    except csv.Error as error:
        line = reader.line_num if reader else 1
        raise UsageError(f"{name} line {line}: not a well-formed csv ({error})") from None
