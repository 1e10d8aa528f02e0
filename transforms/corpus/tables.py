"""FMA's csv files: tracks.csv with its three header rows and 52 columns, and genres.csv."""

import csv
import datetime
import io
from collections import Counter
from collections.abc import Iterable

from transforms.corpus.options import CorpusOptions
from transforms.corpus.plan import CHILDREN, GENRES, LICENSES, Song, album_title, track_title

# As in FMA's tracks.csv, in its order.
COLUMNS = {
    "album": (
        "comments", "date_created", "date_released", "engineer", "favorites", "id", "information", "listens",
        "producer", "tags", "title", "tracks", "type",
    ),
    "artist": (
        "active_year_begin", "active_year_end", "associated_labels", "bio", "comments", "date_created", "favorites",
        "id", "latitude", "location", "longitude", "members", "name", "related_projects", "tags", "website",
        "wikipedia_page",
    ),
    "set": ("split", "subset"),
    "track": (
        "bit_rate", "comments", "composer", "date_created", "date_recorded", "duration", "favorites", "genre_top",
        "genres", "genres_all", "information", "interest", "language_code", "license", "listens", "lyricist", "number",
        "publisher", "tags", "title",
    ),
}  # fmt: skip
FIRST_DAY = datetime.datetime(2008, 11, 26, 1, 44, 45)  # the date of FMA's oldest tracks


def tracks_csv(songs: Iterable[Song], options: CorpusOptions) -> bytes:
    """Return tracks.csv, UTF-8: three header rows (groups, columns, the index's name), then one row for each song.

    Dates are derived from ids, so equal options give equal bytes.
    """
    songs = list(songs)
    per_artist = Counter(song.artist_number for song in songs)
    keys = [(group, name) for group, names in COLUMNS.items() for name in names]
    header = [["", *(group for group, _ in keys)], ["", *(name for _, name in keys)], ["track_id", *[""] * len(keys)]]
    rows = []
    for song in songs:
        cells = _album(song, per_artist[song.artist_number]) | _artist(song) | _track(song, options)
        rows.append([song.track_id, *(cells.get(f"{group}/{name}", "") for group, name in keys)])
    return _csv([*header, *rows])


def genres_csv(songs: Iterable[Song]) -> bytes:
    """Return genres.csv, UTF-8: the genres that occur, with FMA's ids, by id; #tracks includes descendants."""
    counts = Counter(genre for song in songs for genre in song.genres_all)
    tops = [(top, 0, title, top) for title, top in GENRES.items()]
    children = [(child, GENRES[name], title, GENRES[name]) for name, (child, title) in CHILDREN.items()]
    rows = [
        (genre, counts[genre], parent, title, top)
        for genre, parent, title, top in sorted(tops + children)
        if counts[genre]
    ]
    return _csv([("genre_id", "#tracks", "parent", "title", "top_level"), *rows])


def declared_seconds(song: Song, options: CorpusOptions) -> int:
    """Return the length in tracks.csv: the clip's, or that of a made-up whole song of 1 to 8 minutes."""
    return 60 + song.track_id * 37 % 420 if options.song_durations else options.clip_seconds


def _csv(rows: Iterable[Iterable[object]]) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode()


def _date(days: int) -> str:
    return str(FIRST_DAY + datetime.timedelta(days=days, seconds=days * 997 % 80_000))


def _album(song: Song, tracks: int) -> dict[str, object]:
    number = song.artist_number
    return {
        "album/comments": 0,
        "album/date_created": _date(number % 2500),
        "album/date_released": _date(number % 2500)[:10] + " 00:00:00",
        "album/favorites": number % 9,
        "album/id": number + 1,
        "album/information": f'<p>Made by a program,\nnot by "{song.artist_name}".</p>' if number % 2 else "",
        "album/listens": number * 131 % 6000,
        "album/tags": "[]",
        "album/title": album_title(number),
        "album/tracks": tracks,
        "album/type": "Album",
    }


def _artist(song: Song) -> dict[str, object]:
    number = song.artist_number
    return {
        "artist/bio": f"<p>{song.artist_name} is a seed for random numbers.</p>\n<p>It plays {song.genre}, alone.</p>",
        "artist/comments": 0,
        "artist/date_created": _date(number % 2500),
        "artist/favorites": number % 5,
        "artist/id": number + 1,
        "artist/name": song.artist_name,
        "artist/tags": f"['{song.artist_name.lower()}']",
    }


def _track(song: Song, options: CorpusOptions) -> dict[str, object]:
    return {
        "set/split": song.split,
        "set/subset": song.subset,
        "track/bit_rate": song.bitrate * 1000,
        "track/comments": 0,
        "track/date_created": _date(song.track_id % 2500),
        "track/duration": declared_seconds(song, options),
        "track/favorites": song.track_id % 7,
        "track/genre_top": song.genre_top,
        "track/genres": list(song.genres),
        "track/genres_all": list(song.genres_all),
        "track/interest": song.track_id * 17 % 9000,
        "track/language_code": "en",
        "track/license": LICENSES[song.artist_number % len(LICENSES)],
        "track/listens": song.track_id * 13 % 4000,
        "track/number": song.track_id % 12 + 1,
        "track/tags": "[]",
        "track/title": "Silence" if song.silent else track_title(song.track_id),
    }
