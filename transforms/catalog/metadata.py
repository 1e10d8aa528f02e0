"""Metadata, FMA's or a plain csv: the tracks that a run ingests, and those that it skips."""

import csv
import hashlib
import io
import math
import re
import zipfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, BinaryIO

from transforms import storage
from transforms.catalog.lines import LONGEST_LINE, limit_lines
from transforms.catalog.zips import LARGEST_MEMBER, DamagedZipError, find_member, open_member, translate_zip_errors
from transforms.errors import UsageError
from transforms.runtime.text import is_control
from transforms.tracks import SPLITS, Track, artist_key

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

LONGEST_NAME = 200  # characters of a genre
LONGEST_PATH = 4096  # characters, as Linux has it
LONGEST_SONG = 7 * 86_400.0  # seconds

Row = tuple[str, dict[str, str]]

SUBSETS = ("small", "medium", "large", "full")
SPLIT_BY = ("official", "artist")
CLIP_SECONDS = 30.0  # FMA's archives small, medium and large hold clips of this length, fma_full whole songs
SPLIT_NAMES = {name: name for name in SPLITS} | {
    "train": "training",
    "val": "validation",
    "valid": "validation",
    "dev": "validation",
}


def read_rows(file: BinaryIO, name: str, need_split: bool) -> tuple[str, Iterator[Row]]:
    """Read the header at once and the rows lazily.

    Args:
      file: the csv's bytes, UTF-8 with or without a byte order mark.
      name: what to call the file in messages.
      need_split: whether the table has to say which split each track belongs to.

    Returns:
      The form ("fma": three header rows, "csv": one) and the rows: where each begins ("tracks.csv line 4") and its
      cells by name, stripped. Names are those of a plain csv: FMA's `track/genre_top` is "genre" here.

    Raises:
      UsageError: no header or columns missing; while reading also a row with more or fewer cells than the header, an
        unclosed quote, or text that is not UTF-8.
    """
    csv.field_size_limit(LONGEST_LINE)  # of a cell, which may have several lines: an unclosed quote meets it
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


@dataclass(frozen=True)
class Catalog:
    """The tracks of a run according to the metadata."""

    tracks: list[Track]  # the tracks to ingest, by id; their audio is not located yet
    # rows left out, counted by reason ("not_in_subset", "no_genre"); a row counts once, under the first
    skipped: dict[str, int]
    subset: str  # FMA's subset, or "" for a plain csv
    form: str  # "fma" or "csv"
    known: frozenset[int] = frozenset()  # ids of all rows, also of those left out


def read_catalog(metadata: str, subset: str | None, split_by: str = "official") -> Catalog:
    """Read the metadata of a run.

    Args:
      metadata: FMA's fma_metadata.zip, the folder unpacked from it, its tracks.csv, or a plain csv with the columns
        track_id,path,genre and, if wanted, artist, split, album, album_id, title, license and duration (seconds).
      subset: one of `SUBSETS`, for FMA's metadata; a plain csv is always taken whole.
      split_by: "official" for the split that the metadata gives, "artist" for `artist_split`.

    Raises:
      UsageError: the metadata cannot be read or has another form, or an argument is wrong.
    """
    if split_by not in SPLIT_BY:
        raise UsageError(f"--split {split_by}: choose one of {', '.join(SPLIT_BY)}")
    with _read_errors(metadata), translate_zip_errors(), _open_table(metadata) as (file, name):
        form, rows = read_rows(file, name, need_split=split_by == "official")
        if form == "csv":
            subset = None
        elif subset not in SUBSETS:
            given = f"there is no --subset {subset}" if subset else "FMA's metadata needs a --subset"
            raise UsageError(f"{metadata}: {given}; choose one of {', '.join(SUBSETS)}")
        tracks, skipped, known = _collect(rows, subset, split_by)
    return Catalog(tracks, skipped, subset or "", form, known)


def artist_split(artist: str, track_id: int) -> str:
    """Return a split that keeps an artist's tracks together: 80% of artists train, 10% validate, 10% test.

    It is a hash of the name, ignoring case and spacing, or of the track's id where no artist is known. It depends on
    nothing else, so a track stays in its split when the corpus grows.
    """
    key = artist_key(artist)
    digest = hashlib.sha256((f"artist:{key}" if key else f"track:{track_id}").encode()).digest()
    tenth = int.from_bytes(digest[:8], "big") * 10 >> 64
    return "test" if tenth == 9 else "validation" if tenth == 8 else "training"


def check_genre(name: str, where: str) -> None:
    """Refuse a name that no table, page or list of labels can show; `where` is its row in messages.

    Raises:
      UsageError: it is longer than `LONGEST_NAME` or has control characters.
    """
    if len(name) > LONGEST_NAME:
        raise UsageError(f"{where}: genre {_brief(name)} has {len(name):,} characters; shorten it to {LONGEST_NAME}")
    control = next(filter(is_control, name), None)
    if control is not None:
        raise UsageError(f"{where}: genre {name!r} has the control character {control!r}; remove it")


