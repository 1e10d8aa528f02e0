"""What a file's headers say before it is decoded: its length, whether it is whole, and whether libsndfile reads it all.

libsndfile is the fastest decoder, but it takes the first length that it finds for the end: that of the first of several
mp3s or ogg streams in one file, or one that it guesses from an mp3's first frames. The checks read a few bytes of a
file, and more only where these leave it open.
"""

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import BinaryIO

from transforms.audio.mp3_frames import LONGEST_FRAME, LONGEST_GAP, after_id3, parse_header, parse_promise, walk_frames

SLACK = 0.1  # seconds that two counts of the same audio may differ by: encoders pad both ends
UNKNOWN_SIZE = 0x7FFF0000  # bytes. Programs that cannot go back to the header write such numbers, or 0
SNDFILE_WAV = {1, 2, 3, 6, 7, 0x11, 0xFFFE}  # wav codecs that libsndfile reads: PCM, float, ADPCM, A-law, mu-law
TAGS = 1 << 16  # bytes behind the music that may be something else
OGG_PAGE = struct.Struct("<4sBBqIIIB")  # RFC 3533, section 6
ASF_HEADER = bytes.fromhex("3026b275")
ASF_PROPERTIES = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")
BEGINS, ENDS = 2, 4  # flags of an ogg page


@dataclass(frozen=True, slots=True)
class Contents:
    """What a file's headers say; the defaults are for formats of which nothing is checked."""

    sndfile: bool = True  # whether libsndfile can be expected to read all of it
    declared_seconds: float | None = None  # length by the header, where it has one
    held_seconds: float = 0.0  # length of what is there at least
    announced: float = 1.0  # bytes of audio that the header announces, for each one that is there
    cut_off: bool = False  # whether the end is missing
    parts: tuple[range, ...] = ()  # the bytes of each of several files in one; () for a single one
    ignore_length: bool = False  # whether a wav's header is wrong about its length
    ends_with_file: bool = False  # whether much that lies behind what was decoded must be music, too


def examine(file: BinaryIO) -> Contents:
    """Read a file's headers; the file is at its beginning afterwards."""
    start = after_id3(file)
    size = file.seek(0, 2)
    file.seek(start)
    head = file.read(12)
    check = _examine_mp4 if head[4:8] == b"ftyp" else _CHECKS.get(head[:4])
    if check is None:
        check = _examine_mp3 if parse_header(head[:4]) else _examine_other
    try:
        return check(file, start, size)
    finally:
        file.seek(0)


def _examine_other(file: BinaryIO, start: int, size: int) -> Contents:
    return Contents()


def _examine_mp3(file: BinaryIO, start: int, size: int) -> Contents:
    file.seek(start)
    promise = parse_promise(file.read(256))
    declared = promise.seconds if promise else None
    if promise and promise.bytes:
        rest = size - start - promise.bytes
        if rest == 0 or (rest == 128 and _read(file, size - 128, 3) == b"TAG"):
            return Contents(declared_seconds=promise.seconds, held_seconds=promise.seconds)
    walk = walk_frames(file, start)
    held = walk.seconds - (promise.overhead / promise.rate if promise else 0)
    return Contents(
        sndfile=len(walk.samples) == 1 and walk.longest_gap <= LONGEST_GAP,
        declared_seconds=declared,
        held_seconds=max(0.0, held),
        cut_off=promise is not None and promise.bytes > size - start + LONGEST_FRAME,
    )


def _examine_flac(file: BinaryIO, start: int, size: int) -> Contents:
    """Read STREAMINFO (RFC 9639, section 8.2): 20 bits of sample rate, 8 of format, 36 of length."""
    facts = int.from_bytes(_read(file, start + 18, 8), "big")
    rate, samples = facts >> 44, facts & ((1 << 36) - 1)
    return Contents(declared_seconds=samples / rate if rate and samples else None, ends_with_file=True)


def _examine_ogg(file: BinaryIO, start: int, size: int) -> Contents:
    """Find the streams that follow each other in one file, and whether the last one has its last page."""
    links: list[int] = []
    headers, flags, end = False, 0, start
    for position, flags, end in _ogg_pages(file, start, size):  # noqa: B007 - those of the last page count
        if flags & BEGINS and not headers:
            links.append(position)
        headers = bool(flags & BEGINS)
    parts = _parts(links, size)
    return Contents(not parts, cut_off=not flags & ENDS or end > size, parts=parts)


def _ogg_pages(file: BinaryIO, at: int, size: int) -> Iterator[tuple[int, int, int]]:
    """Yield (position, flags, end) of each page; bytes between two pages are skipped."""
    while at < size:
        page = _read(file, at, OGG_PAGE.size + 255)
        if not page.startswith(b"OggS") or len(page) < OGG_PAGE.size:
            found = page.find(b"OggS", 1)
            at += found if found > 0 else max(1, len(page) - 3)
            continue
        flags, segments = page[5], page[26]
        end = at + OGG_PAGE.size + segments + sum(page[OGG_PAGE.size :][:segments])
        yield at, flags, end
        at = end


