"""Which rows a corpus has: ids, names, artists, splits, subsets, formats, breakages. No sound is made here."""

from dataclasses import dataclass, replace

from transforms.corpus.broken import KINDS
from transforms.corpus.options import SUBSETS, CorpusOptions, fit_bitrate, generator

# The 8 genres of fma_small with FMA's own ids, and one that only medium has.
GENRES = {
    "Electronic": 15,
    "Experimental": 38,
    "Folk": 17,
    "Hip-Hop": 21,
    "Instrumental": 1235,
    "International": 2,
    "Pop": 10,
    "Rock": 12,
    "Jazz": 4,
}
MEDIUM_GENRE = "Jazz"
SMALL_GENRES = tuple(name for name in GENRES if name != MEDIUM_GENRE)

# One sub-genre of each, with FMA's id; FMA lists the most specific genre first and its ancestors in genres_all.
CHILDREN = {
    "Electronic": (181, "Techno"),
    "Experimental": (32, "Noise"),
    "Folk": (103, "Singer-Songwriter"),
    "Hip-Hop": (100, "Alternative Hip-Hop"),
    "Instrumental": (18, "Soundtrack"),
    "International": (92, "African"),
    "Pop": (76, "Experimental Pop"),
    "Rock": (26, "Post-Rock"),
    "Jazz": (97, "Jazz: Out"),
}

LICENSES = (
    "Attribution-NonCommercial-ShareAlike 3.0 International",
    "Attribution-Noncommercial-Share Alike 3.0 United States",
    "Attribution 3.0 International",
    "CC0 1.0 Universal",
)

_FIRST = (
    "Amber", "Brass", "Cedar", "Distant", "Early", "Faded", "Glass", "Hollow", "Idle", "Jade", "Kind", "Little",
    "Marble", "Northern", "Open", "Paper", "Quiet", "Rusty", "Silver", "Tidal", "Upper", "Velvet", "Winter", "Yellow",
    "Zinc", "Copper", "Desert", "Evening", "Granite", "Hazel", "Indigo", "Lunar", "Misty", "Ochre", "Plain", "Rapid",
    "Second",
)  # fmt: skip
_SECOND = (
    "Anchors", "Bridges", "Canals", "Doors", "Engines", "Ferries", "Gardens", "Harbours", "Islands", "Junctions",
    "Kites", "Lanterns", "Mirrors", "Needles", "Orchards", "Pilots", "Quarries", "Rivers", "Signals", "Towers",
    "Umbrellas", "Valleys", "Windows", "Yards", "Arches", "Beacons", "Clocks", "Dunes", "Echoes", "Fields", "Gates",
    "Hills", "Keys", "Ladders", "Markets", "Owls", "Ponds", "Roads", "Stairs", "Tunnels", "Wheels",
)  # fmt: skip


def artist_name(number: int) -> str:
    """Another name for each of the first 1517 numbers; later ones are told apart by a figure."""
    across, around = divmod(number, len(_FIRST))
    again = number // (len(_FIRST) * len(_SECOND))
    name = f"{_FIRST[around]} {_SECOND[(across + around) % len(_SECOND)]}"
    return f"{name} {again + 1}" if again else name


def album_title(number: int) -> str:
    """The title of an artist's one album; some hold a comma or quotes, as FMA's do."""
    word = _SECOND[number * 7 % len(_SECOND)]
    return (f"{word}, Part One", f'The "{word}" Sessions', f"Songs for {word}", word)[number % 4]


def track_title(track_id: int) -> str:
    """A title; some are not ASCII."""
    first, second = _FIRST[track_id * 5 % len(_FIRST)], _SECOND[track_id * 11 % len(_SECOND)]
    return (f"{first} Morning", f"{second} at Night", f"Été {first}", f"{first}, {second}")[track_id % 4]


FIRST_IDS = (2, 5, 10, 140)  # as fma_small begins
LAST_ID = 97_000  # below the ids of the broken rows
RARE_FORMATS = ((22_050, 2), (8_000, 1), (44_100, 1), (48_000, 2))  # Hz and channels: MPEG-2, MPEG-2.5, MPEG-1
UNLABELLED = (("Electronic", "Experimental"), ("Folk", "Pop"), ())  # genres of tracks that FMA gives no top genre
UNLABELLED_ARTIST = 1_200  # numbers that no artist of a genre reaches


@dataclass(frozen=True, slots=True)
class Song:
    """One row of tracks.csv.

    Attributes:
      track_id: FMA-like.
      genre: what it sounds like.
      genre_top: the label, or "" where FMA would give none.
      genres: FMA's ids, most specific first. genres_all: the same with their ancestors.
      artist: number within the genre; it decides the artist's sound.
      split, subset: as in tracks.csv; `subset` is the smallest that holds the track.
      sample_rate, channels, bitrate: of the file; bitrate in kb/s.
      silent: digital silence.
      broken: name of a `transforms.corpus.broken.Kind`, or "".
    """

    track_id: int
    genre: str
    genre_top: str
    genres: tuple[int, ...]
    genres_all: tuple[int, ...]
    artist: int
    split: str
    subset: str
    sample_rate: int
    channels: int
    bitrate: int
    silent: bool = False
    broken: str = ""

    @property
    def artist_number(self) -> int:
        """Number of the artist among those of all genres."""
        return list(GENRES).index(self.genre) + len(GENRES) * self.artist

    @property
    def artist_name(self) -> str:
        """Made up; another one for each artist."""
        return artist_name(self.artist_number)

    @property
    def member(self) -> str:
        """The file's place in FMA's layout, such as "001/001482.mp3"."""
        return f"{self.track_id // 1000:03d}/{self.track_id:06d}.mp3"


