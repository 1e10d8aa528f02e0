"""The first decoder, libsndfile by soundfile: the fastest one for mp3, ogg, flac, wav and their like."""

import io
from collections.abc import Iterator
from typing import BinaryIO

import numpy as np
import soundfile

from transforms.audio.contents import SLACK, TAGS, Contents

GUESSING = ("MP3", "FLAC")
"""Formats whose number of samples libsndfile may guess; `transforms.audio.contents` has read what they declare."""


class GaveUpError(Exception):
    """This decoder does not read the file, or not to its end."""


class SndfileReading:
    """A file that libsndfile decodes once; attributes as those of `transforms.audio.ffmpeg.FfmpegReading`.

    Raises:
      GaveUpError: libsndfile does not open the file, or would not read all of it.
    """

    decoder = "sndfile"

    def __init__(self, file: BinaryIO, contents: Contents):
        if not contents.sndfile:
            raise GaveUpError("its headers say that libsndfile would miss a part")
        try:
            self._sound = _Stream(file)
        except soundfile.LibsndfileError as error:
            raise GaveUpError(error.error_string) from error
        self._file, self._contents = file, contents
        self.declared_seconds = contents.declared_seconds
        self.cut_off = contents.cut_off
        seconds = self._sound.frames / self._sound.samplerate
        if self._sound.format not in GUESSING:
            self.declared_seconds = seconds * contents.announced
        if seconds < contents.held_seconds - SLACK:
            self._sound.close()
            raise GaveUpError(f"libsndfile expects it to end after {seconds:.1f} s")

    def blocks(self, values: int) -> Iterator[tuple[np.ndarray, int]]:
        """Yield float32 [n, channels] of `values` numbers, and their rate in Hz.

        Raises:
          GaveUpError: the file goes on, but libsndfile does not.
        """
        total, wanted = 0, max(1, values // self._sound.channels)
        with self._sound as sound:
            read = wanted
            while read == wanted:
                try:
                    block = sound.read(wanted, dtype="float32", always_2d=True)
                except soundfile.LibsndfileError as error:
                    raise GaveUpError(error.error_string) from error
                read = len(block)
                total += read
                if read:
                    yield block, sound.samplerate
            behind = -self._file.tell() + self._file.seek(0, io.SEEK_END) if self._contents.ends_with_file else 0
            if behind > TAGS or total / sound.samplerate < self._contents.held_seconds - SLACK:
                raise GaveUpError(f"libsndfile ends after {total / sound.samplerate:.1f} s")


class _Stream(soundfile.SoundFile):
    """A sound file that is read once, from its beginning to its end."""

    def seekable(self) -> bool:
        """Return False: else soundfile seeks to its own position after each read, libmpg123 decodes some frames again
        and rounds what follows differently, and samples depend on the size of the blocks."""
        return False
