"""A few moments of the kill drill; `make faults` runs all of them."""

import sys

import pytest

from tests.faults.drill import drill
from tests.faults.scenes import make_scenes

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="finds processes through /proc")


@pytest.mark.parametrize(("name", "moments"), [("ingest", [3]), ("compact", [2]), ("head and fine-tuning", [1])])
def test_a_command_that_is_killed_leaves_nothing_behind_and_the_next_run_ends_the_same(tmp_path, name, moments):
    (scene,) = (scene for scene in make_scenes(tmp_path) if scene.name == name)
    outcomes = drill(scene, tmp_path, 1, print, only=moments, slower=4)
    assert len(outcomes) == len(moments)
    assert [outcome.broken for outcome in outcomes] == [[]] * len(moments)
