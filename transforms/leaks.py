"""What stands on both sides of a split, where a model could learn the answer instead of the genre."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from transforms.tracks import SPLITS


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

    Albums are told apart by their id where the metadata has one, else by their title.

    Args:
      tracks: ledger lines with track_id, split, silent, audio_sha256 and, where known, artist, album and album_id.
    """
    found: dict[str, dict[tuple[str, str], dict[str, list[int]]]] = {"artist": {}, "album": {}, "audio": {}}
    for track in tracks:
        keys = {"artist": track.get("artist", ""), "album": track.get("album_id") or track.get("album", "")}
        names = keys | {"album": track.get("album", "")}
        # Silence is equal to all other silence of its length, and tells nothing.
        keys["audio"] = "" if track["silent"] else track["audio_sha256"]
        names["audio"] = track["audio_sha256"][:12]
        for what, key in keys.items():
            if key:
                places = found[what].setdefault((names[what], key), {})
                places.setdefault(track["split"], []).append(track["track_id"])
    return [
        Leak(what, name, {split: where[split] for split in SPLITS if split in where})
        for what, things in found.items()
        for (name, _), where in sorted(things.items())
        if len(where) > 1
    ]


def _some(ids: list[int]) -> str:
    return ", ".join(map(str, ids[:3])) + (f" and {len(ids) - 3} more" if len(ids) > 3 else "")
