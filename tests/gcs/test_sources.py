"""Where audio comes from: `fma sample` and `fma download` write to a bucket, too."""

import pytest

import fma
from tests.transforms.catalog.archive_server import BODY, QUICK, archive, get, serving
from tests.transforms.corpus.test_sample import TINY, TINY_ARGUMENTS
from transforms import storage
from transforms.catalog import fetch
from transforms.catalog.download import download
from transforms.corpus.writer import write_corpus
from transforms.errors import FmaError


def test_a_corpus_in_a_bucket_is_the_one_that_is_written_here(folder, cloud, tmp_path, capsys):
    write_corpus(tmp_path / "here", TINY)
    there = f"{folder}/corpus"
    assert fma.main(["sample", "--out", there, *TINY_ARGUMENTS]) == 0
    capsys.readouterr()
    here = {str(path.relative_to(tmp_path / "here")): path for path in (tmp_path / "here").rglob("*") if path.is_file()}
    prefix = storage.join(there, "")
    assert {path.removeprefix(prefix) for path, _ in storage.list_files(there)} == set(here)
    assert all(storage.read_bytes(prefix + name) == path.read_bytes() for name, path in here.items())
    cloud.requests()
    assert fma.main(["sample", "--out", there, *TINY_ARGUMENTS]) == 0
    assert f"{there} is already there, with the same options" in capsys.readouterr().out
    assert not cloud.requests("POST")
    assert fma.main(["sample", "--out", there, *TINY_ARGUMENTS[:-1], "40"]) == 2
    assert "holds another corpus (bitrate is 32, not 40)" in capsys.readouterr().err


@pytest.fixture
def server():
    with serving() as running:
        yield running


def test_an_archive_goes_to_a_bucket_in_pieces_and_survives_broken_connections(server, folder, cloud, monkeypatch):
    monkeypatch.setattr(fetch, "PIECE", 1 << 16)
    server.cuts = [70_000, 1, 0, 70_000]
    path = get(server, folder)
    assert path == f"{folder}/fma_small.zip"
    assert storage.read_bytes(path) == BODY
    assert cloud.names(folder.partition("music/")[2]) == [
        path.partition("music/")[2],
        f"{path.partition('music/')[2]}.sha1",
    ]
    asked = len(server.asked)
    assert get(server, folder) == path
    assert len(server.asked) == asked, "it was complete"


def test_the_next_run_goes_on_from_the_pieces_and_hashes_them(server, folder, monkeypatch):
    monkeypatch.setattr(fetch, "PIECE", 1 << 16)
    server.cuts = [100_000, 0, 0, 0]
    with pytest.raises(FmaError, match="gave up after 3 tries; run again to go on from"):
        get(server, folder)
    begun = server.asked[-1]
    assert 0 < begun < len(BODY)
    assert storage.read_bytes(get(server, folder)) == BODY
    assert server.asked[-1] == begun


def test_more_pieces_than_can_be_joined_at_once(server, folder, monkeypatch):
    monkeypatch.setattr(fetch, "PIECE", 1)  # so that every chunk of 64 KiB, and what a broken connection left, is one
    server.body = BODY * 16
    assert storage.read_bytes(get(server, folder, archive(server.body))) == server.body


def test_another_archive_under_the_name_is_refused(server, folder):
    with pytest.raises(FmaError, match="is not the archive that FMA published"):
        download(archive(b"another"), folder, base_url=server.url, retry=QUICK)
    assert not storage.exists(folder)
    storage.write_bytes(f"{folder}/fma_small.zip", b"spoilt")
    with pytest.raises(FmaError, match="is there but is not the archive"):
        get(server, folder)
