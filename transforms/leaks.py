"""What stands on both sides of a split, where a model could learn the answer instead of the genre."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from transforms.tracks import SPLITS


@dataclass(frozen=True, slots=True)
class Leak:
    """One thing in more than one split.

    Attributes:
      what: `artist` or `audio`.
      name: the artist, or a short form of the audio's hash.
      where: track ids by split.
    """

    what: str
    name: str
    where: dict[str, list[int]]

    def __str__(self) -> str:
        places = ", ".join(f"{split} ({_some(ids)})" for split, ids in self.where.items())
        return f"the same {self.what} {self.name!r} in {places}"


def find_leaks(tracks: Iterable[dict[str, Any]]) -> list[Leak]:
    """Artists, and exactly equal decoded audio, in more than one split.

    Args:
      tracks: ledger lines with track_id, split, audio_sha256 and artist (where known).
    """
    artists: dict[str, dict[str, list[int]]] = {}
    audio: dict[str, dict[str, list[int]]] = {}
    for track in tracks:
        if track.get("artist"):
            artists.setdefault(track["artist"], {}).setdefault(track["split"], []).append(track["track_id"])
        # Silence is equal to all other silence of its length, and tells nothing.
        if not track["silent"]:
            sound = track["audio_sha256"][:12]
            audio.setdefault(sound, {}).setdefault(track["split"], []).append(track["track_id"])
    return [
        Leak(what, name, {split: where[split] for split in SPLITS if split in where})
        for what, found in (("artist", artists), ("audio", audio))
        for name, where in sorted(found.items())
        if len(where) > 1
    ]


def _some(ids: list[int]) -> str:
    return ", ".join(map(str, ids[:3])) + (f" and {len(ids) - 3} more" if len(ids) > 3 else "")
