"""The track: what metadata knows about one song, where its bytes lie, and what ingestion found out about it."""

from dataclasses import asdict, dataclass
from typing import Any

SPLITS = ("training", "validation", "test")


def artist_key(artist: str) -> str:
    """Return a key that is equal for names that differ only in case and spacing; "" where there is no name."""
    return " ".join(artist.split()).casefold()


@dataclass(frozen=True, slots=True)
class Track:
    """One song to ingest.

    Attributes:
      track_id: FMA's id, or the id in a plain csv.
      genre: the class name (FMA's `genre_top`).
      split: one of `SPLITS`.
      path: a file's path or gs:// address, or a member's name where `archive` is set.
      archive: path of the zip that holds the audio, or "".
      artist: artist name, or "" where unknown.
      album: album title, or "".
      album_id: what tells albums of one title apart, or "".
      title: track title, or "".
      license: licence as the metadata states it, or "".
      subset: the smallest FMA subset that holds the track, or "".
      duration: seconds of audio that the file should hold, or None where none are declared.
      size: bytes of the audio file when the run was planned, or None where it was not found.
      crc32: of the audio file where it was known then (a zip's directory has it), or None.
    """

    track_id: int
    genre: str
    split: str
    path: str = ""
    archive: str = ""
    artist: str = ""
    album: str = ""
    album_id: str = ""
    title: str = ""
    license: str = ""
    subset: str = ""
    duration: float | None = None
    size: int | None = None
    crc32: int | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the fields that are set, ready for json.dumps."""
        return {key: value for key, value in asdict(self).items() if value not in ("", None)}

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> "Track":
        """Build it from what `to_json` returned."""
        return cls(**fields)

    @property
    def locator(self) -> str:
        """Where the bytes are, for messages: a path, or `archive!member`."""
        return f"{self.archive}!{self.path}" if self.archive else self.path


@dataclass(frozen=True, slots=True)
class TrackFacts:
    """What ingestion found out about a track.

    Attributes:
      seconds: decoded length.
      windows: whole windows in it.
      silent: whether it is digital silence.
      audio_sha256: of the decoded audio (mono int16 at the dataset's rate): equal for equal sound under any name.
      zeroed_share: of the track, in stretches of exact zeros inside it (see `transforms.audio.decode`), 0 to 1.
    """

    seconds: float
    windows: int
    silent: bool
    audio_sha256: str
    zeroed_share: float = 0.0
