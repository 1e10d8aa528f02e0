"""The table of genres that a model with many genres for each track is trained on."""

import numpy as np
import pytest

from trainers.data.inputs import Inputs
from trainers.data.targets import Targets, choose_genres
from transforms.dataset.ledger import read_tracks
from transforms.dataset.manifest import load
from transforms.tracks import Track

TRACKS = [
    Track(7, "Rock", "training", genres=("Punk", "Rock")),
    Track(3, "", "training", genres=("Jazz", "Rock")),
    Track(5, "", "training"),
    Track(4, "Jazz", "test"),
]


def test_a_row_for_each_track_with_genres_by_track_id_and_a_column_for_each_genre_asked_for():
    targets = Targets.of(TRACKS, ["Rock", "Punk"])
    assert targets.track_id.tolist() == [3, 4, 7]
    assert targets.truth.tolist() == [[True, False], [False, False], [True, True]]
    assert targets.splits.tolist() == ["training", "test", "training"]
    assert targets.share().tolist() == [1.0, 0.5]
    assert targets.share("validation").tolist() == [0.0, 0.0]


def test_the_rows_of_tracks_are_found_by_their_ids_and_an_unknown_track_is_an_error():
    targets = Targets.of(TRACKS, ["Rock"])
    assert targets.rows(np.array([7, 3, 7])).tolist() == [2, 0, 2]
    for unknown in (1, 6, 8):
        with pytest.raises(KeyError, match=str(unknown)):
            targets.rows(np.array([3, unknown]))


def test_genres_with_few_training_tracks_are_left_out_and_tracks_of_other_splits_do_not_count():
    assert choose_genres(TRACKS, ["Jazz", "Punk", "Rock", "Folk"], 1) == ["Jazz", "Punk", "Rock"]
    assert choose_genres(TRACKS, ["Jazz", "Punk", "Rock"], 2) == ["Rock"]


def test_a_record_comes_with_the_row_of_its_track_from_the_shards_of_all_tracks_with_genres(several):
    manifest = load(str(several))
    tracks = list(read_tracks(str(several), manifest))
    targets = Targets.of(tracks, list(manifest.genres))
    kinds = {kind: Inputs(str(several), manifest, "mel", one) for kind, one in (("all", targets), ("top", None))}
    found = {kind: set[int]() for kind in kinds}
    for kind, inputs in kinds.items():
        assert inputs.labels == kind
        for batch in inputs.read("training", 8):
            kept = batch["weight"].numpy() > 0
            ids, labels = batch["track_id"].numpy()[kept], batch["label"].numpy()[kept]
            found[kind] |= set(ids.tolist())
            if kind == "all":
                np.testing.assert_array_equal(labels, targets.rows(ids))
    training = [track for track in tracks if track.split == "training"]
    assert found["all"] == {track.track_id for track in training if track.genres}
    assert found["top"] == {track.track_id for track in training if track.genre}
    assert len(found["top"]) < len(found["all"])
