"""Clips of ten seconds from the middle of tracks, as mp3 that any browser plays."""

import io
from dataclasses import dataclass, replace

import numpy as np

from transforms.audio.decoder_process import Limits, TrackProcess
from transforms.audio.mp3 import encode_mp3
from transforms.config import DatasetConfig
from transforms.dataset.ledger import IngestedTrack
from transforms.errors import TrackError
from transforms.records import decode_payload, deserialize, read_records
from transforms.tracks import Track

SECONDS = 10  # of a clip; a shorter track is taken whole
RATE, KILOBITS = 24_000, 48  # Hz and kb/s, mono: 60 kB a clip
NO_GENRES = (-1, ())
SECOND = DatasetConfig(
    features=("raw",),
    sample_rate=RATE,
    hop_length=RATE // 100,
    window_frames=100,
    window_hop_frames=100,
)
"""Windows of one second of sound."""


@dataclass(frozen=True)
class Clip:
    """A stretch of a track."""

    mp3: bytes
    start: int  # seconds from the track's beginning to the clip's


class ClipCutter:
    """A cutter of clips, in a process of its own that a damaged file may crash; close it in the end.

    Args:
      limits: for one track.
    """

    def __init__(self, limits: Limits):
        self._process = TrackProcess(SECOND, limits)

    def cut(self, track: Track, ingested: IngestedTrack) -> Clip:
        """Return the middle of a track, as it is located now, that was ingested with that length and checksum.

        Raises:
          TrackError: it cannot be decoded, or its file is another one than it was (missing_audio).
          FmaError: a disk or a network failed.
        """
        first = max(0, int(ingested.seconds - SECONDS) // 2)
        found: list[np.ndarray] = []

        def write(kind: str, framed: bytes, _: int) -> None:
            for record in map(deserialize, read_records(io.BytesIO(framed), track.path)):
                if first <= record.window < first + SECONDS:
                    found.append(decode_payload(kind, record.payload, SECOND))

        source = replace(track, crc32=ingested.crc32)
        _, crc32 = self._process.extract(source, NO_GENRES, write, restart=found.clear)
        if ingested.crc32 not in (None, crc32):
            raise TrackError("missing_audio", f"{track.locator}: another file than the one that was ingested")
        if not found:
            raise TrackError("too_short", f"{track.locator} ends before {first} s: another file than was ingested")
        samples = np.concatenate(found).astype(np.float32) / np.float32(32768)
        return Clip(encode_mp3(samples[:, None], RATE, KILOBITS), first)

    def close(self) -> None:
        """End the process."""
        self._process.close()
