"""Genres as people write them: spellings of one name, and genres with too little music for a split."""

import unicodedata
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace

from transforms.runtime import console
from transforms.taxonomy import Taxonomy, alone
from transforms.tracks import SPLITS, Track, artist_key

Spellings = list[Counter[str]]

FEWEST = 5
"""Tracks of a genre in a split: with fewer, one track more or less moves the genre's recall by over 20 points."""

SCORE_ALL = "--folds 5 scores on all tracks instead, by cross-validation that keeps artists together"
"""What to do about them, as advice of a command that has the option."""


def spelling_key(genre: str) -> str:
    """Return a key that is equal for names that differ only in case, spaces, punctuation or Unicode form."""
    key = "".join(filter(str.isalnum, unicodedata.normalize("NFKC", genre).casefold()))
    return key or genre


def find_spellings(genres: Iterable[str]) -> Spellings:
    """Return for each genre that is spelt in several ways how many tracks have which spelling, most first."""
    found: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for genre in genres:
        found[spelling_key(genre)][genre] += 1
    return [spellings for _, spellings in sorted(found.items()) if len(spellings) > 1]


def join_genres(
    tracks: Sequence[Track], spellings: Spellings, known: Collection[str], taxonomy: Taxonomy
) -> list[Track]:
    """Return the tracks with one spelling for each genre: one that the dataset has (`known`), else the commonest."""
    chosen = {spelling: _choose(counts, known) for counts in spellings for spelling in counts}
    joined = []
    for track in tracks:
        genres = taxonomy.close(chosen.get(name, name) for name in track.genres)
        joined.append(replace(track, genre=taxonomy.top(genres), genres=genres))
    return joined


def _choose(counts: Counter[str], known: Collection[str]) -> str:
    return min(counts, key=lambda name: (name not in known, -counts[name], name))


def report_spellings(spellings: Spellings, known: Collection[str], joined: bool) -> None:
    """Show the genres that are spelt in several ways, with what `join_genres` takes, on standard error."""
    rows = [
        (spelling, count, _choose(counts, known)) for counts in spellings for spelling, count in counts.most_common()
    ]
    title = "genres that differ in case, spaces or punctuation only"
    console.log_table(title, ("genre", "tracks", "the same as"), rows)
    console.log("they are joined" if joined else "they stay different genres; --join-genres joins them")


def report_small_genres(tracks: Iterable[Track], advice: str = "") -> None:
    """Show the genres with under `FEWEST` tracks in one of the splits, on standard error, and advice below them."""
    counts: defaultdict[str, Counter[str]] = defaultdict(Counter)
    artists: defaultdict[str, set[str]] = defaultdict(set)
    for track in tracks:
        for genre in alone(track.genre):
            counts[genre][track.split] += 1
            artists[genre].add(artist_key(track.artist) or str(track.track_id))
    rows = [
        (genre, counts[genre].total(), len(artists[genre]), *(counts[genre][split] for split in SPLITS))
        for genre in sorted(counts)
        if any(counts[genre][split] < FEWEST for split in SPLITS)
    ]
    if rows:
        title = f"genres with under {FEWEST} tracks in a split: what is chosen or scored on it says little about them"
        console.log_table(title, ("genre", "tracks", "artists", *SPLITS), rows)
        if advice:
            console.log(advice)
