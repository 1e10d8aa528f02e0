"""Clips of a dataset's songs for the page: of training tracks that are similar to a song, and of one to try."""

import threading
from collections.abc import Sequence
from functools import lru_cache

from transforms.audio.clips import SECONDS, ClipCutter
from transforms.audio.decoder_process import Limits
from transforms.catalog.locate import locate_again
from transforms.dataset.ledger import IngestedTrack, read_tracks
from transforms.dataset.manifest import load
from transforms.runtime import console
from transforms.tracks import Track

KEPT = 100  # clips in memory, 60 kB each
OFFERED = ("training", "test")
"""Splits of the tracks that are played: those that songs are compared with, and those that an example is taken from."""


class Clips:
    """Cuts clips when they are asked for, one at a time; may be called from several threads.

    Args:
      tracks: of the dataset, as they are located now and as they were ingested.
      limits: for one song.
    """

    def __init__(self, tracks: Sequence[tuple[Track, IngestedTrack]], limits: Limits):
        self._tracks = {str(track.shown_id): (track, ingested) for track, ingested in tracks}
        self._cutter, self._turn = ClipCutter(limits), threading.Lock()
        self._cached = lru_cache(KEPT)(self._cut)

    def example(self, least_seconds: float) -> Track | None:
        """Return the test track with the lowest id that is there and long enough; None where there is none."""
        least = min(least_seconds, SECONDS + 1)
        found = [
            track
            for track, ingested in self._tracks.values()
            if track.split == "test" and track.size is not None and ingested.seconds >= least and least <= SECONDS
        ]
        return min(found, key=lambda track: track.track_id, default=None)

    def mp3(self, shown_id: str) -> bytes:
        """Return the clip of a track, by its id as the metadata has it.

        Raises:
          KeyError: there is no such track.
          TrackError: it cannot be decoded.
          FmaError: a disk or a network failed.
        """
        if shown_id not in self._tracks:
            raise KeyError(shown_id)
        return self._cached(shown_id)

    def _cut(self, shown_id: str) -> bytes:
        with self._turn:
            return self._cutter.cut(*self._tracks[shown_id]).mp3

    def close(self) -> None:
        """End the decoder."""
        self._cutter.close()


def open_clips(dataset: str, audio: str, limits: Limits) -> Clips:
    """Find the audio of a dataset's songs in a folder or a zip.

    Raises:
      UsageError: it holds none of them; see `locate_again`.
      FmaError: a ledger is damaged.
    """
    every = list(read_tracks(dataset, load(dataset)))
    located = locate_again(list[Track](every), audio)
    pairs = [pair for pair in zip(located, every, strict=True) if pair[1].split in OFFERED]
    missing = sum(track.size is None for track, _ in pairs)
    if missing:
        console.log(f"note: {console.counted(missing, 'track')} of the dataset without audio in {audio}: no players")
    return Clips(pairs, limits)
