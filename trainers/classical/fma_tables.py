"""FMA's own tables, features.csv and echonest.csv, read in place: from fma_metadata.zip, a folder or a single file."""

import bz2
import csv
import gzip
import hashlib
import io
import lzma
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from trainers.classical.table import ALL, Table, check_finite
from trainers.data.targets import Targets, choose_genres, parents_of
from transforms import storage
from transforms.catalog.genre_tables import check_genre
from transforms.catalog.lines import limit_lines
from transforms.catalog.metadata import Catalog, GenreOptions, read_catalog
from transforms.catalog.zips import open_member
from transforms.errors import UsageError
from transforms.runtime import console
from transforms.tracks import Track

if TYPE_CHECKING:
    import pandas as pd

DECOMPRESSORS: dict[str, Any] = {".xz": lzma.open, ".gz": gzip.open, ".bz2": bz2.open}
DAMAGE = (zipfile.BadZipFile, lzma.LZMAError, gzip.BadGzipFile, zlib.error, EOFError)

METADATA_FILES = ("tracks.csv", "fma_tracks_genres.csv", "fma_tracks_genres.csv.xz")
"""Searched for, in this order, in the folder of the features when no metadata is given."""

NUMERIC_GROUPS = ("audio_features", "social_features", "temporal_features")
"""Of echonest.csv; the other two, metadata and ranks, are text and mostly empty."""

FLAT_COLUMNS = {
    "audio_features": (
        "acousticness danceability energy instrumentalness liveness speechiness tempo valence"  # in FMA's order
    ),
    "social_features": "artist_discovery artist_familiarity artist_hotttnesss song_currency song_hotttnesss",
    "metadata": "artist_name",
}
ARTIST = "metadata/artist_name"
ROWS_AT_ONCE = 4_000


@dataclass(frozen=True)
class Layout:
    """The columns of a table, as its header names them."""

    width: int  # cells in a row, the track id among them
    columns: dict[str, int]  # {name: position} of the numeric columns
    artist: int | None  # position of the artist's name, or None
    default_group: str  # see `Table`


def read_fma_table(
    features: str, metadata: str | None = None, subset: str | None = None, min_tracks: int | None = None
) -> Table:
    """Read a table of features and join it with the tracks' genres.

    Args:
      features: features.csv or echonest.csv (also .xz, .gz, .bz2), fma_metadata.zip (its features.csv), or
        fma_metadata.zip!echonest.csv.
      metadata: fma_metadata.zip, the folder unpacked from it, its tracks.csv, or a csv (also .xz, .gz, .bz2) with the
        columns track_id and genre_top; None: search the zip or the folder of the features.
      subset: of FMA's tracks.csv, small to full; the plain csv has none.
      min_tracks: read all genres of each track, of which those with so many training tracks are kept; None: its
        genre_top.

    Returns:
      the tracks that have a genre and are in the subset; `splits` is "" everywhere with a plain csv.

    Raises:
      UsageError: a file is missing or has another form, a value is not a number, or no track is left.
    """
    catalog = _read_metadata(metadata or _find_metadata(features), subset, top_only=min_tracks is None)
    tracks = {track.track_id: track for track in catalog.tracks}
    with _open_table(features, "features.csv") as (file, name):
        layout = _read_layout(file, name)
        track_ids, values, artists, seen = _read_rows(file, name, layout, tracks)
    console.log(f"{name}: {len(track_ids):,} of {seen:,} tracks have a genre{' in the subset' if subset else ''}")
    if not len(track_ids):
        raise UsageError(f"{name}: none of its tracks has a genre in the metadata")
    order = np.argsort(track_ids)
    if (np.diff(track_ids[order]) == 0).any():
        raise UsageError(f"{name}: a track_id is in the file twice")
    found = [tracks[track_id] for track_id in track_ids.tolist()]
    parents = None
    if min_tracks is None:
        genres = sorted({track.genre for track in found})
        labels = np.array([genres.index(track.genre) for track in found])
    else:
        genres = choose_genres(found, sorted({name for track in found for name in track.genres}), min_tracks)
        targets, parents = Targets.of(found, genres), parents_of(genres, catalog.taxonomy.parents)
        labels = targets.truth[targets.rows(track_ids)]
    table = Table(
        name=name,
        digest="",
        track_ids=track_ids,
        values=values,
        columns=tuple(layout.columns),
        labels=labels,
        genres=genres,
        splits=np.array([track.split for track in found]),
        artists=np.array([track.artist or artist for track, artist in zip(found, artists, strict=True)]),
        default_group=layout.default_group,
        parents=parents,
    ).take(order)
    check_finite(table)
    return replace(table, digest=_digest(table))


