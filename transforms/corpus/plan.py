"""The rows of a corpus: ids, names, artists, splits, subsets, formats, and files broken as some of FMA's are."""

from dataclasses import dataclass, replace

from transforms.audio.mp3 import fit_bitrate
from transforms.corpus.options import SHORT_SECONDS, SUBSETS, CorpusOptions, generator

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

FIRST_IDS = (2, 5, 10, 140)  # as fma_small begins
LAST_ID = 97_000  # below the ids of the broken rows
RARE_FORMATS = ((22_050, 2), (8_000, 1), (44_100, 1), (48_000, 2))  # Hz and channels: MPEG-2, MPEG-2.5, MPEG-1
UNLABELLED = (("Electronic", "Experimental"), ("Folk", "Pop"), ())  # genres of tracks that FMA gives no top genre
UNLABELLED_ARTIST, SEVERAL_ARTIST = 1_200, 2_000  # numbers that no artist of a genre reaches


def artist_name(number: int) -> str:
    """Return a made-up name, another one for each number; beyond 1,517 names a figure is added."""
    across, around = divmod(number, len(_FIRST))
    again = number // (len(_FIRST) * len(_SECOND))
    name = f"{_FIRST[around]} {_SECOND[(across + around) % len(_SECOND)]}"
    return f"{name} {again + 1}" if again else name


def album_title(number: int) -> str:
    """Return the title of an artist's one album; some have a comma or quotes, as FMA's do."""
    word = _SECOND[number * 7 % len(_SECOND)]
    return (f"{word}, Part One", f'The "{word}" Sessions', f"Songs for {word}", word)[number % 4]


def track_title(track_id: int) -> str:
    """Return a title; some are not ASCII."""
    first, second = _FIRST[track_id * 5 % len(_FIRST)], _SECOND[track_id * 11 % len(_SECOND)]
    return (f"{first} Morning", f"{second} at Night", f"Été {first}", f"{first}, {second}")[track_id % 4]


