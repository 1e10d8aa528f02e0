"""Made-up names, FMA's genre ids, and the words of the tables."""

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
