"""The functions of `transforms.storage` do the same in a folder of this machine and in a bucket."""

import os
from concurrent.futures import ProcessPoolExecutor

import pytest

from transforms import storage
from transforms.errors import FmaError, UsageError
from transforms.storage.ranged import FIRST

PLACES = ("here", "bucket")


@pytest.fixture(params=PLACES)
def place(request, tmp_path) -> str:
    return str(tmp_path / "place") if request.param == "here" else request.getfixturevalue("folder")


@pytest.fixture
def filled(place) -> str:
    for name in ("a.txt", "deep/b.txt", "deep/er/c.txt", "other/d.txt"):
        storage.write_bytes(storage.join(place, name), name.encode())
    return place


def test_what_is_written_is_read_back(place):
    path = storage.join(place, "deep/er/file.bin")
    for data in (b"", b"one", b"line\r\nends\n\n\r\n", os.urandom(1 << 16)):
        storage.write_bytes(path, data)
        assert storage.read_bytes(path) == data
        assert storage.size(path) == len(data)
        with storage.open_read(path) as file:
            assert file.read() == data


def test_files_and_folders_are_told_apart(filled):
    for name, there, folder in (
        ("a.txt", True, False),
        ("deep", True, True),
        ("deep/er", True, True),
        ("dee", False, False),
        ("a.txt/x", False, False),
        ("", True, True),
    ):
        path = storage.join(filled, name) if name else filled
        assert storage.exists(path) == there, name
        assert storage.is_dir(path) == folder, name
    assert storage.parent(storage.join(filled, "deep", "b.txt")) == storage.join(filled, "deep")


def test_listings_have_the_files_below_and_the_folders_directly_below(filled):
    def names(name: str) -> list[tuple[str, int]]:
        prefix = storage.join(filled, "")
        return sorted(
            (path.removeprefix(prefix), size) for path, size in storage.list_files(storage.join(filled, name))
        )

    assert names("deep") == [("deep/b.txt", 10), ("deep/er/c.txt", 13)]
    assert names("nothing") == []
    assert [name for name, _ in names("")] == ["a.txt", "deep/b.txt", "deep/er/c.txt", "other/d.txt"]
    assert storage.list_folders(filled) == ["deep", "other"]
    assert storage.list_folders(storage.join(filled, "nothing")) == []


def test_a_missing_file_is_a_missing_file(place):
    path = storage.join(place, "nothing")
    for read in (storage.read_bytes, storage.size, storage.open_read, storage.read_version):
        with pytest.raises(FileNotFoundError):
            read(path)


def test_sizes_of_many_files_at_once(filled):
    names = [f"many/{i}" for i in range(30)]
    for name in names[:25]:
        storage.write_bytes(storage.join(filled, name), name.encode())
    paths = [storage.join(filled, name) for name in (*names, "a.txt", "nothing", "deep")]
    assert storage.sizes(paths) == [*(len(name) for name in names[:25]), *[None] * 5, 5, None, storage.sizes(paths)[-1]]


def test_slices_come_in_order(place):
    data = os.urandom(100_000)
    path = storage.join(place, "file")
    storage.write_bytes(path, data)
    slices = [storage.Slice(path, i * 1000, 500 + i) for i in (3, 50, 0, *range(40))]
    assert list(storage.read_slices(slices)) == [data[one.offset :][: one.length] for one in slices]


def test_a_staged_file_is_nowhere_until_it_is_published(place):
    path = storage.join(place, "deep/file")
    staged = storage.staging_path(path)
    with open(staged, "wb") as file:
        file.write(b"content")
    assert not storage.exists(path)
    storage.publish(staged, path)
    assert storage.read_bytes(path) == b"content"
    assert not os.path.exists(staged)


def test_removed_is_gone(filled):
    storage.remove(storage.join(filled, "a.txt"))
    storage.remove_all([storage.join(filled, "other", "d.txt")])
    assert storage.remove_listed(filled, ["deep/b.txt", "deep/nothing", "nothing/a"]) == 1
    assert storage.exists(storage.join(filled, "deep/er/c.txt"))
    storage.remove_scratch(filled, "deep/er")
    storage.remove_scratch(filled, "nothing")
    assert not list(storage.list_files(filled))
    assert not storage.exists(storage.join(filled, "deep"))


