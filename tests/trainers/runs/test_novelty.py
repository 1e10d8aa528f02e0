"""What tells a song unlike all that a run was trained on: where its limit comes from, and how it is kept."""

from dataclasses import fields, replace

import numpy as np
import pytest

from tests.trainers.finished_runs import write_run
from trainers.runs.files import write_zip
from trainers.runs.novelty import (
    LEAST_TRACKS,
    file_of,
    fit_on_folds,
    fit_on_split,
    is_unlike,
    novelty_of,
    read_novelty,
    write_novelty,
)
from transforms.errors import FmaError


def features(tracks: int, seed: int) -> np.ndarray:
    """Features of music: 40 columns of different sizes that 5 hidden causes make, a little noise, and a constant."""
    mixing = np.random.default_rng(0).standard_normal((5, 40)) * np.logspace(-2, 3, 40)
    rng = np.random.default_rng(seed)
    causes = rng.standard_normal((tracks, 5)) @ mixing
    return np.append(causes + 0.1 * np.logspace(-2, 3, 40) * rng.standard_normal((tracks, 40)), np.ones((tracks, 1)), 1)


def foreign(tracks: int) -> np.ndarray:
    """Features whose columns are each as large as those of music, and do not go together as in music."""
    rng = np.random.default_rng(9)
    return np.stack([rng.permutation(column) for column in features(tracks, 1).T], axis=1)


def test_few_tracks_of_the_same_music_are_said_to_be_unlike_it_and_nearly_all_that_is_foreign():
    by_folds = [fit_on_folds(features(200, seed), np.arange(200) // 2) for seed in range(5)]
    by_split = [fit_on_split(features(200, seed), features(100, seed + 10)) for seed in range(5)]
    for found in (by_folds, by_split):
        assert 0.01 < np.mean([one.of(features(2000, 99)) > 1 for one in found]) < 0.05
        assert np.mean([one.of(foreign(200)) > 1 for one in found]) > 0.95


def test_the_limit_is_that_of_so_many_held_out_tracks_that_four_in_a_hundred_are_beyond_it():
    held_out = features(500, 2)
    found = fit_on_split(features(200, 0), held_out)
    assert (found.of(held_out) > 1).sum() == 19  # of 501 with the track to come, 4% are 20
    assert found.of(held_out).max() > 1 and found.tracks == 500


def test_what_a_network_maps_near_the_middle_of_its_components_is_found_by_what_they_leave_out():
    rng = np.random.default_rng(0)
    mixing = rng.standard_normal((60, 400))
    training, held_out = (rng.standard_normal((tracks, 60)) @ mixing for tracks in (200, 100))
    middle = training.std(axis=0) * rng.standard_normal((100, 400))  # as large as those, in no direction more
    found = fit_on_split(training, held_out)
    assert np.mean(found.of(middle) > 1) == 1
    assert replace(found, noise=np.inf).distance(middle).max() < 1  # of a typical training track, that is 1


@pytest.mark.parametrize("seed", range(3))
def test_where_few_tracks_are_held_out_one_odd_track_does_not_decide(seed):
    odd = features(1, 5) * 4
    without, found = (fit_on_split(features(200, 0), held_out) for held_out in few_with(odd, seed))
    assert found.of(odd)[0] > 1.5 and found.limit < 1.5 * without.limit
    assert np.mean(found.of(features(2000, 99)) > 1) < 0.08


def few_with(odd: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """As many held-out tracks as a small dataset has, and these with another one."""
    held_out = features(28, 20 + seed)
    return held_out, np.concatenate([held_out, odd])


def test_no_artist_is_on_both_sides_of_a_fold():
    one_song = np.repeat(features(30, 0), 10, axis=0) + 1e-3 * features(300, 1)
    alone, together = fit_on_folds(one_song, np.arange(300)), fit_on_folds(one_song, np.arange(300) // 10)
    assert together.limit > 1.5 * alone.limit


def test_columns_that_do_not_count_do_not():
    music, columns = features(200, 0), np.arange(1, 40)
    found = fit_on_folds(music, np.arange(200), columns)
    np.testing.assert_array_equal(found.of(music), found.of(np.where(np.isin(np.arange(41), columns), music, 9)))
    assert found.limit == fit_on_folds(music[:, columns], np.arange(200)).limit


def test_with_too_few_tracks_or_one_artist_nothing_is_said():
    music = features(200, 0)
    assert fit_on_split(music, music[: LEAST_TRACKS - 1]) is None
    assert fit_on_folds(music[: LEAST_TRACKS - 1], np.arange(LEAST_TRACKS - 1)) is None
    assert fit_on_folds(music, np.zeros(200)) is None
    assert novelty_of(None, music[0]) is None and not is_unlike(None) and not is_unlike(1.0) and is_unlike(1.01)


def test_a_file_without_noise_is_read_as_before(tmp_path):
    run, music = write_run(tmp_path / "run"), features(200, 0)
    found = fit_on_folds(music, np.arange(200))
    of_then = {field.name: getattr(found, field.name) for field in fields(found) if field.name != "noise"}
    write_zip(run, file_of("mel_cnn"), lambda file: np.savez(file, **of_then))
    np.testing.assert_array_equal(read_novelty(run, "mel_cnn").of(music), found.of(music))


def test_it_is_kept_as_it_was_in_a_small_file_with_a_checksum(tmp_path):
    run, music = write_run(tmp_path / "run"), features(200, 0)
    assert read_novelty(run, "mel_cnn") is None
    found = fit_on_split(music, features(100, 1))
    write_novelty(run, "yamnet/logits", found)
    again = read_novelty(run, "yamnet/logits")
    np.testing.assert_array_equal(again.of(music), found.of(music))
    assert again.tracks == 100
    path = tmp_path / "run" / file_of("yamnet/logits")
    before = path.read_bytes()
    write_novelty(run, "yamnet/logits", fit_on_split(music, features(100, 1)))
    assert path.read_bytes() == before
    path.write_bytes(before[:100] + b"?" + before[101:])
    with pytest.raises(FmaError, match=r"yamnet-logits\.npz is damaged.*remove it"):
        read_novelty(run, "yamnet/logits")
