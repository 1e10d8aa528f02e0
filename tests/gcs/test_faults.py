"""Each operation completes although requests fail: refused, cut off, unanswered, truncated, slow."""

import os

import pytest

from transforms import storage
from transforms.storage import gcs, gcs_client

KINDS = ("429", "503", "reset", "lost", "cut", "slow")


@pytest.fixture(autouse=True)
def quick(monkeypatch) -> None:
    """The second try after a moment."""
    retry = gcs_client.RETRY.with_delay(initial=0.02, maximum=0.1, multiplier=2.0)
    monkeypatch.setitem(gcs_client.PATIENCE, "retry", retry)


@pytest.mark.parametrize("kind", KINDS)
def test_every_operation_survives_a_fault_at_its_first_request(cloud, folder, kind):
    data = os.urandom(100_000)
    path = f"{folder}/deep/file"

    def met(work):
        with cloud.faults(
            every=1, kinds=[kind], times=1, match=" /(storage|upload|download)/.*/o", seconds=0.05
        ) as found:
            result = work()
        assert found == [1]
        return result

    met(lambda: storage.write_bytes(path, data))
    assert met(lambda: storage.read_bytes(path)) == data
    assert met(lambda: storage.size(path)) == len(data)
    assert met(lambda: list(storage.list_files(folder))) == [(path, len(data))]
    assert met(lambda: storage.list_folders(folder)) == ["deep"]
    assert met(lambda: list(storage.read_slices([storage.Slice(path, 10, 20)]))) == [data[10:30]]
    with met(lambda: storage.open_read(path)) as file:
        assert file.read() == data
    version = met(lambda: storage.replace(f"{folder}/dataset.json", b"1", 0))
    version = met(lambda: storage.replace(f"{folder}/dataset.json", b"2", version))
    assert storage.read_version(f"{folder}/dataset.json") == (b"2", version)
    met(lambda: storage.remove(path))
    assert not storage.exists(path)
    assert met(lambda: storage.remove_listed(folder, ["dataset.json"])) == 1
    assert not storage.exists(folder)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("at", [1, 2, 3])
def test_a_large_upload_goes_on_where_it_was_disturbed(cloud, folder, monkeypatch, kind, at):
    monkeypatch.setattr(gcs, "PIECE", 4 << 20)
    data = os.urandom(9 << 20)  # from 8 MiB on, the client sends pieces
    staged = storage.staging_path(f"{folder}/large")
    with open(staged, "wb") as file:
        file.write(data)
    cloud.requests()
    with cloud.faults(every=at, kinds=[kind], times=1, match="/upload/", seconds=0.05) as met:
        storage.publish(staged, f"{folder}/large")
    assert met == [1]
    sent = sum(one["bytes"] for one in cloud.requests("PUT"))
    assert len(data) <= sent <= len(data) + (4 << 20)
    assert storage.read_bytes(f"{folder}/large") == data


@pytest.mark.parametrize("kind", KINDS)
def test_a_large_download_comes_whole(cloud, folder, kind):
    data = os.urandom(5 << 20)
    storage.write_bytes(f"{folder}/large", data)
    with cloud.faults(every=2, kinds=[kind], match="GET /download", seconds=0.05) as met:
        with storage.open_read(f"{folder}/large") as file:
            read = b"".join(iter(lambda: file.read(1 << 20), b""))
        assert storage.read_bytes(f"{folder}/large") == data
    assert met[0] > 1
    assert read == data