def _digest(table: Table) -> str:
    """Return a hash of everything that influences a result."""
    hashed = hashlib.sha256(repr((table.columns, table.parents or table.genres)).encode())
    for array in (table.track_ids, table.labels, table.values):
        hashed.update(np.ascontiguousarray(array).data)
    for texts in (table.splits, table.artists):
        hashed.update("\0".join(texts.tolist()).encode())
    return hashed.hexdigest()


def _split_address(path: str) -> tuple[str, str]:
    """Return (file, member) of "fma_metadata.zip!echonest.csv"; the member is "" where none is given."""
    head, separator, member = path.rpartition("!")
    return (head, member) if separator and head.endswith(".zip") else (path, "")


@contextmanager
def _open_table(path: str, member: str) -> Iterator[tuple[BinaryIO, str]]:
    """Open a csv file and name it for messages; a zip gives its `member`, in any folder, unless path is zip!member.

    Raises:
      UsageError: there is no such file or member, or it is damaged.
    """
    path, given = _split_address(path)
    try:
        with storage.open_read(path) as file:
            if path.endswith(".zip"):
                with zipfile.ZipFile(file) as archive:
                    name = _find_member(archive, path, given or member)
                    with open_member(archive, archive.getinfo(name)) as inside:
                        yield limit_lines(inside, f"{path}!{name}"), f"{path}!{name}"
                return
            ending = next((ending for ending in DECOMPRESSORS if path.endswith(ending)), None)
            yield limit_lines(DECOMPRESSORS[ending](file) if ending else file, path), path
    except (FileNotFoundError, NotADirectoryError):
        raise UsageError(f"{path}: no such file (name the csv, or the zip that holds it)") from None
    except storage.NotAFileError as error:
        raise UsageError(f"{path}: {error.strerror} (name the csv, or the zip that holds it)") from None
    except DAMAGE as error:
        raise UsageError(f"{path} is damaged ({error}); download it again") from error


def _find_member(archive: zipfile.ZipFile, path: str, member: str) -> str:
    names = [name for name in archive.namelist() if name == member or name.endswith("/" + member)]
    if not names:
        raise UsageError(f"{path} holds no {member}")
    return min(names, key=len)


def _find_metadata(features: str) -> str:
    path, _ = _split_address(features)
    if path.endswith(".zip"):
        return path
    places = [storage.join(storage.parent(path), name) for name in METADATA_FILES]
    found = next((place for place in places if storage.exists(place)), None)
    if found is None:
        raise UsageError(f"{path}: there is no {METADATA_FILES[0]} (the genres) beside it; give one with --metadata")
    return found


def _read_metadata(path: str, subset: str | None, *, top_only: bool) -> Catalog:
    """Return the tracks that have a genre; see `read_fma_table`."""
    flat = None if path.endswith(".zip") or storage.is_dir(path) else _read_flat_metadata(path)
    if flat is None:
        return read_catalog(path, subset, genres=GenreOptions(top_only=top_only))
    if subset:
        raise UsageError(f"--subset {subset}: {path} does not say which track is in which of FMA's subsets")
    if not top_only:
        raise UsageError(f"--labels all: {path} has no splits and no tree; give FMA's fma_metadata.zip with --metadata")
    return Catalog(flat, {}, "", "csv", by_artist=False)


def _read_flat_metadata(path: str) -> list[Track] | None:
    """Read a csv with track_id and genre_top; None where the file has another form."""
    with _open_table(path, "tracks.csv") as (file, name):
        rows = csv.DictReader(io.TextIOWrapper(file, encoding="utf-8-sig", newline=""))
        try:
            if not {"track_id", "genre_top"} <= set(rows.fieldnames or ()):
                return None
            tracks = {}
            for row in rows:
                if genre := row["genre_top"]:
                    check_genre(genre, f"{name} line {rows.line_num}")
                    tracks[int(row["track_id"])] = Track(int(row["track_id"]), genre, "")
            return list(tracks.values())
        except (ValueError, csv.Error) as error:
            raise UsageError(f"{name}: {error}") from error


