"""A few moments of the kill drill; `make faults` runs twenty and more."""

import sys

import pytest

from tests.faults.drill import drill, make_scene


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="finds the processes to kill through /proc")
def test_a_run_killed_at_any_moment_leaves_a_sound_dataset_and_the_next_run_carries_on(tmp_path):
    (tmp_path / "music").mkdir()
    lines: list[str] = []
    moments = drill(make_scene(tmp_path / "music"), tmp_path, [2, 3], lines.append)
    assert all(moment.held for moment in moments), "\n".join(lines)
