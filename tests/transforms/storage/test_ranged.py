"""A file that is read by ranges: the same bytes as from a file, in few requests."""

import io
import random
import zipfile

import pytest

from transforms.storage.ranged import FIRST, LEAST, MOST, TAIL, RangedFile


class Remote:
    """Bytes somewhere else; notes what it is asked for."""

    def __init__(self, data: bytes):
        self.data = data
        self.asked: list[tuple[int, int | None]] = []

    def fetch(self, start: int, stop: int | None) -> bytes:
        self.asked.append((start, stop))
        return self.data[start:stop]

    def open(self) -> RangedFile:
        file = RangedFile(self.fetch, lambda: len(self.data))
        assert self.asked == [(0, FIRST)]
        self.asked.clear()
        return file


@pytest.fixture(scope="module")
def data() -> bytes:
    return random.Random(1).randbytes(24 << 20)


def test_a_small_file_is_one_request():
    remote = Remote(b"clip" * 1000)
    file = remote.open()
    assert file.read() == remote.data
    assert file.read() == b""
    file.seek(0)
    assert file.read(1 << 30) == remote.data
    assert remote.asked == []


def test_an_empty_file_is_empty():
    file = Remote(b"").open()
    assert file.read() == file.read(5) == file.readline() == b""
    assert file.seek(0, io.SEEK_END) == 0


def test_reading_on_asks_for_more_and_more_at_a_time(data):
    remote = Remote(data)
    file = remote.open()
    read = io.BytesIO()
    while piece := file.read(10_007):
        read.write(piece)
    assert read.getvalue() == data
    sizes = [stop - start for start, stop in remote.asked if stop is not None]
    assert sizes == sorted(sizes)
    assert sizes[0] == 2 * LEAST
    assert max(sizes) <= MOST + 10_007
    assert len(sizes) < 10


def test_a_large_piece_from_anywhere_is_one_request_of_its_size(data):
    remote = Remote(data)
    file = remote.open()
    file.seek(7_000_000)
    assert file.read(2_000_000) == data[7_000_000:9_000_000]
    assert remote.asked == [(7_000_000, 9_000_000)]


def test_a_small_piece_brings_what_lies_behind_it(data):
    remote = Remote(data)
    file = remote.open()
    for offset in (7_000_000, 7_000_100, 7_100_000):
        file.seek(offset)
        assert file.read(30) == data[offset : offset + 30]
    assert remote.asked == [(7_000_000, 7_000_000 + LEAST)]


def test_the_end_is_fetched_once(data):
    remote = Remote(data)
    file = remote.open()
    for back in (22, 42, 5000):
        file.seek(-back, io.SEEK_END)
        assert file.read(back) == data[-back:]
    assert remote.asked == [(len(data) - TAIL, len(data))]


def test_what_was_announced_comes_in_one_request(data):
    remote = Remote(data)
    file = remote.open()
    file.expect(9_000_000, 1_000_000)
    file.seek(9_000_000)
    assert file.read(30) + file.read(999_970) == data[9_000_000:10_000_000]
    assert remote.asked == [(9_000_000, 10_000_000)]
    file.seek(3_000_000)
    assert file.read(10) == data[3_000_000:3_000_010]
    assert remote.asked[1] == (3_000_000, 3_000_000 + LEAST)


def test_any_order_of_reads_gives_the_bytes_of_a_file(data):
    chance = random.Random(2)
    remote = Remote(data[: 5 << 20])
    file, same = remote.open(), io.BytesIO(remote.data)
    for _ in range(400):
        if chance.random() < 0.5:
            offset = chance.choice((0, chance.randrange(len(remote.data)), len(remote.data) + 100))
            assert file.seek(offset) == same.seek(offset)
        size = chance.choice((-1, 0, 1, 30, 5000, 300_000, 2_000_000))
        read = chance.choice(("read", "readline", "readinto"))
        if read == "readinto":
            one, other = bytearray(max(size, 0)), bytearray(max(size, 0))
            assert file.readinto(one) == same.readinto(other)
            assert one == other
        else:
            assert getattr(file, read)(size) == getattr(same, read)(size)
        assert file.tell() == same.tell()


def test_a_place_before_the_beginning_is_refused_as_by_a_file():
    with pytest.raises(OSError, match="Invalid argument"):
        Remote(b"abc").open().seek(-1)


def test_a_zip_costs_its_directory_once_and_each_member_one_request(data):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for i in range(20):
            archive.writestr(f"fma_small/000/{i:06d}.mp3", data[i * 1_000_000 : (i + 1) * 1_000_000])
    remote = Remote(packed.getvalue())
    file = remote.open()
    with zipfile.ZipFile(file) as archive:
        assert remote.asked == [(len(remote.data) - TAIL, len(remote.data))]
        for i in (11, 3, 7):
            remote.asked.clear()
            info = archive.infolist()[i]
            file.expect(info.header_offset, 30 + len(info.filename) + info.compress_size)
            assert archive.read(info) == data[i * 1_000_000 : (i + 1) * 1_000_000]
            assert len(remote.asked) == 1
