"""The track: what metadata knows about one song, where its bytes lie, and what ingestion found out about it."""

import hashlib
import re
from dataclasses import asdict, dataclass
from typing import Any

from transforms.taxonomy import alone

SPLITS = ("training", "validation", "test")
LABELLED = ("top", "genres", "none")
"""What is known of a track's genres: a genre_top, some genres without one above all of them, or none."""
LABELS = {"top": ("top",), "all": ("top", "genres")}
"""The tracks to train and score on, as `LABELLED` has them: one label each, or all genres of each."""
FLAGS = {
    "silent": "digital silence",
    "zeroed": "stretches of exact zeros inside, as lost frames leave them (zeroed_share in a track's ledger line)",
    "truncated": "the end is missing (seconds and declared_seconds in a track's ledger line)",
    "antiphase": "channels that cancel each other, so that the louder one was taken alone",
    "ffmpeg": "decoded by FFmpeg, since libsndfile does not read all of them",
}
"""What is counted of ingested tracks, and what it says of them; see `TrackFacts.flags`."""


def artist_key(artist: str) -> str:
    """Return a key that is equal for names that differ only in case and spacing; "" where there is no name."""
    return " ".join(artist.split()).casefold()


def is_number(track_id: str) -> bool:
    """Return whether a track's id is a number that stands in records as it is: 18 digits fit their int64."""
    return re.fullmatch("[0-9]{1,18}", track_id) is not None


def number_of(track_id: str) -> int:
    """Return the number that stands in records for a track's id: itself for up to 18 digits, a hash for other text.

    The hash has 62 bits of the text's sha256 below a bit that no number of 18 digits has, and fits an int64.
    """
    if is_number(track_id):
        return int(track_id)
    # A path may have bytes that are not UTF-8, as `os.fsdecode` puts them into text.
    digest = hashlib.sha256(f"track_id:{track_id}".encode(errors="surrogateescape")).digest()
    return 1 << 62 | int.from_bytes(digest[:8], "big") >> 2


@dataclass(frozen=True, slots=True)
class Track:
    """One song to ingest."""

    track_id: int  # FMA's id, or the number of the id in a plain csv (see `number_of`)
    genre: str  # the class name (FMA's `genre_top`), or "" where it has none
    split: str  # one of `SPLITS`, or "" before it has one
    path: str = ""  # a file's path or gs:// address, or a member's name where `archive` is set
    archive: str = ""  # path of the zip that holds the audio, or ""
    artist: str = ""  # artist name, or "" where unknown
    album: str = ""  # album title, or ""
    album_id: str = ""  # what tells albums of one title apart, or ""
    title: str = ""  # track title, or ""
    license: str = ""  # licence as the metadata states it, or ""
    subset: str = ""  # the smallest FMA subset that holds the track, or ""
    duration: float | None = None  # seconds of audio that the file should hold, or None where none are declared
    size: int | None = None  # bytes of the audio file when the run was planned, or None where it was not found
    id_text: str = ""  # the id as a plain csv has it, or "" where that is a number
    crc32: int | None = None  # of the audio file where it was known then (a zip's directory has it), or None
    genres: tuple[str, ...] = ()  # all of its genres with their ancestors, by name; left out: `genre` alone

    def __post_init__(self) -> None:
        object.__setattr__(self, "genres", tuple(self.genres) or alone(self.genre))

    def to_json(self) -> dict[str, Any]:
        """Return the fields that are set, ready for json.dumps; genres where there are more than `genre`."""
        fields = {key: value for key, value in asdict(self).items() if key == "genre" or value not in ("", None)}
        if self.genres == alone(self.genre):
            del fields["genres"]
        return fields

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> "Track":
        """Build it from what `to_json` returned."""
        return cls(**fields)

    @property
    def labelled(self) -> str:
        """What is known of its genres, one of `LABELLED`."""
        return "top" if self.genre else "genres" if self.genres else "none"

    @property
    def shown_id(self) -> int | str:
        """The id as the metadata has it, a number or a text, for people and for JSON."""
        return self.id_text or self.track_id

    @property
    def locator(self) -> str:
        """Where the bytes are, for messages: a path, or `archive!member`."""
        return f"{self.archive}!{self.path}" if self.archive else self.path


@dataclass(frozen=True, slots=True)
class TrackFacts:
    """What ingestion found out about a track."""

    seconds: float  # decoded length
    windows: int  # whole windows in it
    silent: bool  # whether it is digital silence
    audio_sha256: str  # of the decoded audio (mono int16 at the dataset's rate): equal for equal sound under any name
    # of the track, in stretches of exact zeros inside it (see `transforms.audio.decode`), 0 to 1
    zeroed_share: float = 0.0
    decoder: str = ""  # `sndfile` or `ffmpeg`, or "" where an older version did not note it
    declared_seconds: float | None = None  # length by the file's own header, or None where it states none
    truncated: bool = False  # whether the file's end is missing, or less was decoded than its header declares
    antiphase: bool = False  # whether its channels cancel each other, so that the louder one was decoded alone

    @property
    def flags(self) -> dict[str, bool]:
        """Which of `FLAGS` the track has: zeroed where it has stretches of zeros, ffmpeg where that decoded it."""
        found = (self.silent, self.zeroed_share > 0, self.truncated, self.antiphase, self.decoder == "ffmpeg")
        return dict(zip(FLAGS, found, strict=True))
