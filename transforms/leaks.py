"""What stands on both sides of a split, where a model could learn the answer instead of the genre."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from transforms.tracks import SPLITS, artist_key


@dataclass(frozen=True, slots=True)
class Leak:
    """One thing in more than one split.

    Attributes:
      what: `artist`, `album`, `audio` (decoded samples that are exactly equal) or `recording` (the mel spectrograms
        sound alike, see `transforms.near_duplicates`).
      name: the artist, the album, or a short form of what was compared.
      where: track ids by split.
    """

    what: str
    name: str
    where: dict[str, list[int]]

    def __str__(self) -> str:
        places = ", ".join(f"{split} ({_some(ids)})" for split, ids in self.where.items())
        return f"the same {self.what} {self.name!r} in {places}"


def find_leaks(tracks: Iterable[dict[str, Any]]) -> list[Leak]:
    """Artists, albums, and exactly equal decoded audio, in more than one split.

    Artists are told apart by their names, blind to case and spacing; albums by their id where the metadata has one,
    else by their title.

    Args:
      tracks: ledger lines with track_id, split, silent, audio_sha256 and, where known, artist, album and album_id.
    """
    found: dict[str, dict[str, tuple[str, dict[str, list[int]]]]] = {"artist": {}, "album": {}, "audio": {}}
    for track in tracks:
        artist, album = track.get("artist", ""), track.get("album", "")
        keys = {"artist": artist_key(artist), "album": track.get("album_id") or album}
        names = {"artist": " ".join(artist.split()), "album": album}
        # Silence is equal to all other silence of its length, and tells nothing.
        keys["audio"] = "" if track["silent"] else track["audio_sha256"]
        names["audio"] = track["audio_sha256"][:12]
        for what, key in keys.items():
            if key:
                _, places = found[what].setdefault(key, (names[what], {}))
                places.setdefault(track["split"], []).append(track["track_id"])
    return [
        Leak(what, name, {split: where[split] for split in SPLITS if split in where})
        for what, things in found.items()
        for name, where in sorted(things.values(), key=lambda found: found[0])
        if len(where) > 1
    ]


def _some(ids: list[int]) -> str:
    return ", ".join(map(str, ids[:3])) + (f" and {len(ids) - 3} more" if len(ids) > 3 else "")
