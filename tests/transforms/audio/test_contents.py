import io

import pytest

from tests.conftest import encoded, tone
from tests.faults.mp3 import frames_of
from tests.transforms.audio.odd_files import bare_vbr_mp3, mp3
from transforms.audio.contents import examine
from transforms.audio.mp3_frames import parse_header, walk_frames


class CountingFile(io.BytesIO):
    """A file that counts the bytes that are read of it."""

    bytes_read = 0

    def read(self, size=-1):
        data = super().read(size)
        self.bytes_read += len(data)
        return data


def test_the_headers_of_fmas_clips_are_enough(fma_sample):
    paths = [path for path in sorted(fma_sample.glob("audio/000/*.mp3")) if path.stat().st_size > 100_000][::5]
    for path in paths:
        file = CountingFile(path.read_bytes())
        contents = examine(file)
        assert contents.sndfile, path
        assert contents.declared_seconds == contents.held_seconds == pytest.approx(30, abs=0.1)
        assert file.bytes_read < 1000
        assert file.tell() == 0


@pytest.mark.parametrize(("rate", "bitrate"), [(44_100, 128), (48_000, 320), (22_050, 64), (8000, 16)])
def test_a_header_is_read_as_the_frames_lie(rate, bitrate):
    data = mp3(rate=rate, bitrate=bitrate)
    for frame in frames_of(data):
        header = parse_header(data[frame.start : frame.start + 4])
        assert (header.length, header.rate, header.mono) == (len(frame), rate, False)
    seconds = sum(parse_header(data[frame.start : frame.start + 4]).samples for frame in frames_of(data)) / rate
    assert walk_frames(io.BytesIO(data), 0).seconds == pytest.approx(seconds)


def test_frames_are_walked_across_any_chunk_and_gap(monkeypatch):
    data = bare_vbr_mp3(True, 3.0)
    frames = frames_of(data)
    whole = walk_frames(io.BytesIO(data), 0)
    assert whole.seconds == pytest.approx(len(frames) * 1152 / 44_100)
    gap = data[: frames[20].start] + bytes(4) + b"\xff\xfb\x90\x64" + bytes(172) + data[frames[20].start :]
    monkeypatch.setattr("transforms.audio.mp3_frames.CHUNK", 1000)
    for found in (walk_frames(io.BytesIO(data), 0), walk_frames(io.BytesIO(gap), 0)):
        assert found.samples == whole.samples
    assert (whole.longest_gap, found.longest_gap) == (0, 180)


def test_a_header_that_promises_more_than_is_there_says_so():
    data = mp3()
    contents = examine(io.BytesIO(data[: len(data) // 2]))
    assert contents.cut_off
    assert contents.declared_seconds == pytest.approx(3, abs=0.05)
    assert contents.held_seconds == pytest.approx(1.5, abs=0.1)


def test_an_empty_wav_with_further_chunks_is_not_taken_for_a_stream():
    data = bytearray(encoded(tone(0), 22_050, "WAV").getvalue()) + b"LIST\x04\0\0\0INFO"
    data[4:8] = (len(data) - 8).to_bytes(4, "little")
    assert examine(io.BytesIO(bytes(data))).sndfile
