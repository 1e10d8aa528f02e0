"""`fma download` against a real HTTP server: sums, stamps, options. Broken connections are in test_fetch."""

import argparse
import os
import resource

import pytest

from tests.transforms.catalog.archive_server import (
    BODY,
    OTHER,
    QUICK,
    archive,
    content,
    get,
    leave_part,
    names,
)
from transforms.catalog.download import ARCHIVES, Archive, choose_archives, download
from transforms.commands import download as command
from transforms.errors import FmaError, UsageError
from transforms.runtime.guard import main_guard


def test_a_part_that_is_complete_needs_no_server(tmp_path):
    leave_part(tmp_path, BODY)
    assert content(download(archive(), str(tmp_path), base_url="http://127.0.0.1:9", retry=QUICK)) == BODY


def test_a_wrong_file_is_removed_and_told_in_one_line(server, tmp_path, capsys):
    server.body = OTHER
    assert main_guard(get, server, tmp_path) == 1
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith(f"fma: error: {server.url}/fma_small.zip is not the archive that FMA published")
    assert f"expected {archive(BODY).sha1}" in line
    assert f"got {archive(OTHER).sha1}" in line
    assert names(tmp_path) == []


def test_a_write_that_fails_names_the_part(server, tmp_path, capsys):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        assert main_guard(get, server, tmp_path) == 1
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    part = tmp_path / "fma_small.zip.part"
    assert capsys.readouterr().err.splitlines()[-1].startswith(f"fma: error: {part}: file too large")
    assert content(get(server, tmp_path)) == BODY


def test_a_complete_file_is_not_fetched_or_hashed_again_unless_asked(server, tmp_path, capsys):
    path = get(server, tmp_path)
    stat = os.stat(path)
    (tmp_path / "fma_small.zip").write_bytes(BODY[:-1] + b"?")
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert get(server, tmp_path) == path  # size and time are those of the stamp
    assert "already complete" in capsys.readouterr().err
    with pytest.raises(FmaError, match="is there but is not the archive"):
        get(server, tmp_path, check=True)
    os.utime(path, ns=(1, 1))
    with pytest.raises(FmaError, match="is there but is not the archive"):
        get(server, tmp_path)
    assert len(server.asked) == 1


def test_a_file_downloaded_by_other_means_is_hashed_once(tmp_path, capsys):
    (tmp_path / "fma_small.zip").write_bytes(BODY)
    for hashed in (True, False):
        download(archive(), str(tmp_path))
        assert ("hash fma_small.zip" in capsys.readouterr().err) == hashed


def parse(*arguments):
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    return parser.parse_args(arguments)


def test_the_command_fetches_metadata_and_audio_and_names_the_next_one(server, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(ARCHIVES, "small", archive())
    monkeypatch.setitem(ARCHIVES, "metadata", Archive("fma_metadata.zip", archive().sha1, len(BODY)))
    assert command.run(parse("--subset", "small", "--out", str(tmp_path), "--base-url", server.url)) == 0
    assert {"fma_metadata.zip", "fma_small.zip"} <= set(names(tmp_path))
    assert f"next: fma ingest --audio {tmp_path}/fma_small.zip --metadata" in capsys.readouterr().out


def test_options_choose_the_archives():
    assert [a.name for a in choose_archives("full")] == ["fma_metadata.zip", "fma_full.zip"]
    assert [a.name for a in choose_archives("large", no_metadata=True)] == ["fma_large.zip"]
    assert [a.name for a in choose_archives(None, only="metadata")] == ["fma_metadata.zip"]


@pytest.mark.parametrize(
    "arguments",
    [[], ["--subset", "small", "--base-url", "ftp://x"], ["--subset", "small", "--base-url", "http://[x"]],
)
def test_bad_options_are_usage_errors(arguments, tmp_path):
    with pytest.raises(UsageError):
        command.run(parse("--out", str(tmp_path / "data"), *arguments))
    with pytest.raises(UsageError, match="s3:// paths cannot be read or written"):
        command.run(parse("--out", "s3://bucket/data", "--subset", "small"))
    assert names(tmp_path) == []
