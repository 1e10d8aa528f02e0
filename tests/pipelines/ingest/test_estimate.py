import json
from pathlib import Path

import pytest

from pipelines.ingest.estimate import Estimate, choose_sample, show
from tests.pipelines.ingest.test_ingest import SMALL, ingest, make_music
from transforms.dataset.manifest import load
from transforms.tracks import Track


@pytest.fixture(scope="module")
def music(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("estimate")
    make_music(folder, tracks=24)
    return folder


def test_an_estimate_measures_a_sample_and_leaves_nothing_behind(music, capsys):
    assert ingest(music, "out", "--estimate", "12", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["tracks"], found["measured"], found["failed"]) == (24, 12, 0)
    assert 0 < found["cpu_s_per_track"] < 5
    assert found["core_hours"] == pytest.approx(24 * found["cpu_s_per_track"] / 3600)
    assert found["wall_s_by_cores"]["8"] == pytest.approx(found["wall_s_by_cores"]["1"] / 8)
    assert not (music / "out").exists()


def test_the_bytes_of_an_estimate_are_those_that_are_written(music, capsys):
    assert ingest(music, "out", "--estimate", "24", "--json") == 0
    expected = json.loads(capsys.readouterr().out)["bytes"]
    assert ingest(music, "real") == 0
    assert sum(file.bytes for file in load(str(music / "real")).files()) == pytest.approx(expected, rel=0.01)


def test_a_dataset_that_has_everything_leaves_nothing_to_estimate(music, capsys):
    assert ingest(music, "real") == 0
    assert ingest(music, "real", "--estimate") == 0
    assert "nothing to estimate" in capsys.readouterr().out


def test_the_sample_is_the_same_every_time_and_not_the_first_tracks():
    tracks = [Track(i, "Rock", "training") for i in range(1000)]
    sample = choose_sample(tracks, 100)
    assert sample == choose_sample(tracks[::-1], 100)
    assert max(track.track_id for track in sample) > 900
    assert len({track.track_id for track in sample}) == 100
    assert len(choose_sample(tracks, 5000)) == 1000


def test_the_price_is_that_of_the_core_hours(capsys):
    found = Estimate(tracks=106_574, measured=200, failed=2, cpu_s=0.05, wall_s=0.06, bytes=300_000)
    show(found, 0.1)
    text = capsys.readouterr().out
    assert "core-hours" in text
    assert "1.48" in text
    assert "0.15" in text
    assert "measured on 200 of 106,574 tracks, 2 failed: 50.0 ms of CPU and 293 KiB a track" in text


def test_a_bad_price_or_sample_is_refused(music):
    for option in (("--estimate", "0"), ("--estimate", "5", "--price", "much")):
        with pytest.raises(SystemExit) as stopped:
            ingest(music, "out", *option, settings=SMALL)
        assert stopped.value.code == 2
