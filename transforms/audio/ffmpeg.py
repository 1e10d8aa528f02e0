"""The second decoder, FFmpeg by PyAV: for what libsndfile does not read, or not to its end.

FFmpeg gets bytes that are already there, and opens only the formats and codecs that are listed here: none that names
another file or address, and no pictures, video or subtitles.
"""

import io
from collections.abc import Iterator
from typing import IO, Any, BinaryIO

import av
import numpy as np

from transforms.audio.contents import Contents
from transforms.errors import CONVERT, TrackError

FORMATS = "aac ac3 aiff amr ape asf au caf dsf eac3 flac matroska mov mp3 mpc mpc8 ogg tta w64 wav wv"
CODECS = (
    "aac ac3 adpcm_ima_qt adpcm_ima_wav adpcm_ms alac amrnb amrwb ape dsd_lsbf dsd_lsbf_planar dsd_msbf "
    "dsd_msbf_planar eac3 flac libopus mp1float mp2float mp3 mp3float mpc7 mpc8 opus pcm_alaw pcm_f32be pcm_f32le "
    "pcm_f64be pcm_f64le pcm_mulaw pcm_s16be pcm_s16le pcm_s24be pcm_s24le pcm_s32be pcm_s32le pcm_s8 pcm_u8 tta "
    "vorbis wavpack wmalossless wmapro wmav1 wmav2 wmavoice"
)
DECLARING = {"aiff", "ape", "caf", "dsf", "matroska", "mov", "mpc8", "tta", "wv"}
"""Formats whose header states the length. For others FFmpeg guesses it, or `transforms.audio.contents` has read it."""

READ_AT_ONCE = 1 << 16  # bytes
LONGEST_LOSS = 1.0  # seconds of zeros, at most, in the place of a packet that cannot be decoded

Samples = tuple[np.ndarray, int]
"""float32 [n, channels] and their rate in Hz."""


class FfmpegReading:
    """A file that FFmpeg decodes once.

    Attributes:
      decoder: its name in a ledger.
      declared_seconds: length by the file's header, or None; known when the blocks are read.
      cut_off: whether the end is missing; the same.
    """

    decoder = "ffmpeg"

    def __init__(self, file: BinaryIO, contents: Contents):
        self._file, self._contents = file, contents
        self.declared_seconds = contents.declared_seconds
        self.cut_off = contents.cut_off

    def blocks(self, values: int) -> Iterator[Samples]:
        """Yield the file's samples, about `values` numbers at once; rate and channels may change on the way.

        Raises:
          TrackError: corrupt_audio.
        """
        held: list[np.ndarray] = []
        size = rate = channels = 0
        for block, new_rate in self._frames():
            if size >= values or (new_rate, block.shape[1]) != (rate, channels):
                if held:
                    yield np.concatenate(held), rate
                held, size, rate, channels = [], 0, new_rate, block.shape[1]
            held.append(block)
            size += block.size
        if held:
            yield np.concatenate(held), rate

    def _frames(self) -> Iterator[Samples]:
        parts = self._contents.parts
        if not parts:
            yield from self._stream(self._file)
        for part in parts:
            yield from self._stream(_Part(self._file, part))

    def _stream(self, file: IO[bytes] | io.RawIOBase) -> Iterator[Samples]:
        """Decode one file, or one of several in a file."""
        options = {
            "format_whitelist": FORMATS.replace(" ", ","),
            "codec_whitelist": CODECS.replace(" ", ","),
            "protocol_whitelist": "",
        }
        if self._contents.ignore_length:
            options["ignore_length"] = "1"
        try:
            container = av.open(file, options=options, metadata_errors="replace", buffer_size=READ_AT_ONCE)
        except av.error.MemoryError:
            raise
        except av.FFmpegError as error:
            if self.cut_off:
                what = "its end is missing, and with it the index that is needed to decode it: get the whole file"
                raise TrackError("truncated_audio", what) from error
            what = f"not audio that libsndfile or FFmpeg reads ({error.strerror})"
            raise TrackError("corrupt_audio", f"{what}: get it again, or if it plays elsewhere, {CONVERT}") from error
        with container:
            stream = next(iter(container.streams.audio), None)
            if stream is None or stream.codec_context is None or stream.codec_context.name not in CODECS.split():
                codecs = ", ".join(found.codec_context.name for found in container.streams if found.codec_context)
                what = f"{container.format.name} without audio that can be decoded ({codecs or 'unknown codecs'})"
                raise TrackError("corrupt_audio", f"{what}: if it plays elsewhere, {CONVERT}")
            if (
                self.declared_seconds is None
                and stream.duration
                and stream.time_base
                and DECLARING & set(container.format.name.split(","))
            ):
                self.declared_seconds = float(stream.duration * stream.time_base)
            stream.codec_context.thread_count = 1
            yield from self._decode(container, stream)

    def _decode(self, container: Any, stream: Any) -> Iterator[Samples]:
        """Decode packet by packet; zeros stand for what is lost between two that can be decoded."""
        good = bad = rate = 0
        lost = 0.0  # seconds since the last packet that could be decoded
        for packet in self._packets(container, stream):
            try:
                frames = packet.decode()
            except av.error.MemoryError:
                raise
            except av.FFmpegError:
                bad += 1
                lost += min(float((packet.duration or 0) * stream.time_base), LONGEST_LOSS)
                continue
            for frame in frames:
                samples = _to_float(frame)
                if lost and good and rate == frame.sample_rate:
                    yield np.zeros((round(lost * rate), samples.shape[1]), np.float32), rate
                good, lost, rate = good + 1, 0.0, frame.sample_rate
                yield samples, rate
        if bad > good:
            raise TrackError(
                "corrupt_audio", f"{bad:,} of {good + bad:,} packets cannot be decoded: get the file again"
            )

    def _packets(self, container: Any, stream: Any) -> Iterator[Any]:
        try:
            yield from container.demux(stream)
        except av.error.MemoryError:
            raise
        except av.FFmpegError:
            self.cut_off = True


class _Part(io.RawIOBase):
    """A range of a file's bytes as a file of its own."""

    def __init__(self, file: BinaryIO, part: range):
        self._file, self._part, self._at = file, part, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = max(0, offset + (0, self._at, len(self._part))[whence])
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer: Any) -> int:
        self._file.seek(self._part.start + self._at)
        data = self._file.read(max(0, min(len(buffer), len(self._part) - self._at)))
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)


def _to_float(frame: Any) -> np.ndarray:
    """Return a frame's samples, float32 [n, channels]; whole numbers are scaled to [-1, 1) as libsndfile does."""
    array = frame.to_ndarray()
    array = array.T if frame.format.is_planar else array.reshape(-1, frame.layout.nb_channels)
    if array.dtype == np.uint8:
        return (array.astype(np.float32) - 128) / 128
    if array.dtype.kind == "i":
        return array.astype(np.float32) * np.float32(2.0 ** (1 - 8 * array.dtype.itemsize))
    return array.astype(np.float32, copy=False)
