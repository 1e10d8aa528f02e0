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
from typing import TYPE_CHECKING, Any, BinaryIO, cast

import numpy as np

from trainers.classical.table import Table, check_finite
from transforms import storage
from transforms.catalog.metadata import read_catalog
from transforms.errors import UsageError
from transforms.runtime import console

if TYPE_CHECKING:
    import pandas as pd


DECOMPRESSORS: dict[str, Any] = {".xz": lzma.open, ".gz": gzip.open, ".bz2": bz2.open}
_DAMAGE = (zipfile.BadZipFile, lzma.LZMAError, gzip.BadGzipFile, zlib.error, EOFError)


def split_address(path: str) -> tuple[str, str]:
    """(file, member) of "fma_metadata.zip!echonest.csv"; the member is "" where none is named."""
    head, separator, member = path.rpartition("!")
    return (head, member) if separator and head.endswith(".zip") else (path, "")


@contextmanager
def open_table(path: str, member: str) -> Iterator[tuple[BinaryIO, str]]:
    """The csv's bytes, and what to call it in messages.

    Args:
      path: a file, a zip, or zip!member.
      member: the one to take from a zip where the path names none; with or without its folder.

    Raises:
      UsageError: there is no such file or member, or it is damaged.
    """
    path, named = split_address(path)
    try:
        with storage.open_read(path) as file:
            if path.endswith(".zip"):
                with zipfile.ZipFile(file) as archive:
                    name = _find(archive, path, named or member)
                    with archive.open(name) as inside:
                        yield io.BufferedReader(cast(Any, inside), 1 << 20), f"{path}!{name}"
                return
            ending = next((ending for ending in DECOMPRESSORS if path.endswith(ending)), None)
            yield (DECOMPRESSORS[ending](file) if ending else file), path
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        raise UsageError(f"{path}: no such file (name the csv, or the zip that holds it)") from None
    except _DAMAGE as error:
        raise UsageError(f"{path} is damaged ({error}); download it again") from error


def _find(archive: zipfile.ZipFile, path: str, member: str) -> str:
    names = [name for name in archive.namelist() if name == member or name.endswith("/" + member)]
    if not names:
        raise UsageError(f"{path} holds no {member}")
    return min(names, key=len)


BESIDE = ("tracks.csv", "fma_tracks_genres.csv", "fma_tracks_genres.csv.xz")
"""Where the metadata is not named: the first of these that lies in the folder of the features."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of a track; split and artist may be ""."""

    genre: str
    split: str
    artist: str


def read_facts(features: str, metadata: str | None, subset: str | None) -> dict[int, Facts]:
    """The tracks that have a genre, by id.

    Args:
      features: address of the features, to look beside.
      metadata: fma_metadata.zip, the folder unpacked from it, its tracks.csv, or a csv (also .xz, .gz, .bz2) with the
        columns track_id and genre_top, which has no split; None: look beside the features.
      subset: of FMA's tracks.csv; the other form has none.

    Raises:
      UsageError: there is no metadata, or it has another form.
    """
    metadata = metadata or _beside(features)
    flat = None if metadata.endswith(".zip") or storage.is_dir(metadata) else _read_flat(metadata)
    if flat is None:
        catalog = read_catalog(metadata, subset)
        return {track.track_id: Facts(track.genre, track.split, track.artist) for track in catalog.tracks}
    if subset:
        raise UsageError(f"--subset {subset}: {metadata} does not say which track is in which of FMA's subsets")
    return flat


def _beside(features: str) -> str:
    path, _ = split_address(features)
    if path.endswith(".zip"):
        return path
    places = [storage.join(storage.parent(path), name) for name in BESIDE]
    found = next((place for place in places if storage.exists(place)), None)
    if found is None:
        raise UsageError(f"{path}: no {BESIDE[0]} lies beside it, which has the genres; name one with --metadata")
    return found


def _read_flat(metadata: str) -> dict[int, Facts] | None:
    """None where the file has not that form; tracks without a genre are left out."""
    with open_table(metadata, "tracks.csv") as (file, name):
        rows = csv.DictReader(io.TextIOWrapper(file, encoding="utf-8-sig", newline=""))
        try:
            if not {"track_id", "genre_top"} <= set(rows.fieldnames or ()):
                return None
            return {int(row["track_id"]): Facts(row["genre_top"], "", "") for row in rows if row["genre_top"]}
        except (ValueError, csv.Error) as error:
            raise UsageError(f"{name}: {error}") from error


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
    """What a table's header says.

    Attributes:
      width: cells in a row, the track id among them.
      columns: {name: position} of the numeric columns.
      artist: position of the artist's name, or None.
      default_group: see `Table`.
    """

    width: int
    columns: dict[str, int]
    artist: int | None
    default_group: str


