"""Metadata, FMA's or a plain csv: the tracks that a run ingests, and those that it skips."""

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from transforms import storage
from transforms.catalog.genre_tables import (
    GenresOf,
    brief,
    names_in,
    read_fma_genres,
    read_parents,
    top_in,
)
from transforms.catalog.lines import limit_lines
from transforms.catalog.metadata_files import GENRES, open_table, translate_metadata_errors
from transforms.catalog.tables import LATIN_1, NotUtf8Error, Row, is_damaged_utf8, read_rows
from transforms.catalog.zips import translate_zip_errors
from transforms.errors import UsageError
from transforms.runtime import console
from transforms.taxonomy import Taxonomy
from transforms.tracks import SPLITS, Track, is_number, number_of

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
    by_artist: bool  # whether the tracks have no split yet: `transforms.catalog.splits` gives them theirs
    known: frozenset[int] = frozenset()  # ids of all rows, also of those left out
    taxonomy: Taxonomy = field(default_factory=Taxonomy)  # of the tracks' genres
    # (name, parent in the dataset, parent in the metadata) of the genres for which these differ
    moved: tuple[tuple[str, str, str], ...] = ()

    @property
    def labelled(self) -> Counter[str]:
        """The number of its tracks by what is known of their genres, as in `LABELLED`."""
        return Counter(track.labelled for track in self.tracks)


@dataclass(frozen=True)
class GenreOptions:
    """How the genres of tracks are read."""

    parents: str | None = None  # a csv with the parents of a plain csv's genres
    held: Taxonomy = field(default_factory=Taxonomy)  # of the dataset that the tracks are for
    update: bool = False  # whether a parent in the metadata counts where the dataset has another one
    top_only: bool = False  # read FMA's genre_top and nothing else; its genres.csv may be missing
    unlabelled: bool = False  # whether tracks without any genre are taken


ALL_GENRES = GenreOptions()


def read_catalog(
    metadata: str, subset: str | None, split_by: str = "official", genres: GenreOptions = ALL_GENRES
) -> Catalog:
    """Read the metadata of a run.

    Args:
      metadata: FMA's fma_metadata.zip, the folder unpacked from it, its tracks.csv, or a plain csv with the columns
        path,genre and, if wanted, track_id, artist, split, album, album_id, title, license and duration (seconds);
        several genres in a cell are separated by `|`.
      subset: one of `SUBSETS`, for FMA's metadata; a plain csv is always taken whole.
      split_by: "official" for the split that the metadata gives, "artist" for none yet, see `Catalog.by_artist`.

    Raises:
      UsageError: the metadata cannot be read or has another form, or an argument is wrong.
    """
    if split_by not in SPLIT_BY:
        raise UsageError(f"--split {split_by}: choose one of {', '.join(SPLIT_BY)}")
    with translate_metadata_errors(metadata), translate_zip_errors():
        try:
            return _read_table(metadata, subset, split_by, genres)
        except NotUtf8Error:
            with open_table(metadata) as (file, name):
                if is_damaged_utf8(file):
                    raise
            console.log(f"{name}: not UTF-8 text, so it is read as Latin-1 (Windows-1252)")
            return _read_table(metadata, subset, split_by, genres, LATIN_1)


def _read_table(metadata: str, subset: str | None, split_by: str, genres: GenreOptions, encoding: str = "") -> Catalog:
    with open_table(metadata) as (file, name):
        form, columns, rows = read_rows(file, name, split_by == "official", encoding)
        if form == "csv":
            subset = None
            if split_by == "artist" and "split" in columns:
                raise UsageError(f"{name} has a split column: leave out --split artist, or the column")
        elif subset not in SUBSETS:
            given = f"there is no --subset {subset}" if subset else "FMA's metadata needs a --subset"
            raise UsageError(f"{metadata}: {given}; choose one of {', '.join(SUBSETS)}")
        found, genres_of = _read_genres(metadata, form, "genres" in columns, genres)
        taxonomy = merge_taxonomy(found, genres)
        tracks, skipped, known = _collect(
            rows, subset, split_by, taxonomy=taxonomy, genres_of=genres_of, unlabelled=genres.unlabelled
        )
    moved = tuple(genres.held.moved(found))
    return Catalog(tracks, skipped, subset or "", form, split_by == "artist", known, taxonomy, moved)


