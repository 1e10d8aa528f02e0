"""Decoding: from a file's bytes to a stream of mono samples at the dataset's rate."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np
import soundfile
import soxr

from transforms.errors import TrackError
from transforms.runtime.console import human_seconds

SHORTEST_SECONDS = 0.02
"""Shorter stretches of zeros do not count: a frame of mp3 has 24 ms or more, and a zero crossing may hit zero."""

BLOCK_VALUES = 1 << 19
"""Samples times channels read at once: a block stays in the caches of a core while it is processed."""

PIECE = 1 << 16  # samples that are resampled at once: soxr copies its input, which is fastest within a core's own cache
TRUNCATED_BELOW = 0.9  # a track that decodes to less than this share of its declared length counts as truncated
HIGHEST_RATE = 1_000_000  # Hz. A header with more is damaged: the song would seem to last no time, and be too short
FLOAT32_MAX = float(np.finfo(np.float32).max)
UNKNOWN_FRAMES = 1 << 62  # libsndfile's length of a file whose header declares none: no file has as many
SILENCE = 1 / 32768  # a track whose peak stays below this, one step of 16-bit audio, counts as digital silence


class DropoutDetector:
    """A counter of samples in stretches of exact zeros inside a track, as lost frames leave them.

    Attributes:
      samples: counted so far; a stretch counts once the sound after it has begun.
    """

    def __init__(self, sample_rate: int):
        self.samples = 0
        self._shortest = max(2, round(SHORTEST_SECONDS * sample_rate))
        self._heard = False
        self._open = 0  # length of the stretch that the last block ended in

    def push(self, block: np.ndarray) -> None:
        """Add the next block of the signal, [n] with n > 0; the count does not depend on how it is cut."""
        lengths = self._ended_in(block)
        self.samples += int(lengths[lengths >= self._shortest].sum())

    def _ended_in(self, block: np.ndarray) -> np.ndarray:
        """Return the lengths of the stretches that end in the block; short ones inside it may be left out."""
        lengths = np.array([self._open])
        if not self._heard:
            sounds = block != 0
            self._heard = bool(sounds.any())
            block = block[sounds.argmax() :] if self._heard else block[:0]
        # A stretch that counts covers one of these samples, or an end of the block.
        if not len(block) or (block[0] and block[-1] and block[:: self._shortest].all()):
            self._open = 0
            return lengths
        zero = block == 0
        edges = np.flatnonzero(np.diff(zero, prepend=False, append=False))
        lengths = np.concatenate((lengths, edges[1::2] - edges[::2]))
        if zero[0]:  # the open stretch goes on
            lengths[1] += lengths[0]
            lengths[0] = 0
        self._open = int(lengths[-1]) if zero[-1] else 0
        return lengths[:-1] if zero[-1] else lengths


@dataclass(slots=True)
class AudioFacts:
    """What decoding finds out about a track; complete when its blocks have been read."""

    sample_rate: int = 0  # Hz, of the file
    channels: int = 0  # of the file
    frames: int = 0  # decoded, at the file's rate
    declared_frames: int = 0  # what the file's own header promises
    peak: float = 0.0  # largest absolute sample after mixing to mono
    zeroed: int = 0  # samples in stretches of exact zeros inside the track, as lost frames leave them

    @property
    def seconds(self) -> float:
        """Decoded length."""
        return self.frames / self.sample_rate if self.sample_rate else 0.0

    @property
    def silent(self) -> bool:
        """Whether the track is digital silence."""
        return self.peak < SILENCE

    @property
    def zeroed_share(self) -> float:
        """Share of the track that is zeroed, 0 to 1."""
        return self.zeroed / self.frames if self.frames else 0.0


def read_mono(file: BinaryIO, facts: AudioFacts) -> Iterator[np.ndarray]:
    """Decode a file and mix it to mono.

    Args:
      file: seekable, in any format that libsndfile reads.
      facts: filled in while the blocks are read.

    Yields:
      float32 [n] at the file's own sample rate.

    Raises:
      TrackError: empty_audio or corrupt_audio.
    """
    with _open(file) as sound:
        facts.sample_rate, facts.channels = sound.samplerate, sound.channels
        if sound.samplerate > HIGHEST_RATE:
            raise TrackError("corrupt_audio", f"its header says {sound.samplerate:,} samples a second")
        facts.declared_frames = sound.frames
        block_frames = max(1, BLOCK_VALUES // sound.channels)
        stretches = DropoutDetector(sound.samplerate)
        while True:
            block = _read(sound, block_frames)
            if len(block):
                mono = mix_to_mono(block)
                facts.peak = max(facts.peak, find_peak(mono, facts))
                facts.frames += len(mono)
                stretches.push(mono)
                facts.zeroed = stretches.samples
                yield mono
            if len(block) < block_frames:
                break
    if not facts.frames:
        raise TrackError("empty_audio", "the file decodes to no samples")


def mix_to_mono(block: np.ndarray) -> np.ndarray:
    """Return the mean of the channels: float32 [n, channels] to float32 [n]."""
    channels = block.shape[1]
    if channels == 1:
        return block[:, 0]
    if channels == 2:  # the sum of two columns is 30 times as fast as np.mean over an axis of length 2
        mono = block[:, 0] + block[:, 1]
        mono *= np.float32(0.5)
        return mono
    return block.mean(axis=1, dtype=np.float32)


def resample(blocks: Iterator[np.ndarray], facts: AudioFacts, sample_rate: int, quality: str) -> Iterator[np.ndarray]:
    """Resample a stream; the result does not depend on how it is cut into blocks.

    Args:
      blocks: mono float32 [n] at facts.sample_rate, which is known once the first block is there.
      sample_rate: of the result, in Hz.
      quality: one of soxr's names.

    Yields:
      float32 [m] at `sample_rate`.
    """
    stream = None
    for block in blocks:
        if facts.sample_rate == sample_rate:
            yield block
            continue
        if stream is None:
            stream = soxr.ResampleStream(facts.sample_rate, sample_rate, 1, dtype="float32", quality=quality)
        for start in range(0, len(block), PIECE):
            yield stream.resample_chunk(block[start : start + PIECE])
    if stream is not None:
        yield stream.resample_chunk(np.empty(0, np.float32), last=True)


def check_length(facts: AudioFacts, declared_seconds: float | None) -> None:
    """Raise TrackError truncated_audio where much less was decoded than the metadata, or else the header, declares."""
    declared = declared_seconds or facts.declared_frames / facts.sample_rate
    if facts.seconds < TRUNCATED_BELOW * declared:
        raise TrackError("truncated_audio", f"{facts.seconds:.1f} s decoded where {declared:.1f} s are declared")


def check_longest(facts: AudioFacts, longest: float | None) -> None:
    """Raise TrackError too_long where the header declares more seconds, or more were decoded; None allows any."""
    if longest is None:
        return
    declared = facts.declared_frames if facts.declared_frames < UNKNOWN_FRAMES else 0
    seconds = max(declared, facts.frames) / facts.sample_rate
    if seconds > longest:
        raise TrackError("too_long", f"{human_seconds(seconds)} or more, and the limit is {human_seconds(longest)}")


class _Stream(soundfile.SoundFile):
    """A sound file that is read once, from its beginning to its end."""

    def seekable(self) -> bool:
        """Return False: else soundfile seeks to its own position after each read, libmpg123 decodes some frames again
        and rounds what follows differently, and samples depend on the size of the blocks."""
        return False


def _open(file: BinaryIO) -> soundfile.SoundFile:
    try:
        return _Stream(file)
    except soundfile.LibsndfileError as error:
        raise _not_audio(file, error) from error


def _read(sound: soundfile.SoundFile, frames: int) -> np.ndarray:
    try:
        return sound.read(frames, dtype="float32", always_2d=True)
    except soundfile.LibsndfileError as error:
        raise TrackError("corrupt_audio", f"the decoder gives up: {error.error_string}") from error


def find_peak(mono: np.ndarray, facts: AudioFacts) -> float:
    """Return the largest absolute sample of float32 [n].

    Raises:
      TrackError: corrupt_audio, where a sample is infinite, not a number, or so large that its power is infinite.
    """
    peak = max(float(mono.max()), -float(mono.min()))
    if not peak * peak * len(mono) < FLOAT32_MAX:  # also true where the peak is not a number
        raise TrackError("corrupt_audio", f"a sample after {facts.seconds:.1f} s is infinite or not a number")
    return peak


def _not_audio(file: BinaryIO, error: soundfile.LibsndfileError) -> TrackError:
    """Return the error for a file that libsndfile does not recognise, which says what it is."""
    file.seek(0)
    head = file.read(1 << 16)
    if not head:
        return TrackError("empty_audio", "the file has 0 bytes")
    if head.startswith(b"version https://git-lfs"):
        return TrackError("corrupt_audio", "a git-lfs pointer, not the file itself: run git lfs pull")
    if head.startswith(b"ID3") and len(head) >= 10 and _after_id3(file, head) == 0:
        return TrackError("empty_audio", "an ID3 tag without audio behind it")
    return TrackError("corrupt_audio", f"not audio that libsndfile reads: {error.error_string}")


def _after_id3(file: BinaryIO, head: bytes) -> int:
    """Return the bytes after an ID3v2 tag, whose size is four bytes of 7 bits each (id3.org, ID3v2.3, section 3.1)."""
    size = 0
    for byte in head[6:10]:
        size = size << 7 | byte & 0x7F
    return max(0, file.seek(0, 2) - 10 - size)
