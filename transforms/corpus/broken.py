"""Files that are broken in the ways that FMA's are, and what is expected to be said about each."""

from dataclasses import dataclass

from transforms.corpus.options import SHORT_SECONDS, generator

CUT_TO = 0.2  # of the bytes of a whole clip


@dataclass(frozen=True, slots=True)
class Kind:
    """One way to be broken.

    Attributes:
      name: how.
      track_id: the row that is broken so; all but the last two are ids whose audio is unusable in the real FMA too.
      reason: why ingest should refuse the track, a key of `transforms.errors.REASONS`.
      seconds: audio to make the file from; 0 for the whole clip, None where no audio is needed.
    """

    name: str
    track_id: int
    reason: str
    seconds: float | None = None


KINDS = (
    Kind("short", 98565, "truncated_audio", SHORT_SECONDS),
    Kind("cut", 98567, "truncated_audio", 0),
    Kind("random", 98569, "corrupt_audio"),
    Kind("tag_only", 99134, "empty_audio"),
    Kind("empty", 108925, "empty_audio"),
    Kind("text", 133297, "corrupt_audio"),
    Kind("git_lfs", 133298, "corrupt_audio"),
    Kind("absent", 133299, "missing_audio"),
)
BY_NAME = {kind.name: kind for kind in KINDS}


def broken_bytes(name: str, mp3: bytes, seed: int) -> bytes | None:
    """The bytes of a broken file, or None for no file.

    Args:
      name: of one of `KINDS`.
      mp3: an intact file of the kind's `seconds`; b"" where it needs none.
      seed: of the corpus.
    """
    contents = {
        "short": mp3,
        "cut": mp3[: int(len(mp3) * CUT_TO)],
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
    """An ID3v2.3 tag with a title and padding, and nothing behind it (id3.org, ID3v2.3.0, sections 3.1 and 4.2)."""
    text = b"\0" + b"A title without a song"  # the first byte: ISO-8859-1
    frames = b"TIT2" + len(text).to_bytes(4, "big") + b"\0\0" + text + bytes(64)
    size = bytes((len(frames) >> shift) & 0x7F for shift in (21, 14, 7, 0))
    return b"ID3\x03\0\0" + size + frames
