"""Resuming: a real HTTP server that breaks off, forgets, changes its file and refuses."""

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
from transforms.catalog.download import download
from transforms.catalog.fetch import Retry, open_part
from transforms.errors import FmaError


def test_a_download_that_breaks_off_goes_on_where_it_stopped(server, tmp_path):
    server.cuts = [70_000, 66_000, 1, 0, 70_000]
    path = get(server, tmp_path)
    assert content(path) == BODY
    assert server.asked == sorted(server.asked)
    assert len(server.asked) == 6
    assert server.asked[1] > 0
    assert names(tmp_path) == ["fma_small.zip", "fma_small.zip.sha1"]


def test_progress_resets_the_count_of_tries(server, tmp_path):
    server.cuts = [65_536, 0, 0, 65_536, 0, 0, 65_536, 0, 0]  # never three in a row without a byte
    assert content(get(server, tmp_path)) == BODY


def test_a_server_that_brings_nothing_more_is_given_up_and_the_part_stays(server, tmp_path):
    server.cuts = [65_536, 0, 0, 0, 0, 0]
    with pytest.raises(FmaError, match=r"gave up after 3 tries; run again to go on from 64\.0 KiB"):
        get(server, tmp_path)
    assert server.asked == [0, 65_536, 65_536, 65_536]
    assert content(tmp_path / "fma_small.zip.part") == BODY[:65_536]
    server.cuts = []
    assert content(get(server, tmp_path)) == BODY
    assert server.asked[-1] == 65_536


def test_the_next_run_goes_on_from_the_part_and_hashes_it(server, tmp_path):
    leave_part(tmp_path, BODY[:123_456])
    assert content(get(server, tmp_path)) == BODY
    assert server.asked == [123_456]


def test_a_server_without_ranges_sends_everything_again(server, tmp_path):
    server.ranges, server.cuts = False, [100_000, 200_000]
    assert content(get(server, tmp_path)) == BODY
    assert len(server.asked) == 3


def test_a_server_without_ranges_that_always_breaks_off_is_given_up(server, tmp_path):
    server.ranges, server.cuts = False, [100_000] * 20
    with pytest.raises(FmaError, match="gave up after 3 tries"):
        get(server, tmp_path)
    assert server.asked == [0, 65_536, 65_536, 65_536]


@pytest.mark.parametrize("checks_version", [True, False])
def test_a_file_that_changed_between_two_tries_is_started_again(server, tmp_path, checks_version):
    leave_part(tmp_path, OTHER[:100_000], version='"v0"')
    server.checks_version = checks_version  # without, the answer is a 206 with another ETag
    assert content(get(server, tmp_path)) == BODY


def test_a_part_longer_than_the_file_is_started_again(server, tmp_path):
    leave_part(tmp_path, BODY + b"more")
    assert content(get(server, tmp_path)) == BODY
    assert server.asked == [len(BODY) + 4, 0]


def test_a_missing_file_is_told_at_once(server, tmp_path):
    server.statuses = [404]
    with pytest.raises(FmaError, match=r"fma_small\.zip: HTTP 404 Not Found; check the address"):
        get(server, tmp_path)
    assert len(server.asked) == 1
    assert names(tmp_path) == []


def test_a_server_error_is_tried_again(server, tmp_path):
    server.statuses = [500, 503]
    assert content(get(server, tmp_path)) == BODY
    server.statuses = [500] * 5
    with pytest.raises(FmaError, match=r"HTTP 500 .* gave up after 3 tries"):
        get(server, tmp_path / "again")


def test_a_server_that_is_not_there_is_named_with_the_cause(tmp_path):
    with pytest.raises(FmaError, match=r"http://127\.0\.0\.1:9/fma_small\.zip: .*refused.* gave up after 3 tries"):
        download(archive(), str(tmp_path), base_url="http://127.0.0.1:9", retry=QUICK)


def test_a_name_that_is_not_known_ends_it_at_once(tmp_path):
    with pytest.raises(FmaError, match=r"http://fma\.invalid/fma_small\.zip: the server's name cannot be resolved"):
        download(archive(), str(tmp_path), base_url="http://fma.invalid", retry=Retry(tries=8, pause=3600))


def test_a_web_page_does_not_replace_the_part(server, tmp_path):
    leave_part(tmp_path, BODY[:1000])
    server.ranges, server.content_type = False, "text/html; charset=utf-8"
    with pytest.raises(FmaError, match="a web page, not the file"):
        get(server, tmp_path)
    assert content(tmp_path / "fma_small.zip.part") == BODY[:1000]


def test_a_disk_that_is_too_small_is_told_before_the_first_byte(server, tmp_path):
    server.length = 5 << 40
    with pytest.raises(FmaError, match=r"5\.0 TiB more needed, 1\.0 GiB free"):
        get(server, tmp_path, free=lambda folder: 1 << 30)
    assert names(tmp_path) == []


def test_what_is_there_already_needs_no_space(server, tmp_path):
    leave_part(tmp_path, BODY[:200_000])
    assert content(get(server, tmp_path, free=lambda folder: 100_000)) == BODY


def test_two_downloads_do_not_write_to_one_part(server, tmp_path):
    path = str(tmp_path / "fma_small.zip.part")
    with open_part(path), pytest.raises(FmaError, match="another download is writing to it"):
        get(server, tmp_path)
    assert server.asked == []
