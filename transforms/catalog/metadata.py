"""Metadata, FMA's or a plain csv: the tracks that a run ingests, and those that it skips."""

import hashlib
import math
import zipfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BufferedReader

from transforms import storage
from transforms.catalog.lines import limit_lines
from transforms.catalog.tables import LATIN_1, NotUtf8Error, Row, is_damaged_utf8, read_rows
from transforms.catalog.zips import LARGEST_MEMBER, DamagedZipError, find_member, open_member, translate_zip_errors
from transforms.errors import UsageError
from transforms.runtime import console
from transforms.runtime.text import is_control
from transforms.tracks import SPLITS, Track, artist_key, is_number, number_of

LONGEST_NAME = 200  # characters of a genre
LONGEST_PATH = 4096  # characters, as Linux has it
LONGEST_SONG = 7 * 86_400.0  # seconds

SUBSETS = ("small", "medium", "large", "full")
SPLIT_BY = ("official", "artist")
CLIP_SECONDS = 30.0  # FMA's archives small, medium and large hold clips of this length, fma_full whole songs
SPLIT_NAMES = {name: name for name in SPLITS} | {
    "train": "training",
    "val": "validation",
    "valid": "validation",
    "dev": "validation",
}


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
        path,genre and, if wanted, track_id, artist, split, album, album_id, title, license and duration (seconds).
      subset: one of `SUBSETS`, for FMA's metadata; a plain csv is always taken whole.
      split_by: "official" for the split that the metadata gives, "artist" for `artist_split`.

    Raises:
      UsageError: the metadata cannot be read or has another form, or an argument is wrong.
    """
    if split_by not in SPLIT_BY:
        raise UsageError(f"--split {split_by}: choose one of {', '.join(SPLIT_BY)}")
    with _read_errors(metadata), translate_zip_errors():
        try:
            return _read_table(metadata, subset, split_by)
        except NotUtf8Error:
            with _open_table(metadata) as (file, name):
                if is_damaged_utf8(file):
                    raise
            console.log(f"{name}: not UTF-8 text, so it is read as Latin-1 (Windows-1252)")
            return _read_table(metadata, subset, split_by, LATIN_1)


def _read_table(metadata: str, subset: str | None, split_by: str, encoding: str = "") -> Catalog:
    with _open_table(metadata) as (file, name):
        form, rows = read_rows(file, name, split_by == "official", encoding)
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
        text = row["track_id"]
        if subset and not is_number(text):
            raise UsageError(f"{where}: track_id {_brief(text)} is not a whole number")
        if not text or len(text) > LONGEST_PATH:
            raise UsageError(f"{where}: track_id {_brief(text)} is no name for a track")
        track_id = number_of(text)
        if track_id in seen:
            raise UsageError(f"{where}: track_id {_brief(text)} is in the file twice")
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
        id_text="" if is_number(row["track_id"]) else row["track_id"],
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
def _open_table(metadata: str) -> Iterator[tuple[BufferedReader, str]]:
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
