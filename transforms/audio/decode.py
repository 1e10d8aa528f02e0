"""Decoding: from a file's bytes to a stream of mono samples at the dataset's rate.

libsndfile decodes what it reads to the end, FFmpeg everything else.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING, BinaryIO

import numpy as np
import soxr

from transforms.audio.contents import SLACK, Contents, examine
from transforms.audio.dropouts import DropoutDetector
from transforms.audio.mp3_frames import after_id3
from transforms.audio.sndfile import GaveUpError, SndfileReading
from transforms.errors import CONVERT, TrackError
from transforms.runtime.console import human_seconds

if TYPE_CHECKING:
    from transforms.audio.ffmpeg import FfmpegReading

BLOCK_VALUES = 1 << 19
"""Samples times channels read at once: a block stays in the caches of a core while it is processed."""

PIECE = 1 << 16  # samples that are resampled at once: soxr copies its input, which is fastest within a core's own cache
TRUNCATED_BELOW = 0.9  # a track that decodes to less than this share of its declared length counts as truncated
HIGHEST_RATE = 1_000_000  # Hz. A header with more is damaged: the song would seem to last no time, and be too short
FLOAT32_MAX = float(np.finfo(np.float32).max)
ANTIPHASE = 0.01  # power of the mean of the channels, as a share of the louder one's, up to which they cancel: -20 dB
SILENCE = 1 / 32768  # a track whose peak stays below this, one step of 16-bit audio, counts as digital silence
GIT_LFS = b"version https://git-lfs"
MOST_CHANNELS = 1024  # libsndfile and FFmpeg have fewer


@dataclass(slots=True)
class AudioFacts:
    """What decoding finds out about a track; complete when its blocks have been read.

    What the file declares is known with the first one.
    """

    sample_rate: int = 0  # Hz, of the file's first samples
    channels: int = 0  # of them
    frames: int = 0  # decoded, at that rate
    decoder: str = ""  # `sndfile` or `ffmpeg`
    declared_seconds: float | None = None  # length by the file's own header, where it has one: never a guess
    truncated: bool = False  # whether the file's end is missing, or less was decoded than its header declares
    antiphase: bool = False  # whether the channels cancel each other, so that the louder one was decoded alone
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


@dataclass(frozen=True, slots=True)
class Way:
    """How to decode a file."""

    sndfile: bool = True  # whether libsndfile may do it
    channel: int | None = None  # the one to decode alone; None for the mean of all


class StartOverError(Exception):
    """A file has to be read again, in another way: what was read of it does not count."""

    def __init__(self, way: Way):
        super().__init__(way)
        self.way = way


def read_mono(file: BinaryIO, facts: AudioFacts, way: Way = Way()) -> Iterator[np.ndarray]:
    """Decode a file and mix it to mono.

    Args:
      file: seekable, in any format that libsndfile or FFmpeg reads.
      facts: filled in while the blocks are read.
      way: the default, or that of a `StartOverError`.

    Yields:
      float32 [n] at the sample rate of the file's first samples.

    Raises:
      TrackError: empty_audio or corrupt_audio.
      StartOverError: see there.
    """
    contents = examine(file)
    reading = _open(file, contents, way)
    facts.decoder = reading.decoder
    mixer = _Mixer(way.channel)
    stretches = None
    try:
        for mono in _at_one_rate(mixer, _watched(reading, facts)):
            stretches = stretches or DropoutDetector(facts.sample_rate)
            facts.peak = max(facts.peak, find_peak(mono, facts))
            facts.frames += len(mono)
            stretches.push(mono)
            facts.zeroed = stretches.samples
            yield mono
    except GaveUpError:
        raise StartOverError(Way(sndfile=False, channel=way.channel)) from None
    if not facts.frames:
        raise TrackError("empty_audio", "the file decodes to no samples: get it again")
    if mixer.may_cancel:
        channel = _find_channel(_open(file, contents, way))
        if channel is not None:
            raise StartOverError(Way(way.sndfile, channel))
    facts.antiphase = way.channel is not None
    facts.truncated = reading.cut_off or facts.seconds < (facts.declared_seconds or 0.0) - 2 * SLACK


def read_channels(file: BinaryIO, seconds: float) -> tuple[np.ndarray, int]:
    """Decode the first seconds of a file, with all of its channels.

    It ends where the sample rate or the number of channels changes, as it may where files were joined.

    Returns:
      float32 [n, channels], and their rate in Hz.

    Raises:
      TrackError: empty_audio or corrupt_audio.
    """
    contents = examine(file)
    try:
        return _read_start(_open(file, contents, Way()), seconds)
    except GaveUpError:
        return _read_start(_open(file, contents, Way(sndfile=False)), seconds)


def _read_start(reading: "SndfileReading | FfmpegReading", seconds: float) -> tuple[np.ndarray, int]:
    kept: list[np.ndarray] = []
    count, form = 0, (0, 0)
    for block, rate in reading.blocks(BLOCK_VALUES):
        form = form if kept else (rate, block.shape[1])
        if (rate, block.shape[1]) != form or count >= seconds * rate:
            break
        kept.append(block)
        count += len(block)
    if not count:
        raise TrackError("empty_audio", "the file decodes to no samples: get it again")
    return np.concatenate(kept)[: int(seconds * form[0])], form[0]


def _open(file: BinaryIO, contents: Contents, way: Way) -> "SndfileReading | FfmpegReading":
    file.seek(0)
    if way.sndfile:
        try:
            return SndfileReading(file, contents)
        except GaveUpError:
            _refuse_no_audio(file)
            file.seek(0)
    from transforms.audio.ffmpeg import FfmpegReading

    return FfmpegReading(file, contents)


def _watched(reading: "SndfileReading | FfmpegReading", facts: AudioFacts) -> Iterator[tuple[np.ndarray, int]]:
    """Read blocks and their rate; the first one's facts are noted."""
    for block, rate in reading.blocks(BLOCK_VALUES):
        if not facts.sample_rate:
            facts.sample_rate, facts.channels = rate, block.shape[1]
            facts.declared_seconds = reading.declared_seconds
        if rate > HIGHEST_RATE:
            raise TrackError("corrupt_audio", f"its header says {rate:,} samples a second: get the file again")
        yield block, rate