def _read_genres(metadata: str, form: str, has_ids: bool, options: GenreOptions) -> tuple[Taxonomy, GenresOf]:
    """Return the tree that the metadata gives, and what finds the genres in its rows."""
    if form == "fma" and options.parents:
        raise UsageError(f"--genres {options.parents}: FMA's metadata has its own genres.csv")
    if form == "fma" and (options.top_only or not has_ids):
        return Taxonomy(), top_in
    if form == "fma":
        with open_table(metadata, GENRES) as (file, name):
            return read_fma_genres(file, name)
    return read_own_taxonomy(options), names_in


def read_own_taxonomy(options: GenreOptions) -> Taxonomy:
    """Return the tree of `--genres`, or an empty one where none is given."""
    if options.parents is None:
        return Taxonomy()
    with translate_metadata_errors(options.parents), storage.open_read(options.parents) as file:
        return read_parents(limit_lines(file, options.parents), options.parents)


def merge_taxonomy(found: Taxonomy, options: GenreOptions) -> Taxonomy:
    """Return the tree of the metadata together with the dataset's, whose parents count unless it is to be updated.

    Raises:
      UsageError: a genre would be its own ancestor.
    """
    first, then = (options.held, found) if options.update else (found, options.held)
    try:
        return Taxonomy({**first.parents, **then.parents})
    except ValueError as error:
        raise UsageError(
            f"genre {str(error)!r} would be its own ancestor, by the metadata's tree and the dataset's together; "
            "--update takes the metadata's"
        ) from None


def _collect(
    rows: Iterator[Row],
    subset: str | None,
    split_by: str,
    *,
    taxonomy: Taxonomy,
    genres_of: GenresOf,
    unlabelled: bool,
) -> tuple[list[Track], dict[str, int], frozenset[int]]:
    tracks: list[Track] = []
    skipped: Counter[str] = Counter()
    seen: set[int] = set()
    for where, row in rows:
        text = row["track_id"]
        if subset and not is_number(text):
            raise UsageError(f"{where}: track_id {brief(text)} is not a whole number")
        if not text or len(text) > LONGEST_PATH:
            raise UsageError(f"{where}: track_id {brief(text)} is no name for a track")
        track_id = number_of(text)
        if track_id in seen:
            raise UsageError(f"{where}: track_id {brief(text)} is in the file twice")
        seen.add(track_id)
        if subset and not _in_subset(row["subset"], subset, where):
            skipped["not_in_subset"] += 1
            continue
        genres = taxonomy.close(genres_of(row, where))
        if genres or unlabelled:
            top = row["genre"] if subset else taxonomy.top(genres)
            tracks.append(_track(track_id, row, subset, split_by, where, genre=top, genres=genres))
        else:
            skipped["no_genre"] += 1
    return sorted(tracks, key=lambda track: track.track_id), dict(skipped), frozenset(seen)


def _track(
    track_id: int,
    row: dict[str, str],
    subset: str | None,
    split_by: str,
    where: str,
    *,
    genre: str,
    genres: tuple[str, ...],
) -> Track:
    split = "" if split_by == "artist" else SPLIT_NAMES.get(row["split"].lower())
    if split is None:
        raise UsageError(f"{where}: split {brief(row['split'])} is none of {', '.join(SPLIT_NAMES)}")
    path = "" if subset else row["path"]
    if not subset and (not path or "\0" in path or len(path) > LONGEST_PATH):
        raise UsageError(f"{where}: path {brief(path)} is not a file's path")
    return Track(
        track_id=track_id,
        id_text="" if is_number(row["track_id"]) else row["track_id"],
        genre=genre,
        genres=genres,
        split=split,
        path=path,
        artist=row.get("artist", ""),
        album=row.get("album", ""),
        album_id=row.get("album_id", ""),
        title=row.get("title", ""),
        license=row.get("license", ""),
        subset=row["subset"] if subset else "",
        duration=_duration(row.get("duration", ""), clips=subset not in (None, "full"), where=where),
    )


def _in_subset(cell: str, subset: str, where: str) -> bool:
    if cell and cell not in SUBSETS:
        raise UsageError(f"{where}: set/subset {brief(cell)} is none of {', '.join(SUBSETS)}")
    return SUBSETS.index(cell or "full") <= SUBSETS.index(subset)


def _duration(cell: str, clips: bool, where: str) -> float | None:
    """Return the seconds of audio that the file should hold; None where the metadata has no positive number."""
    try:
        seconds = float(cell or "nan")
    except ValueError:
        raise UsageError(f"{where}: duration {brief(cell)} is not a number of seconds") from None
    if not (math.isfinite(seconds) and seconds > 0):
        return None
    if seconds > LONGEST_SONG:
        raise UsageError(f"{where}: duration {brief(cell)} is more than a week; it is given in seconds")
    return min(seconds, CLIP_SECONDS) if clips else seconds
