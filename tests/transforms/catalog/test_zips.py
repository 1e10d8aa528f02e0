import errno
import io
import os
import random
import zipfile
import zlib

import pytest

from transforms.catalog.locate import locate, open_track
from transforms.catalog.zips import DamagedZipError, list_members, open_cached, translate_zip_errors
from transforms.errors import TrackError, UsageError
from transforms.tracks import Track

COMPRESSIONS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)


def zip_bytes(members: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return file.getvalue()


def test_members_are_listed_with_their_unpacked_sizes_and_without_unsafe_names(tmp_path):
    path = tmp_path / "a.zip"
    names = ["a/b.mp3", "/etc/c.mp3", "../d.mp3", "a/../../e.mp3", "a/"]
    path.write_bytes(zip_bytes({name: b"x" * 1000 * (name[-1] != "/") for name in names}, zipfile.ZIP_BZIP2))
    assert list_members(str(path)) == {"a/b.mp3": (1000, zlib.crc32(b"x" * 1000))}


def test_a_file_that_is_no_zip_is_damaged(tmp_path):
    (tmp_path / "a.zip").write_text("not a zip")
    with pytest.raises(DamagedZipError):
        list_members(str(tmp_path / "a.zip"))


def test_a_zip_is_parsed_once_in_a_process_and_again_after_a_fork(tmp_path):
    path = str(tmp_path / "a.zip")
    (tmp_path / "a.zip").write_bytes(zip_bytes({"a.mp3": b"abc"}))
    opened = open_cached(path)
    assert open_cached(path) is opened
    child = os.fork()
    if not child:
        os._exit(0 if open_cached(path) is not opened and open_cached(path).read("a.mp3") == b"abc" else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_failing_disks_and_networks_are_not_damage():
    for error in (OSError(errno.ENOSPC, "full"), OSError(errno.EIO, "disk"), ConnectionError("network")):
        with pytest.raises(type(error)), translate_zip_errors():
            raise error


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_random_damage_never_gives_wrong_audio_nor_a_stray_exception(tmp_path, compression):
    rng = random.Random(compression)
    payload = [rng.randbytes(300) + b"ab" * 300 for _ in range(2)]
    whole = zip_bytes({f"fmä/000/{i:06d}.mp3": payload[i] for i in range(2)}, compression)
    directory = whole.index(b"PK\x01\x02")
    outcomes = set()
    for trial in range(300):
        damaged = bytearray(whole)
        low, high = rng.choice([(0, 60), (0, len(whole)), (directory, len(whole))])
        for _ in range(rng.randint(1, 3)):
            damaged[rng.randrange(low, high)] = rng.randrange(256)
        path = tmp_path / f"{trial}.zip"
        path.write_bytes(damaged)
        try:
            tracks = locate([Track(i, "Rock", "test") for i in range(2)], str(path), "fma")
        except UsageError:
            outcomes.add("refused")
            continue
        for track in tracks:
            try:
                assert open_track(track).read() == payload[track.track_id]
                outcomes.add("read")
            except TrackError as error:
                outcomes.add(error.reason)
    assert outcomes >= {"refused", "read", "corrupt_audio", "missing_audio"}
