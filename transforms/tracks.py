"""The track: what metadata knows about one song and where its bytes lie."""

from dataclasses import asdict, dataclass
from typing import Any

SPLITS = ("training", "validation", "test")


def artist_key(artist: str) -> str:
    """What makes two names one artist: equal but for case and spacing; "" where nobody is named."""
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
      duration: seconds of audio the file should hold, or None where nobody declared it.
      size: bytes of the audio file as the planner saw it, or None where it was not found.
      crc32: of the audio file, where the planner knows it (a zip's directory holds it), or None.
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
        """The fields that are set, ready for json.dumps."""
        return {key: value for key, value in asdict(self).items() if value not in ("", None)}

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> "Track":
        """The inverse of `to_json`."""
        return cls(**fields)

    @property
    def locator(self) -> str:
        """Where the bytes are, for messages: a path, or `archive!member`."""
        return f"{self.archive}!{self.path}" if self.archive else self.path


@dataclass(frozen=True, slots=True)
class TrackFacts:
    """What ingestion found out about a track that it ingested.

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