def _collect(
    rows: Iterator[Row], subset: str | None, split_by: str
) -> tuple[list[Track], dict[str, int], frozenset[int]]:
    tracks: list[Track] = []
    skipped: Counter[str] = Counter()
    seen: set[int] = set()
    for where, row in rows:
        if not re.fullmatch("[0-9]{1,18}", row["track_id"]):  # 18 digits fit the int64 of a record
            raise UsageError(f"{where}: track_id {_brief(row['track_id'])} is not a whole number")
        track_id = int(row["track_id"])
        if track_id in seen:
            raise UsageError(f"{where}: track_id {track_id} is in the file twice")
        seen.add(track_id)
        if subset and not _in_subset(row["subset"], subset, where):
            skipped["not_in_subset"] += 1
        elif not row["genre"]:
            skipped["no_genre"] += 1
        else:
            tracks.append(_track(track_id, row, subset, split_by, where))
    return sorted(tracks, key=lambda track: track.track_id), dict(skipped), frozenset(seen)


def _track(track_id: int, row: dict[str, str], subset: str | None, split_by: str, where: str) -> Track:
    check_genre(row["genre"], where)
    artist = row.get("artist", "")
    split = artist_split(artist, track_id) if split_by == "artist" else SPLIT_NAMES.get(row["split"].lower())
    if split is None:
        raise UsageError(f"{where}: split {_brief(row['split'])} is none of {', '.join(SPLIT_NAMES)}")
    path = "" if subset else row["path"]
    if not subset and (not path or "\0" in path or len(path) > LONGEST_PATH):
        raise UsageError(f"{where}: path {_brief(path)} is not a file's path")
    return Track(
        track_id=track_id,
        genre=row["genre"],
        split=split,
        path=path,
        artist=artist,
        album=row.get("album", ""),
        album_id=row.get("album_id", ""),
        title=row.get("title", ""),
        license=row.get("license", ""),
        subset=row["subset"] if subset else "",
        duration=_duration(row.get("duration", ""), clips=subset not in (None, "full"), where=where),
    )


def _in_subset(cell: str, subset: str, where: str) -> bool:
    if cell and cell not in SUBSETS:
        raise UsageError(f"{where}: set/subset {_brief(cell)} is none of {', '.join(SUBSETS)}")
    return SUBSETS.index(cell or "full") <= SUBSETS.index(subset)


def _duration(cell: str, clips: bool, where: str) -> float | None:
    """Return the seconds of audio that the file should hold; None where the metadata has no positive number."""
    try:
        seconds = float(cell or "nan")
    except ValueError:
        raise UsageError(f"{where}: duration {_brief(cell)} is not a number of seconds") from None
    if not (math.isfinite(seconds) and seconds > 0):
        return None
    if seconds > LONGEST_SONG:
        raise UsageError(f"{where}: duration {_brief(cell)} is more than a week; it is given in seconds")
    return min(seconds, CLIP_SECONDS) if clips else seconds


def _brief(cell: str) -> str:
    return repr(cell) if len(cell) <= LONGEST_NAME else f"{cell[:40]!r}..."


@contextmanager
def _open_table(metadata: str) -> Iterator[tuple[BinaryIO, str]]:
    """Open the csv; yield its bytes and what to call it in messages."""
    if storage.is_dir(metadata):
        places = [storage.join(metadata, "tracks.csv"), storage.join(metadata, "fma_metadata", "tracks.csv")]
        found = next((place for place in places if storage.exists(place)), None)
        if found is None:
            raise UsageError(f"{metadata}: the folder holds no tracks.csv (a csv of your own is named as a file)")
        metadata = found
    with storage.open_read(metadata) as file:
        if not (metadata.endswith(".zip") or zipfile.is_zipfile(file)):
            file.seek(0)
            yield limit_lines(file, metadata), metadata
            return
        with zipfile.ZipFile(file) as archive:
            info = _table_member(archive, metadata)
            name = f"{metadata}!{info.filename}"
            with open_member(archive, info) as member:
                yield limit_lines(member, name), name


def _table_member(archive: zipfile.ZipFile, metadata: str) -> zipfile.ZipInfo:
    names = [name for name in archive.namelist() if name.rpartition("/")[2] == "tracks.csv"]
    if not names:
        raise UsageError(f"{metadata}: no tracks.csv inside; give FMA's fma_metadata.zip")
    name = min(names, key=lambda name: (name.count("/"), name))
    info = find_member(archive, name)
    if info.flag_bits & 1:
        raise UsageError(f"{metadata}: {name} is encrypted; give FMA's fma_metadata.zip as published")
    if info.file_size > LARGEST_MEMBER:
        raise UsageError(f"{metadata}: {name} unpacks to {info.file_size:,} bytes; FMA's has 0.3 GB")
    return info


@contextmanager
def _read_errors(metadata: str) -> Iterator[None]:
    """Turn what may be wrong with a file that a user named into one line."""
    try:
        yield
    except (FileNotFoundError, NotADirectoryError):
        raise UsageError(f"{metadata}: no such file or folder") from None
    except PermissionError:
        raise UsageError(f"{metadata}: no permission to read it") from None
    except DamagedZipError as error:
        raise UsageError(f"{metadata}: the zip cannot be read ({error}); download it again") from None
    except OSError as error:
        if error.errno is None:
            raise
        raise UsageError(f"{metadata}: {(error.strerror or str(error)).lower()}") from None