def read_fma_table(features: str, metadata: str | None = None, subset: str | None = None) -> Table:
    """Joins a table of features with the tracks' genres.

    Args:
      features: features.csv or echonest.csv (also .xz, .gz, .bz2), fma_metadata.zip (its features.csv), or
        fma_metadata.zip!echonest.csv.
      metadata: see `fma_genres.read_facts`; None: what lies in the same zip or folder.
      subset: FMA's, small to full, where the metadata is FMA's tracks.csv.

    Returns:
      the table of the tracks that have a genre and are in the subset; `splits` is "" where the metadata has no split.

    Raises:
      UsageError: a file is missing or has another form, a value is not a number, or no track is left.
    """
    facts = read_facts(features, metadata, subset)
    with open_table(features, "features.csv") as (file, name):
        layout = read_layout(file, name)
        track_ids, values, artists, seen = _read_rows(file, name, layout, facts)
    console.log(f"{name}: {len(track_ids):,} of {seen:,} tracks have a genre{' in the subset' if subset else ''}")
    if not len(track_ids):
        raise UsageError(f"{name}: none of its tracks has a genre in the metadata")
    order = np.argsort(track_ids)
    if (np.diff(track_ids[order]) == 0).any():
        raise UsageError(f"{name}: a track_id is in the file twice")
    found = [facts[track_id] for track_id in track_ids.tolist()]
    genres = sorted({fact.genre for fact in found})
    table = Table(
        name=name,
        digest="",
        track_ids=track_ids,
        values=values,
        columns=tuple(layout.columns),
        labels=np.array([genres.index(fact.genre) for fact in found]),
        genres=genres,
        splits=np.array([fact.split for fact in found]),
        artists=np.array([fact.artist or artist for fact, artist in zip(found, artists, strict=True)]),
        default_group=layout.default_group,
    ).take(order)
    check_finite(table)
    return with_digest(table)


def with_digest(table: Table) -> Table:
    """The table with a digest of all that has a say in the result."""
    hashed = hashlib.sha256(repr((table.columns, table.genres)).encode())
    for array in (table.track_ids, table.labels, table.values):
        hashed.update(np.ascontiguousarray(array).data)
    for texts in (table.splits, table.artists):
        hashed.update("\0".join(texts.tolist()).encode())
    return replace(table, digest=hashed.hexdigest())


def read_layout(file: BinaryIO, name: str) -> Layout:
    """Reads the header rows; the file then stands at its first row of values."""
    first = _cells(file, name)
    if first[0] == "track_id":
        return _flat_layout(first, name)
    if first[0] == "feature":
        names = ["/".join(cells) for cells in zip(first, _cells(file, name), _cells(file, name), strict=True)]
        layout = Layout(len(first), {names[i]: i for i in range(1, len(names))}, None, "all")
    elif "echonest" in first:
        names = ["/".join(cells) for cells in zip(_cells(file, name), _cells(file, name), strict=True)]
        layout = _echonest_layout(names, name)
    else:
        raise UsageError(f"{name}: this is neither FMA's features.csv nor its echonest.csv (it begins {first[0]!r})")
    index = _cells(file, name)
    if index[0] != "track_id" or len(index) != layout.width:
        raise UsageError(f"{name}: FMA's table has three header rows and then one that begins with track_id")
    return layout


def _flat_layout(names: list[str], name: str) -> Layout:
    groups = {column: group for group, columns in FLAT_COLUMNS.items() for column in columns.split()}
    return _echonest_layout([f"{groups.get(column, 'other')}/{column}" for column in names], name)


def _echonest_layout(names: list[str], name: str) -> Layout:
    columns = {column: i for i, column in enumerate(names) if column.partition("/")[0] in NUMERIC_GROUPS}
    if not any(column.startswith("audio_features/") for column in columns):
        raise UsageError(f"{name}: none of Echonest's audio features (acousticness, ..., valence) is among its columns")
    return Layout(len(names), columns, names.index(ARTIST) if ARTIST in names else None, "audio_features")


def _cells(file: BinaryIO, name: str) -> list[str]:
    try:
        line = file.readline().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UsageError(f"{name}: not UTF-8 text ({error.reason})") from None
    if not line:
        raise UsageError(f"{name}: the file ends before its values begin")
    return [cell.strip() for cell in next(csv.reader([line]))]


def _read_rows(
    file: BinaryIO, name: str, layout: Layout, facts: dict[int, Facts]
) -> tuple[np.ndarray, np.ndarray, list[str], int]:
    """Track ids int64 [n], values float32 [n, columns] and artists of the rows with a genre; and the rows there are."""
    ids: list[np.ndarray] = [np.empty(0, np.int64)]
    values: list[np.ndarray] = [np.empty((0, len(layout.columns)), np.float32)]
    artists: list[str] = []
    seen = 0
    with console.progress(f"read {name}", None, "tracks") as progress:
        for chunk in _chunks(file, name, layout):
            seen += len(chunk)
            progress.advance(len(chunk))
            kept = chunk[chunk[0].isin(facts)]
            ids.append(kept[0].to_numpy(np.int64))
            values.append(kept[list(layout.columns.values())].to_numpy(np.float32))
            artists += [""] * len(kept) if layout.artist is None else kept[layout.artist].fillna("").tolist()
    return np.concatenate(ids), np.concatenate(values), artists, seen


def _chunks(file: BinaryIO, name: str, layout: Layout) -> "Iterator[pd.DataFrame]":
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