def _at_one_rate(mixer: "_Mixer", blocks: Iterator[tuple[np.ndarray, int]]) -> Iterator[np.ndarray]:
    """Mix blocks to mono, at the rate of the first one: it may change where files were joined."""
    first = 0
    for rate, group in groupby(blocks, key=itemgetter(1)):
        first = first or rate
        pieces = resample((mixer(block) for block, _ in group), AudioFacts(sample_rate=rate), first, "HQ")
        yield from (piece for piece in pieces if len(piece))


class _Mixer:
    """Mixes blocks to mono, and compares the power of the mean with that of the channels."""

    def __init__(self, channel: int | None):
        self._channel = channel
        self._mean = self._all = 0.0  # sums of squares

    def __call__(self, block: np.ndarray) -> np.ndarray:
        """Return float32 [n] for float32 [n, channels]."""
        channels = block.shape[1]
        if self._channel is not None:
            return np.ascontiguousarray(block[:, min(self._channel, channels - 1)])
        mono = mix_to_mono(block)
        if channels > 1:
            self._mean += float(np.dot(mono, mono))
            self._all += float(np.vdot(block, block))
        return mono

    @property
    def may_cancel(self) -> bool:
        """Whether the mean is 20 dB below all channels together: only then can it be that far below one of them."""
        return self._mean < ANTIPHASE * self._all


def _find_channel(reading: "SndfileReading | FfmpegReading") -> int | None:
    """Return the loudest channel if the mean of all is 20 dB below it and it is no silence; else None."""
    powers = np.zeros(MOST_CHANNELS)
    peaks = np.zeros(MOST_CHANNELS)
    mean = 0.0
    for block, _ in reading.blocks(BLOCK_VALUES):
        values, channels = block.astype(np.float64), block.shape[1]
        mean += float((values.mean(axis=1) ** 2).sum())
        powers[:channels] += (values**2).sum(axis=0)
        peaks[:channels] = np.maximum(peaks[:channels], np.abs(values).max(axis=0))
    loudest = int(powers.argmax())
    return loudest if mean <= ANTIPHASE * powers[loudest] and peaks[loudest] >= SILENCE else None


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
    declared = declared_seconds or facts.declared_seconds or 0.0
    if facts.seconds < TRUNCATED_BELOW * declared:
        remedy = "correct the length in the metadata" if declared_seconds else f"to take what there is, {CONVERT}"
        found = f"{facts.seconds:.1f} s decoded where {declared:.1f} s are declared"
        raise TrackError("truncated_audio", f"{found}: get the whole file, or {remedy}")


def check_longest(facts: AudioFacts, longest: float | None) -> None:
    """Raise TrackError too_long where the header declares more seconds, or more were decoded; None allows any."""
    seconds = max(facts.declared_seconds or 0.0, facts.seconds)
    if longest is not None and seconds > longest:
        raise TrackError("too_long", f"{human_seconds(seconds)} or more, and the limit is {human_seconds(longest)}")


def find_peak(mono: np.ndarray, facts: AudioFacts) -> float:
    """Return the largest absolute sample of float32 [n].

    Raises:
      TrackError: corrupt_audio, where a sample is infinite, not a number, or so large that its power is infinite.
    """
    peak = max(float(mono.max()), -float(mono.min()))
    if not peak * peak * len(mono) < FLOAT32_MAX:  # also true where the peak is not a number
        raise TrackError(
            "corrupt_audio", f"a sample after {facts.seconds:.1f} s is infinite or not a number: get the file again"
        )
    return peak


def _refuse_no_audio(file: BinaryIO) -> None:
    """Raise TrackError with the reason for files that are known to hold no audio."""
    size = file.seek(0, 2)
    tags = after_id3(file)
    file.seek(0)
    if not size:
        raise TrackError("empty_audio", "the file has 0 bytes: get it again")
    if file.read(len(GIT_LFS)) == GIT_LFS:
        raise TrackError("corrupt_audio", "a git-lfs pointer, not the file itself: run git lfs pull")
    if tags >= size:
        raise TrackError("empty_audio", "an ID3 tag without audio behind it: get the file again")
