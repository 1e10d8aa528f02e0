"""What is said about a song is what evaluation says about its records."""

import numpy as np
import pytest

from tests.trainers.serving.conftest import KINDS
from trainers.run_predictions import read_run_predictions


@pytest.mark.parametrize("model", [*KINDS, "baselines"])
def test_predictions_are_those_that_evaluation_computed_from_the_shards(model, music, run_of, engine_of):
    engine = engine_of(model, calibrated=False)
    stored = read_run_predictions(str(run_of(model)), "test")[engine.scorer.name]
    paths = {track.track_id: track.path for track in music.of("test")}
    found = np.log([engine.judge(paths[track_id]).probabilities for track_id in stored.track_id.tolist()])
    np.testing.assert_allclose(found, stored.log_probabilities, atol=1e-5)
    assert np.ptp(found, axis=0).max() > 0.01  # songs differ, so a mix-up would show