@dataclass(frozen=True, slots=True)
class Song:
    """One row of tracks.csv.

    Attributes:
      track_id: FMA-like.
      genre: what it sounds like.
      genre_top: the label, or "" where FMA would give none.
      genres: FMA's ids, most specific first. genres_all: the same with their ancestors.
      artist: number within the genre, which decides the sound.
      split, subset: as in tracks.csv; `subset` is the smallest that holds the track.
      sample_rate, channels, bitrate: of the file; bitrate in kb/s.
      second: a genre that it sounds like as much, or "".
      own_sound: whether its sub-genre sounds different from the genre.
      silent: digital silence.
      broken: a key of `BREAKAGES`, or "".
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
    second: str = ""
    own_sound: bool = False
    silent: bool = False
    broken: str = ""

    @property
    def artist_number(self) -> int:
        """Number of the artist among those of all genres."""
        return list(GENRES).index(self.genre) + len(GENRES) * self.artist

    @property
    def artist_name(self) -> str:
        """Made-up name, another one for each artist."""
        return artist_name(self.artist_number)

    @property
    def member(self) -> str:
        """The file's place in FMA's layout, such as "001/001482.mp3"."""
        return f"{self.track_id // 1000:03d}/{self.track_id:06d}.mp3"


def plan_songs(options: CorpusOptions) -> list[Song]:
    """Return the rows of a corpus, by id; those of a smaller `options.subset` are a part of those of a larger one."""
    intact = _intact(options)
    order = generator(options.seed, "ids").permutation(len(intact))
    ids = _track_ids(len(intact), options.seed)
    songs = _formats([replace(intact[place], track_id=ids[rank]) for rank, place in enumerate(order)], options)
    if options.broken:
        songs += [
            replace(_song(options, genre, artist=0, number=0, subset="small"), track_id=kind.track_id, broken=name)
            for (name, kind), genre in zip(BREAKAGES.items(), SMALL_GENRES, strict=True)
        ]
    wanted = SUBSETS[: SUBSETS.index(options.subset) + 1]
    return sorted((song for song in songs if song.subset in wanted), key=lambda song: song.track_id)


def _intact(options: CorpusOptions) -> list[Song]:
    count = options.tracks_per_genre
    artists = _artists(count)
    jazz = max(min(3, count), count // 3)
    songs = [_song(options, genre, k % artists, k, "small") for genre in SMALL_GENRES for k in range(count)]
    # Of the tracks that medium adds half are of new artists, half of small's, the first of its test split.
    added = [(k + 1) % artists if k % 2 else artists + k // 2 for k in range(max(1, count // 8))]
    songs += [
        _song(options, genre, artist, count + k, "medium") for genre in SMALL_GENRES for k, artist in enumerate(added)
    ]
    songs += [_song(options, MEDIUM_GENRE, k % _artists(jazz), k, "medium") for k in range(jazz)]
    for number, names in enumerate(UNLABELLED):
        ids = tuple(GENRES[name] for name in names)
        song = _song(options, names[0] if names else "Experimental", UNLABELLED_ARTIST + 10 * number, 0, "large")
        songs.append(replace(song, genre_top="", genres=ids, genres_all=ids))
    return songs + [_mixed(options, place, k) for place in range(len(SMALL_GENRES)) for k in range(options.several)]


def _mixed(options: CorpusOptions, place: int, number: int) -> Song:
    """Return a row of two genres, without a top one; every third has a sub-genre of the first."""
    genre = SMALL_GENRES[place]
    second = SMALL_GENRES[(place + 1 + number % (len(SMALL_GENRES) - 1)) % len(SMALL_GENRES)]
    song = _song(options, genre, SEVERAL_ARTIST + number // 2, number, "large")
    other = GENRES[second]
    genres, with_ancestors = (*song.genres, other), (*song.genres_all, other)
    return replace(song, genre_top="", genres=genres, genres_all=with_ancestors, second=second)


def _artists(tracks: int) -> int:
    """Return the number of artists of a genre: with two tracks each, or as many as cover the splits."""
    return max(min(tracks, 5), tracks // 2)


def _song(options: CorpusOptions, genre: str, artist: int, number: int, subset: str) -> Song:
    """Return a labelled row without its id; every third has a sub-genre."""
    top = GENRES[genre]
    specific = (CHILDREN[genre][0],) if number % 3 == 2 else (top,)
    return Song(
        track_id=0,
        genre=genre,
        genre_top=genre,
        genres=specific,
        genres_all=tuple(dict.fromkeys((*specific, top))),
        artist=artist,
        # Of ten artists 8 train, one validates, one tests; the first three cover all splits.
        split={1: "validation", 2: "test"}.get(artist % 10, "training"),
        subset=subset,
        sample_rate=options.sample_rate,
        channels=options.channels,
        bitrate=fit_bitrate(options.bitrate, options.sample_rate),
        own_sound=bool(options.several) and specific != (top,),
    )


def _track_ids(count: int, seed: int) -> list[int]:
    """Return ascending ids with FMA-like gaps, below `LAST_ID`."""
    gaps = generator(seed, "gaps").integers(1, max(2, min(400, LAST_ID // count)), count)
    ids = list(FIRST_IDS[:count])
    for gap in gaps[len(ids) :]:
        ids.append(ids[-1] + int(gap))
    return ids


def _formats(songs: list[Song], options: CorpusOptions) -> list[Song]:
    """Give a few songs other formats, as FMA has them; the rare ones are training tracks of small."""
    candidates = [song for song in songs if song.subset == "small" and song.split == "training"]
    silent = next(song.track_id for song in candidates if song.genre == "Experimental")
    usual = [song.track_id for song in candidates if song.track_id != silent]
    formats = dict(zip(usual, RARE_FORMATS, strict=False))
    most = (options.sample_rate, options.channels)
    if most == (44_100, 2):
        rest = [song.track_id for song in songs if song.track_id not in formats]
        formats |= dict.fromkeys(rest[::12], (44_100, 1)) | dict.fromkeys(rest[6::16], (48_000, 2))
    formatted = []
    for song in songs:
        hz, channels = formats.get(song.track_id, most)
        bitrate = fit_bitrate(options.bitrate, hz)
        quiet = song.track_id == silent
        formatted.append(replace(song, silent=quiet, sample_rate=hz, channels=channels, bitrate=bitrate))
    return formatted


@dataclass(frozen=True, slots=True)
class Breakage:
    """A way for a file to be broken."""

    # of the row that is broken so; all but the last two are ids whose audio is unusable in the real FMA too
    track_id: int
    reason: str  # for which ingest should refuse the track, a key of `transforms.errors.REASONS`
    seconds: float | None = None  # audio to make the file from; 0 for the whole clip, None where no audio is needed


BREAKAGES = {
    "short": Breakage(98565, "truncated_audio", SHORT_SECONDS),
    "cut": Breakage(98567, "truncated_audio", 0),
    "random": Breakage(98569, "corrupt_audio"),
    "tag_only": Breakage(99134, "empty_audio"),
    "empty": Breakage(108925, "empty_audio"),
    "text": Breakage(133297, "corrupt_audio"),
    "git_lfs": Breakage(133298, "corrupt_audio"),
    "absent": Breakage(133299, "missing_audio"),
}


def broken_bytes(name: str, mp3: bytes, seed: int) -> bytes | None:
    """Return the bytes of a broken file, or None for no file; `mp3` is an intact file of the breakage's `seconds`."""
    contents = {
        "short": mp3,
        "cut": mp3[: len(mp3) // 5],
        # A first byte of 0 is no format's magic number and no MPEG frame sync.
        "random": b"\0" + generator(seed, "random file").bytes(40_000),
        "tag_only": _id3_tag(),
        "empty": b"",
        "text": b"This is not an mp3 file.\n",
        "git_lfs": b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 961580\n",
        "absent": None,
    }
    return contents[name]


def _id3_tag() -> bytes:
    """Return an ID3v2.3 tag with a title and padding, and no audio (id3.org, ID3v2.3.0, sections 3.1 and 4.2)."""
    text = b"\0" + b"A title without a song"  # the first byte: ISO-8859-1
    frames = b"TIT2" + len(text).to_bytes(4, "big") + b"\0\0" + text + bytes(64)
    size = bytes((len(frames) >> shift) & 0x7F for shift in (21, 14, 7, 0))
    return b"ID3\x03\0\0" + size + frames
