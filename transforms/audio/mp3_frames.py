"""Frames of an mp3 file: what its first frame promises, and how much its bytes really hold.

An mp3 has no table of contents: its length is known from a Xing, Info or VBRI header in the first frame, where an
encoder wrote one, or by going from frame to frame. Sources: ISO/IEC 11172-3 and 13818-3 for frames, the LAME project's
"mp3 info tag" page for Xing and Info, and id3.org for the tags around them.
"""

import struct
from collections import Counter
from dataclasses import dataclass, field
from functools import lru_cache
from typing import BinaryIO

CHUNK = 1 << 20  # bytes read at once
LONGEST_FRAME = 1441  # bytes of layer III
LONGEST_GAP = 1000  # bytes between two frames; libmpg123 gives up after 1024 that are no frame

# kb/s by the header's four bits: MPEG-1 layers I, II and III, then MPEG-2 and 2.5 layer I, and layers II and III.
_BITRATES = (
    (0, 32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (0, 32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (0, 32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
)
_RATES = {3: (44_100, 48_000, 32_000), 2: (22_050, 24_000, 16_000), 0: (11_025, 12_000, 8000)}  # Hz by version bits


@dataclass(frozen=True, slots=True)
class Frame:
    """What a frame's header says."""

    length: int  # bytes, header included
    samples: int  # per channel
    rate: int  # Hz
    mono: bool
    layer: int  # 1, 2 or 3

    def continues(self, other: "Frame | None") -> bool:
        """Return whether the other one can be of the same stream."""
        return other is not None and (self.rate, self.layer) == (other.rate, other.layer)


@lru_cache(maxsize=4096)
def parse_header(header: bytes) -> Frame | None:
    """Return the frame that 4 bytes begin; None where they begin none, or one of free format."""
    if len(header) < 4 or header[0] != 0xFF or header[1] < 0xE0:
        return None
    version, layer = header[1] >> 3 & 3, 4 - (header[1] >> 1 & 3)
    bits, rate_bits, padding = header[2] >> 4, header[2] >> 2 & 3, header[2] >> 1 & 1
    if version == 1 or layer == 4 or bits in (0, 15) or rate_bits == 3:
        return None
    first = version == 3
    bitrate = 1000 * _BITRATES[layer - 1 if first else 3 if layer == 1 else 4][bits]
    rate, mono = _RATES[version][rate_bits], header[3] >> 6 == 3
    if layer == 1:
        return Frame(4 * (12 * bitrate // rate + padding), 384, rate, mono, layer)
    samples = 576 if layer == 3 and not first else 1152
    return Frame(samples // 8 * bitrate // rate + padding, samples, rate, mono, layer)


def after_id3(file: BinaryIO) -> int:
    """Return where the ID3v2 tags at a file's beginning end; a size is four bytes of 7 bits each."""
    end = 0
    while True:
        file.seek(end)
        head = file.read(10)
        if len(head) < 10 or not head.startswith(b"ID3"):
            return end
        size = 0
        for byte in head[6:]:
            size = size << 7 | byte & 0x7F
        end += 10 + size


@dataclass(frozen=True, slots=True)
class Promise:
    """What a Xing, Info or VBRI header says of its stream."""

    samples: int  # per channel, without what the encoder padded at both ends
    rate: int  # Hz
    bytes: int  # from the first frame's beginning; 0 where it does not say
    overhead: int  # samples that decode beyond these: the header's own frame and the padding

    @property
    def seconds(self) -> float:
        """Length of the music."""
        return self.samples / self.rate


def parse_promise(data: bytes) -> Promise | None:
    """Return what the first frame promises, of which `data` is the beginning; None where it holds music."""
    frame = parse_header(data[:4])
    if frame is None:
        return None
    if data[36:40] == b"VBRI" and len(data) >= 54:
        size, count = struct.unpack(">II", data[46:54])
        return Promise(count * frame.samples, frame.rate, size, frame.samples) if count else None
    at = max(data.find(name, 4, 48) for name in (b"Xing", b"Info"))
    if at < 0 or len(data) < at + 8:
        return None
    flags = int.from_bytes(data[at + 4 : at + 8], "big")
    at += 8
    values = [0, 0]  # frames, bytes
    for i in range(2):
        if flags >> i & 1:
            values[i] = int.from_bytes(data[at : at + 4], "big")
            at += 4
    count, size = values
    at += 100 * (flags >> 2 & 1) + 4 * (flags >> 3 & 1)
    padding = int.from_bytes(data[at + 21 : at + 24], "big") if data[at : at + 4].isalnum() else 0
    padding = (padding >> 12) + (padding & 0xFFF)
    samples = count * frame.samples - padding
    return Promise(samples, frame.rate, size, frame.samples + padding) if samples > 0 else None


@dataclass(slots=True)
class Walk:
    """What going from frame to frame found."""

    samples: Counter[tuple[int, bool]] = field(default_factory=Counter)  # by (rate, mono)
    longest_gap: int = 0  # bytes between two frames that belong to none

    @property
    def seconds(self) -> float:
        """Length of the whole frames."""
        return sum(count / rate for (rate, _), count in self.samples.items())


def walk_frames(file: BinaryIO, start: int) -> Walk:
    """Go from header to header to a file's end, or to a megabyte that holds no frame; shorter gaps are skipped.

    A frame after such a gap counts where another one of its kind follows it, as bytes of a picture look like a header.
    """
    walk, window = Walk(), _Window(file, start)
    counts, at, gap = walk.samples, start, 0
    while len(header := window.read(at, 4)) == 4:
        frame = parse_header(header)
        if frame is None or (gap and not frame.continues(parse_header(window.read(at + frame.length, 4)))):
            following = window.find_sync(at + 1)
            gap += following - at
            at = following
            if gap > CHUNK:
                break
            continue
        if not window.reaches(at + frame.length):
            break  # the last frame is cut
        walk.longest_gap = max(walk.longest_gap, gap) if counts else 0
        gap = 0
        counts[frame.rate, frame.mono] += frame.samples
        at += frame.length
    return walk


class _Window:
    """A file read forwards in chunks, by absolute positions that never go back by more than a frame."""

    def __init__(self, file: BinaryIO, start: int):
        self._file, self._start, self._data = file, start, b""
        self._size = file.seek(0, 2)

    def reaches(self, position: int) -> bool:
        return position <= self._size

    def read(self, at: int, count: int) -> bytes:
        offset = at - self._start
        if not 0 <= offset <= len(self._data) - count:
            self._file.seek(at)
            self._start, offset, self._data = at, 0, self._file.read(CHUNK)
        return self._data[offset : offset + count]

    def find_sync(self, at: int) -> int:
        """Return where the next byte of 255 lies; the file's end where there is none."""
        while self.read(at, 1):
            found = self._data.find(b"\xff", at - self._start)
            if found >= 0:
                return self._start + found
            at = self._start + len(self._data)
        return self._size
