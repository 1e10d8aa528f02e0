"""One moment of the kill drill; `make faults` runs all of them, and other tests kill an ingestion and a training."""

import sys

import pytest

from tests.faults.drill import drill
from tests.faults.scenes import make_scenes

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="finds processes through /proc"),
]


def test_a_command_that_is_killed_leaves_nothing_behind_and_the_next_run_ends_the_same(tmp_path):
    (scene,) = (scene for scene in make_scenes(tmp_path) if scene.name == "compact")
    (outcome,) = drill(scene, tmp_path, 1, print, only=[2], slower=4)
    assert outcome.broken == []