def plan_songs(options: CorpusOptions) -> list[Song]:
    """The rows of a corpus, by id. A smaller `options.subset` gives the same rows, fewer."""
    intact = _intact(options)
    order = generator(options.seed, "ids").permutation(len(intact))
    ids = _track_ids(len(intact), options.seed)
    songs = _formats([replace(intact[place], track_id=ids[rank]) for rank, place in enumerate(order)], options)
    if options.broken:
        songs += [
            replace(_song(options, genre, artist=0, number=0, subset="small"), track_id=kind.track_id, broken=kind.name)
            for kind, genre in zip(KINDS, SMALL_GENRES, strict=True)
        ]
    wanted = SUBSETS[: SUBSETS.index(options.subset) + 1]
    return sorted((song for song in songs if song.subset in wanted), key=lambda song: song.track_id)


def split_of(artist: int) -> str:
    """8 of 10 artists train, one validates, one tests; the first three cover all splits."""
    return {1: "validation", 2: "test"}.get(artist % 10, "training")


def _intact(options: CorpusOptions) -> list[Song]:
    count = options.tracks_per_genre
    extra = max(1, count // 8)
    jazz = max(min(3, count), count // 3)
    songs = [_song(options, genre, k % _artists(count), k, "small") for genre in SMALL_GENRES for k in range(count)]
    songs += [
        _song(options, genre, _medium_artist(k, _artists(count)), count + k, "medium")
        for genre in SMALL_GENRES
        for k in range(extra)
    ]
    songs += [_song(options, MEDIUM_GENRE, k % _artists(jazz), k, "medium") for k in range(jazz)]
    return songs + [_unlabelled(options, number) for number in range(len(UNLABELLED))]


def _artists(tracks: int) -> int:
    """Artists of a genre: two tracks each where there are enough, else as many artists as cover the splits."""
    return max(min(tracks, 5), tracks // 2)


def _medium_artist(number: int, known: int) -> int:
    """Half of what medium adds is by new artists, half by those of small, the first of them one of its test split."""
    return (number + 1) % known if number % 2 else known + number // 2


def _song(options: CorpusOptions, genre: str, artist: int, number: int, subset: str) -> Song:
    """One labelled row without its id; every third has a sub-genre."""
    top = GENRES[genre]
    specific = (CHILDREN[genre][0],) if number % 3 == 2 else (top,)
    return Song(
        track_id=0,
        genre=genre,
        genre_top=genre,
        genres=specific,
        genres_all=tuple(dict.fromkeys((*specific, top))),
        artist=artist,
        split=split_of(artist),
        subset=subset,
        sample_rate=options.sample_rate,
        channels=options.channels,
        bitrate=fit_bitrate(options.bitrate, options.sample_rate),
    )


def _unlabelled(options: CorpusOptions, number: int) -> Song:
    """A row of large that belongs to two top genres or to none, so that FMA leaves genre_top empty."""
    names = UNLABELLED[number]
    ids = tuple(GENRES[name] for name in names)
    song = _song(options, names[0] if names else "Experimental", UNLABELLED_ARTIST + 10 * number, 0, "large")
    return replace(song, genre_top="", genres=ids, genres_all=ids)


def _track_ids(count: int, seed: int) -> list[int]:
    """Ascending, with FMA-like gaps, below `LAST_ID`."""
    gaps = generator(seed, "gaps").integers(1, max(2, min(400, LAST_ID // count)), count)
    ids = list(FIRST_IDS[:count])
    for gap in gaps[len(ids) :]:
        ids.append(ids[-1] + int(gap))
    return ids


def _formats(songs: list[Song], options: CorpusOptions) -> list[Song]:
    """Gives a few songs other formats, as FMA has them; those that are rare are training tracks of small."""
    candidates = [song for song in songs if song.subset == "small" and song.split == "training"]
    silent = next(song.track_id for song in candidates if song.genre == "Experimental")
    usual = [song.track_id for song in candidates if song.track_id != silent]
    formats = dict(zip(usual, RARE_FORMATS, strict=False))
    if (options.sample_rate, options.channels) == (44_100, 2):
        rest = [song.track_id for song in songs if song.track_id not in formats]
        formats |= dict.fromkeys(rest[::12], (44_100, 1)) | dict.fromkeys(rest[6::16], (48_000, 2))
    most = (options.sample_rate, options.channels)
    return [
        _in_format(replace(song, silent=song.track_id == silent), *formats.get(song.track_id, most), options.bitrate)
        for song in songs
    ]


def _in_format(song: Song, sample_rate: int, channels: int, bitrate: int) -> Song:
    return replace(song, sample_rate=sample_rate, channels=channels, bitrate=fit_bitrate(bitrate, sample_rate))
