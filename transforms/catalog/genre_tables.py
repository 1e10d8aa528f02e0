"""Tables of genres: FMA's genres.csv, or a csv with the parents of one's own genres; and the cells that name genres."""

import csv
import io
import re
from collections.abc import Callable, Iterator
from typing import BinaryIO

from transforms.errors import UsageError
from transforms.runtime.text import is_control
from transforms.taxonomy import Taxonomy

LONGEST_NAME = 200  # characters of a genre
SEPARATOR = "|"
"""Between the genres of a track, in a cell of a plain csv."""
IDS = re.compile(r"\[(?:\d{1,9}(?:, *\d{1,9})*)?\]|")
"""A cell of FMA's tracks.csv with ids of genres, as Python prints a list."""

Cells = dict[str, str]
GenresOf = Callable[[Cells, str], tuple[str, ...]]
"""(a row of tracks, where it is) -> the names of its genres, without their ancestors."""


def brief(cell: str) -> str:
    """Return a cell in quotes, shortened, for a message."""
    return repr(cell) if len(cell) <= LONGEST_NAME else f"{cell[:40]!r}..."


def check_genre(name: str, where: str) -> None:
    """Refuse a name that no table, page or list of labels can show; `where` is its row in messages.

    Raises:
      UsageError: it is longer than `LONGEST_NAME` or has control characters.
    """
    if len(name) > LONGEST_NAME:
        raise UsageError(f"{where}: genre {brief(name)} has {len(name):,} characters; shorten it to {LONGEST_NAME}")
    control = next(filter(is_control, name), None)
    if control is not None:
        raise UsageError(f"{where}: genre {name!r} has the control character {control!r}; remove it")


def names_in(row: Cells, where: str) -> tuple[str, ...]:
    """Return the genres in a row of a plain csv, such as `Rock|Indie`."""
    names = tuple(name for part in row["genre"].split(SEPARATOR) if (name := part.strip()))
    for name in names:
        check_genre(name, where)
    return names


def top_in(row: Cells, where: str) -> tuple[str, ...]:
    """Return the genre_top of a row of FMA's tracks.csv, where nothing else is known."""
    if row["genre"]:
        check_genre(row["genre"], where)
    return (row["genre"],) if row["genre"] else ()


def read_parents(file: BinaryIO, name: str) -> Taxonomy:
    """Read the tree of one's own genres: a csv with the columns genre and parent, which is empty at the top of a tree.

    `name` is what to call the file in messages.

    Raises:
      UsageError: it is no such table, a genre is named twice, or is its own ancestor.
    """
    parents: dict[str, str] = {}
    for where, row in _rows(file, name, ("genre", "parent"), "a csv with the columns genre,parent"):
        for genre in filter(None, row.values()):
            check_genre(genre, where)
        if not row["genre"] or row["genre"] in parents:
            raise UsageError(f"{where}: genre {brief(row['genre'])} {'has two rows' if row['genre'] else 'is empty'}")
        parents[row["genre"]] = row["parent"]
    return _taxonomy(parents, name)


def read_fma_genres(file: BinaryIO, name: str) -> tuple[Taxonomy, GenresOf]:
    """Read FMA's genres.csv; return the tree of its titles, and what finds the titles in a row of tracks.csv.

    `name` is what to call the file in messages.

    Raises:
      UsageError: it is no such table, an id or a title is in it twice, or a genre is its own ancestor.
    """
    titles: dict[int, str] = {}
    parent_ids: dict[int, tuple[int, str]] = {}
    for where, row in _rows(file, name, ("genre_id", "parent", "title"), "FMA's genres.csv"):
        ids = row["genre_id"], row["parent"]
        if not all(re.fullmatch(r"\d{1,9}", text) for text in ids):
            raise UsageError(f"{where}: genre_id {brief(ids[0])} or parent {brief(ids[1])} is not a whole number")
        check_genre(row["title"], where)
        own, parent = map(int, ids)
        if not row["title"] or own in titles or row["title"] in titles.values():
            raise UsageError(f"{where}: genre {own} {brief(row['title'])} has no title, or its id or title came before")
        titles[own], parent_ids[own] = row["title"], (parent, where)
    parents = {}
    for own, (parent, where) in parent_ids.items():
        if parent and parent not in titles:
            raise UsageError(f"{where}: its parent {parent} is not in the table")
        parents[titles[own]] = titles[parent] if parent else ""

    def titles_in(row: Cells, where: str) -> tuple[str, ...]:
        found = dict.fromkeys(top_in(row, where))
        for column in ("genres", "genres_all"):
            cell = row.get(column, "")
            if not IDS.fullmatch(cell):
                raise UsageError(f"{where}: track/{column} {brief(cell)} is not a list of ids, such as [21, 10]")
            for genre in map(int, re.findall(r"\d+", cell)):
                if genre not in titles:
                    raise UsageError(f"{where}: track/{column} {brief(cell)}: genre {genre} is not in {name}")
                found[titles[genre]] = None
        return tuple(found)

    return _taxonomy(parents, name), titles_in


def _taxonomy(parents: dict[str, str], name: str) -> Taxonomy:
    try:
        return Taxonomy(parents)
    except ValueError as error:
        raise UsageError(f"{name}: genre {str(error)!r} is its own ancestor") from None


def _rows(file: BinaryIO, name: str, columns: tuple[str, ...], wanted: str) -> Iterator[tuple[str, Cells]]:
    reader = csv.reader(io.TextIOWrapper(file, encoding="utf-8-sig", newline=""), strict=True)
    try:
        header = [cell.strip() for cell in next(reader, [])]
        missing = [column for column in columns if column not in header]
        if missing:
            raise UsageError(f"{name}: columns missing: {', '.join(missing)}; give {wanted}")
        for cells in reader:
            where = f"{name} line {reader.line_num}"
            if any(cells) and len(cells) != len(header):
                raise UsageError(f"{where}: {len(cells)} cells where the header has {len(header)}")
            if any(cells):
                yield where, {column: cells[header.index(column)].strip() for column in columns}
    except UnicodeDecodeError as error:
        raise UsageError(f"{name}: not UTF-8 text ({error.reason}); save the csv as UTF-8") from None
    except csv.Error as error:
        raise UsageError(f"{name} line {reader.line_num}: not a well-formed csv ({error})") from None
