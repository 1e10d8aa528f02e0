"""A table of tracks, in FMA's csv form or a plain one, as rows of named cells.

Python's csv module, not pandas: FMA's 106,574 rows with 52 columns of prose parse as fast, in half the memory, and each
row knows its line, so that an error can name it.
"""

import csv
import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO

from transforms.errors import UsageError

FMA_COLUMNS = {
    "set/split": "split",
    "set/subset": "subset",
    "artist/name": "artist",
    "album/title": "album",
    "track/genre_top": "genre",
    "track/duration": "duration",
    "track/license": "license",
    "track/title": "title",
    "album/id": "album_id",
}
OPTIONAL_COLUMNS = ("album/id",)
PLAIN_COLUMNS = ("path", "genre", "artist", "split", "album", "album_id", "title", "license", "duration")
NEEDED = ("track_id", "path", "genre")

# FMA's longest biographies pass the csv module's limit of 128 KiB; an unclosed quote still meets this one.
LONGEST_CELL = 16 << 20

Row = tuple[str, dict[str, str]]


def read_rows(file: BinaryIO, name: str, need_split: bool) -> tuple[str, Iterator[Row]]:
    """Reads the header now and the rows as they are asked for.

    Args:
      file: the csv's bytes, UTF-8 with or without a byte order mark.
      name: what to call the file in messages.
      need_split: whether the table has to say which split each track belongs to.

    Returns:
      The form ("fma": three header rows, "csv": one) and the rows: where each begins ("tracks.csv line 4") and its
      cells by name, stripped. Both forms use the plain csv's names: FMA's `track/genre_top` is "genre" here.

    Raises:
      UsageError: no header or columns missing; while reading also a row with more or fewer cells than the header, an
        unclosed quote, or text that is not UTF-8.
    """
    csv.field_size_limit(LONGEST_CELL)
    reader = csv.reader(io.TextIOWrapper(file, encoding="utf-8-sig", newline=""), strict=True)
    with _text_errors(name, reader):
        header = [cell.strip() for cell in next(reader, [])]
        if not header:
            raise UsageError(f"{name}: the file is empty")
        if header[0] == "" and {"set", "track"} <= set(header):
            return "fma", _rows(reader, name, _fma_columns(reader, header, name, need_split), len(header))
        return "csv", _rows(reader, name, _plain_columns(header, name, need_split), len(header))


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


def _plain_columns(header: list[str], name: str, need_split: bool) -> dict[str, int]:
    names = [cell.lower() for cell in header]
    missing = [key for key in NEEDED if key not in names]
    if missing:
        raise UsageError(
            f"{name}: columns missing: {', '.join(missing)}; a csv of your own music begins with the line "
            "track_id,path,genre,artist,split (comma-separated; artist and split may be left out)"
        )
    repeated = [key for key in ("track_id", *PLAIN_COLUMNS) if names.count(key) > 1]
    if repeated:
        raise UsageError(f"{name}: more than one column is called {repeated[0]}")
    if need_split and "split" not in names:
        raise UsageError(f"{name}: there is no split column; pass --split artist to split by a hash of the artist")
    return {key: names.index(key) for key in ("track_id", *PLAIN_COLUMNS) if key in names}


def _rows(reader: Any, name: str, columns: dict[str, int], width: int) -> Iterator[Row]:
    line = reader.line_num + 1
    with _text_errors(name, reader):
        for cells in reader:
            if any(cells):
                if len(cells) != width:
                    raise UsageError(
                        f"{name} line {line}: {len(cells)} cells where the header has {width}; quote cells with commas"
                    )
                yield f"{name} line {line}", {key: cells[at].strip() for key, at in columns.items()}
            line = reader.line_num + 1


@contextmanager
def _text_errors(name: str, reader: Any) -> Iterator[None]:
    try:
        yield
    except UnicodeDecodeError as error:
        raise UsageError(f"{name}: not UTF-8 text ({error.reason}); save the csv as UTF-8") from None
    except csv.Error as error:
        raise UsageError(f"{name} line {reader.line_num}: not a well-formed csv ({error})") from None