@pytest.mark.long
def test_a_second_writer_is_kept_away_until_the_first_is_done(place):
    with storage.locked(place, "busy"), pytest.raises(FmaError, match=r"^busy$"), storage.locked(place, "busy"):
        pass
    with storage.locked(place, "busy"):
        pass


def test_a_version_follows_the_one_that_was_read(place):
    path = storage.join(place, "dataset.json")
    first = storage.replace(path, b"1", 0)
    data, version = storage.read_version(path)
    assert (data, version) == (b"1", first)
    assert storage.replace(path, b"2", version) == storage.read_version(path)[1]
    assert storage.read_bytes(path) == b"2"


def test_other_kinds_of_addresses_are_refused():
    with pytest.raises(UsageError, match="s3:// paths cannot be read or written; give a local path or a gs:// address"):
        storage.exists("s3://bucket/x")
    with pytest.raises(UsageError, match="gs://BUCKET/NAME"):
        storage.exists("gs:///x")


def test_a_version_that_another_has_replaced_is_not_replaced_again(folder):
    path = storage.join(folder, "dataset.json")
    first = storage.replace(path, b"1", 0)
    storage.replace(path, b"2", first)
    for stale in (0, first):
        with pytest.raises(FmaError, match=r"dataset\.json was changed by another command meanwhile"):
            storage.replace(path, b"3", stale)
    assert storage.read_bytes(path) == b"2"


def test_a_file_that_is_replaced_while_it_is_read_is_noticed(folder):
    path = storage.join(folder, "large")
    storage.write_bytes(path, b"1" * (FIRST + 10))
    with storage.open_read(path) as file:
        file.read(5)
        storage.write_bytes(path, b"2" * (FIRST + 10))
        with pytest.raises(FmaError, match="large was replaced while it was read"):
            file.read()


def test_empty_objects_that_stand_for_folders_are_no_files(folder, cloud):
    from transforms.storage.gcs_client import client

    bucket, _, name = folder.removeprefix("gs://").partition("/")
    for marker in ("run/", "run/logs/", "empty/"):
        client().bucket(bucket).blob(f"{name}/{marker}").upload_from_string(b"")
    storage.write_bytes(f"{folder}/run/logs/events", b"1")
    assert [path for path, _ in storage.list_files(folder)] == [f"{folder}/run/logs/events"]
    assert storage.list_folders(folder) == ["empty", "run"]
    assert storage.is_dir(f"{folder}/empty")
    assert storage.remove_listed(folder, ["run/logs/events", "run/logs/"]) == 1
    assert cloud.names(name) == [f"{name}/{marker}" for marker in ("empty/", "run/", "run/logs/")]


def test_an_upload_is_in_pieces_with_a_checksum(folder, cloud):
    data = os.urandom(1 << 20) * 40
    staged = storage.staging_path(f"{folder}/large")
    with open(staged, "wb") as file:
        file.write(data)
    cloud.requests()
    storage.publish(staged, f"{folder}/large")
    assert [one["bytes"] for one in cloud.requests("PUT")] == [16 << 20, 16 << 20, 8 << 20]
    assert storage.read_bytes(f"{folder}/large") == data


def _size_in_a_child(path: str) -> int:
    return storage.size(path)


def test_a_forked_process_has_a_client_of_its_own(folder):
    path = f"{folder}/file"
    storage.write_bytes(path, b"1234")
    with ProcessPoolExecutor(2) as pool:
        assert list(pool.map(_size_in_a_child, [path] * 8)) == [4] * 8
    assert storage.size(path) == 4


def test_local_commands_do_not_import_the_client():
    import subprocess
    import sys

    script = (
        "import sys; from transforms import storage; storage.exists('x'); "
        "sys.exit('google.cloud.storage' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
