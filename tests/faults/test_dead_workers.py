"""One death of a worker; `make faults` kills many."""

import sys

import pytest

from tests.faults.dead_workers import TRACKS, kill_one
from tests.pipelines.ingest.test_ingest import make_music


@pytest.mark.long
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="finds processes through /proc")
def test_a_worker_that_dies_while_others_start_ends_the_command_in_one_line_or_the_command_recovers(tmp_path):
    (tmp_path / "music").mkdir()
    make_music(tmp_path / "music", TRACKS)
    death = kill_one(4, 1, tmp_path / "4", tmp_path / "music", latest=1.0)
    assert death is not None
    assert death.held, f"{death}: {death.last_line}"
