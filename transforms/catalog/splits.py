"""Splits by artist: every artist whole in one split, and each genre as near to 80/10/10 as whole artists allow."""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace

from transforms.runtime import console
from transforms.runtime.invocation import command_line
from transforms.taxonomy import alone
from transforms.tracks import SPLITS, Track, artist_key

SHARES = dict(zip(SPLITS, (0.8, 0.1, 0.1), strict=True))
_PREFERRED = ("training", "test", "validation")
"""Of splits that are as good as each other, the first: without test tracks of a genre nothing is known of it."""
_ALL = ""  # stands for all tracks among the genres, which have names

Size = Counter[str]
"""The tracks of an artist by genre, and all of them under `_ALL`."""


def split_by_artist(tracks: Sequence[Track], held: Iterable[Track] = ()) -> list[Track]:
    """Return the tracks with their splits; they depend on the tracks and on what is held, in whatever order these are.

    Artists that the dataset has stay where most of their tracks are. The others are placed one after another, those
    with the most tracks first, where they bring their genres nearest to `SHARES`. The last artists of a genre go to
    the splits that lack it, unless that would leave training with less of it. A track without an artist counts as an
    artist of its own.

    Where what the dataset has is a part of what these tracks would get without it, they get just that: a run that was
    killed between two batches goes on as if it had not been.

    Args:
      tracks: of the metadata.
      held: tracks that the dataset has, or has tried, with their splits.
    """
    artists = {track.track_id: _artist_of(track) for track in tracks}
    sizes: defaultdict[str, Size] = defaultdict(Counter)
    votes: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for track in held:
        artist = artists.get(track.track_id) or _artist_of(track)
        votes[artist][track.split] += 1
        if track.track_id not in artists:
            sizes[artist].update(_genres_of(track))
    for track in tracks:
        sizes[artists[track.track_id]].update(_genres_of(track))
    kept = {artist: max(SPLITS, key=found.__getitem__) for artist, found in votes.items()}
    at_once = _place(sizes, {})
    splits = at_once if kept.items() <= at_once.items() else kept | _place(sizes, kept)
    return [replace(track, split=splits[artists[track.track_id]]) for track in tracks]


def _artist_of(track: Track) -> str:
    key = artist_key(track.artist)
    return f"artist:{key}" if key else f"track:{track.track_id}"


def _genres_of(track: Track) -> tuple[str, ...]:
    return _ALL, *(alone(track.genre) or track.genres)


def _place(sizes: Mapping[str, Size], kept: Mapping[str, str]) -> dict[str, str]:
    """Return the splits of the artists that are not kept."""
    filled: dict[str, Size] = {split: Counter() for split in SPLITS}
    totals, waiting = Counter[str](), Counter[str]()  # by genre: tracks, and artists to be placed
    for artist, size in sizes.items():
        totals.update(size)
        if artist in kept:
            filled[kept[artist]].update(size)
        else:
            waiting.update(size.keys())

    def order(artist: str) -> tuple[int, bytes]:
        return -sizes[artist][_ALL], hashlib.sha256(artist.encode(errors="surrogateescape")).digest()

    placed = {}
    for artist in sorted(sizes.keys() - kept.keys(), key=order):
        size = sizes[artist]
        urgent = _lacking(size, filled, waiting)
        placed[artist] = max(
            _PREFERRED, key=lambda split: (urgent[split], round(_gain(size, filled[split], totals, SHARES[split]), 12))
        )
        filled[placed[artist]].update(size)
        waiting.subtract(size.keys())
    return placed


def _lacking(size: Size, filled: Mapping[str, Size], waiting: Mapping[str, int]) -> Counter[str]:
    """Count by split the genres of an artist that it lacks, and that no more artists are left to bring than needed."""
    found = Counter[str]()
    for genre, tracks in size.items():
        lacking = [split for split in SPLITS if not filled[split][genre]]
        if waiting[genre] <= len(lacking):
            enough = filled["training"][genre] >= tracks
            found.update(split for split in lacking if enough or split == "training")
    return found


def _gain(size: Size, filled: Size, totals: Mapping[str, int], share: float) -> float:
    """Return by how much a split's distance from its share falls with an artist: a chi-squared by genre, added up."""
    gain = 0.0
    for genre in sorted(size):
        has, more = filled[genre] / totals[genre], size[genre] / totals[genre]
        gain += more * (2 * (share - has) - more) / share
    return gain


def report_artists(tracks: Collection[Track]) -> None:
    """Say on standard error what whole artists do not allow: tracks without an artist, and genres with too few."""
    unknown = sum(not artist_key(track.artist) for track in tracks)
    if unknown:
        console.log(
            f"{unknown:,} of {console.counted(len(tracks), 'track')} without an artist: each stands for an artist of "
            "its own, so songs of one artist may be in several splits; give an artist column, or tags"
        )
    artists: defaultdict[str, set[str]] = defaultdict(set)
    for track in tracks:
        for genre in alone(track.genre):
            artists[genre].add(_artist_of(track))
    few = sorted(genre for genre in artists if len(artists[genre]) < len(SPLITS))
    if few:
        console.log(
            f"under {len(SPLITS)} artists, too few to be in every split: {', '.join(few)}; add music by other artists, "
            f"or score on all tracks with {command_line('baselines', '--folds', '5')}"
        )