def _read_layout(file: BinaryIO, name: str) -> Layout:
    """Read the header rows, so that the file is at its first row of values."""
    first = _read_cells(file, name)
    if first[0] == "track_id":
        groups = {column: group for group, columns in FLAT_COLUMNS.items() for column in columns.split()}
        return _echonest_layout([f"{groups.get(column, 'other')}/{column}" for column in first], name)
    if first[0] == "feature":
        rows = (first, _read_cells(file, name), _read_cells(file, name))
        names = ["/".join(cells) for cells in zip(*rows, strict=True)]
        layout = Layout(len(first), {names[i]: i for i in range(1, len(names))}, None, ALL)
    elif "echonest" in first:
        rows_of_names = (_read_cells(file, name), _read_cells(file, name))
        layout = _echonest_layout(["/".join(cells) for cells in zip(*rows_of_names, strict=True)], name)
    else:
        raise UsageError(f"{name}: this is neither FMA's features.csv nor its echonest.csv (it begins {first[0]!r})")
    index = _read_cells(file, name)
    if index[0] != "track_id" or len(index) != layout.width:
        raise UsageError(f"{name}: FMA's table has three header rows and then one that begins with track_id")
    return layout


def _echonest_layout(names: list[str], name: str) -> Layout:
    columns = {column: i for i, column in enumerate(names) if column.partition("/")[0] in NUMERIC_GROUPS}
    if not any(column.startswith("audio_features/") for column in columns):
        raise UsageError(f"{name}: none of Echonest's audio features (acousticness, ..., valence) is among its columns")
    return Layout(len(names), columns, names.index(ARTIST) if ARTIST in names else None, "audio_features")


def _read_cells(file: BinaryIO, name: str) -> list[str]:
    try:
        line = file.readline().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UsageError(f"{name}: not UTF-8 text ({error.reason})") from None
    if not line:
        raise UsageError(f"{name}: the file ends before its values begin")
    return [cell.strip() for cell in next(csv.reader([line]))]


def _read_rows(
    file: BinaryIO, name: str, layout: Layout, tracks: dict[int, Track]
) -> tuple[np.ndarray, np.ndarray, list[str], int]:
    """Return ids int64 [n], values float32 [n, columns] and artists of the known tracks, and the number of all rows."""
    ids: list[np.ndarray] = [np.empty(0, np.int64)]
    values: list[np.ndarray] = [np.empty((0, len(layout.columns)), np.float32)]
    artists: list[str] = []
    seen = 0
    with console.progress(f"read {name}", None, "tracks") as progress:
        for chunk in _read_chunks(file, name, layout):
            seen += len(chunk)
            progress.advance(len(chunk))
            kept = chunk[chunk[0].isin(tracks)]
            ids.append(kept[0].to_numpy(np.int64))
            values.append(kept[list(layout.columns.values())].to_numpy(np.float32))
            artists += [""] * len(kept) if layout.artist is None else kept[layout.artist].fillna("").tolist()
    return np.concatenate(ids), np.concatenate(values), artists, seen


def _read_chunks(file: BinaryIO, name: str, layout: Layout) -> "Iterator[pd.DataFrame]":
    import pandas as pd

    types: dict[int, type] = {0: np.int64} | dict.fromkeys(layout.columns.values(), np.float32)
    if layout.artist is not None:
        types[layout.artist] = str
    try:
        yield from pd.read_csv(
            io.TextIOWrapper(file, encoding="utf-8", newline=""),
            header=None,
            names=list(range(layout.width)),
            # Only without usecols does pandas refuse a row that is longer than the header.
            usecols=None if len(types) == layout.width else sorted(types),
            dtype=types,
            chunksize=ROWS_AT_ONCE,
        )
    except (ValueError, OverflowError) as error:  # pandas' parser errors are ValueErrors
        raise UsageError(f"{name}: {error}; is this FMA's file as published?") from error
