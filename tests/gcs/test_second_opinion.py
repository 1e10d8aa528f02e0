"""The same operations against a stand-in by other authors: gcp-storage-emulator knows no preconditions, but
reads the interface of Google Cloud Storage independently of ours."""

import os
import socket
import subprocess
import sys
import time

import pytest

from transforms import storage


@pytest.fixture(scope="module")
def emulator():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = ["start", "--host=127.0.0.1", f"--port={port}", "--in-memory", "--default-bucket=other"]
    process = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import sys; from gcp_storage_emulator.__main__ import main; main(sys.argv[1:])",
            *command,
        ],
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                break
        time.sleep(0.05)
    yield f"http://127.0.0.1:{port}"
    process.kill()
    process.wait()


def test_files_are_written_listed_read_joined_and_removed(emulator, monkeypatch):
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", emulator)
    root, small, large = "gs://other/data", os.urandom(1000), os.urandom(9 << 20)
    storage.write_bytes(f"{root}/a/small", small)
    staged = storage.staging_path(f"{root}/large")
    with open(staged, "wb") as file:
        file.write(large)
    storage.publish(staged, f"{root}/large")
    assert storage.read_bytes(f"{root}/a/small") == small
    assert list(storage.list_files(root)) == [(f"{root}/a/small", len(small)), (f"{root}/large", len(large))]
    assert storage.list_folders(root) == ["a"]
    assert (storage.is_dir(f"{root}/a"), storage.exists(f"{root}/none")) == (True, False)
    with storage.open_read(f"{root}/large") as file:
        assert file.seek(-100, os.SEEK_END) == len(large) - 100
        assert file.read() == large[-100:]
        file.seek(5 << 20)
        assert file.read(2 << 20) == large[5 << 20 :][: 2 << 20]
    storage.concatenate([f"{root}/a/small", f"{root}/large"], f"{root}/joined")
    assert storage.read_bytes(f"{root}/joined") == small + large
    storage.remove(f"{root}/joined")
    storage.remove_all([path for path, _ in storage.list_files(root)])
    assert not storage.exists(root)