def _examine_wav(file: BinaryIO, start: int, size: int) -> Contents:
    """Compare the size of a wav's data with what is there."""
    announced = int.from_bytes(_read(file, start + 4, 4), "little")
    codec, large = 1, 0
    for name, at, length in _chunks(file, start + 12, "<I"):
        if name == b"ds64":
            large = int.from_bytes(_read(file, at + 8, 8), "little")
        elif name == b"fmt ":
            codec = int.from_bytes(_read(file, at, 2), "little")
        elif name == b"data":
            if not length and start + 8 + announced != size:
                length = UNKNOWN_SIZE  # noqa: PLW2901
            return _wav_data(file, range(start, size), range(at, at + (large or length)), codec)
    return Contents()


def _wav_data(file: BinaryIO, whole: range, data: range, codec: int) -> Contents:
    start, size = whole.start, whole.stop
    there = size - data.start
    sndfile = codec in SNDFILE_WAV
    if len(data) >= max(there + 1, UNKNOWN_SIZE):
        return Contents(sndfile=False)
    if len(data) > there:
        return Contents(sndfile, announced=len(data) / max(1, there), cut_off=True)
    end = data.stop + len(data) % 2
    following = _read(file, end, 4)
    if following in (b"RIFF", b"RF64"):
        return Contents(
            sndfile=False, parts=(range(start, end), *(_examine_wav(file, end, size).parts or [range(end, size)]))
        )
    named = following.startswith(b"ID3") or (following.isascii() and following.decode().isprintable())
    # The recorder stopped before it wrote the final size, or that has more than the header's 32 bits.
    more = size - end > TAGS and not named
    return Contents(sndfile and not more, ignore_length=more)


def _examine_aiff(file: BinaryIO, start: int, size: int) -> Contents:
    for name, at, length in _chunks(file, start + 12, ">I"):
        if name == b"SSND" and at + length > size and length < UNKNOWN_SIZE:
            return Contents(announced=length / max(1, size - at), cut_off=True)
    return Contents()


def _examine_au(file: BinaryIO, start: int, size: int) -> Contents:
    data, length = struct.unpack(">II", _read(file, start + 4, 8).rjust(8, b"\0"))
    if 0 < length < UNKNOWN_SIZE and size < start + data + length:
        return Contents(announced=length / max(1, size - start - data), cut_off=True)
    return Contents()


def _examine_mp4(file: BinaryIO, start: int, size: int) -> Contents:
    """Go through the boxes of the file (ISO/IEC 14496-12, section 4.2); a second `ftyp` begins another file."""
    links, at, cut_off = [], start, False
    while len(head := _read(file, at, 16)) >= 8:
        length = int.from_bytes(head[:4], "big")
        if head[4:8] == b"ftyp":
            links.append(at)
        if length == 1:
            length = int.from_bytes(head[8:], "big")
        at = at + length if length >= 8 else size
        cut_off = at > size and head[4:8] in (b"mdat", b"moov")
    return Contents(sndfile=False, cut_off=cut_off, parts=_parts(links, size))


def _examine_asf(file: BinaryIO, start: int, size: int) -> Contents:
    """Read the File Properties Object (Advanced Systems Format, section 3.2): bytes and length of the file."""
    head = _read(file, start, TAGS)
    at = head.find(ASF_PROPERTIES)
    if at < 0 or len(head) < at + 92:
        return Contents(sndfile=False)
    length, _, _, duration, _, preroll, flags = struct.unpack("<QQQQQQI", head[at + 40 : at + 92])
    if flags & 1:  # broadcast: none of these is valid
        return Contents(sndfile=False)
    following = start + length
    others = _read(file, following, 4) == ASF_HEADER
    parts = (range(start, following), range(following, size)) if others else ()
    return Contents(False, max(0.0, duration / 1e7 - preroll / 1e3), cut_off=following > size, parts=parts)


def _parts(links: list[int], size: int) -> tuple[range, ...]:
    """Return the bytes of each of several files in one, which begin at `links`; () for a single one."""
    return tuple(range(*pair) for pair in zip(links, [*links[1:], size], strict=True)) if len(links) > 1 else ()


def _chunks(file: BinaryIO, at: int, order: str) -> Iterator[tuple[bytes, int, int]]:
    """Yield (name, position of the content, its bytes) of each chunk of a RIFF or IFF file."""
    while len(head := _read(file, at, 8)) == 8:
        (length,) = struct.unpack(order, head[4:])
        yield head[:4], at + 8, length
        at += 8 + length + length % 2


def _read(file: BinaryIO, at: int, count: int) -> bytes:
    file.seek(at)
    return file.read(count)


_CHECKS: dict[bytes, Callable[[BinaryIO, int, int], Contents]] = {
    ASF_HEADER: _examine_asf,
    b"OggS": _examine_ogg,
    b"fLaC": _examine_flac,
    b"RIFF": _examine_wav,
    b"RF64": _examine_wav,
    b"BW64": _examine_wav,
    b"FORM": _examine_aiff,
    b".snd": _examine_au,
}
