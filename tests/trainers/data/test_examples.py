"""Training examples from records, and from stored features."""

import numpy as np
import pytest

from tests.trainers import tiny
from tests.trainers.synthetic import CONFIG, write_dataset
from trainers.data.examples import feature_examples, record_examples
from trainers.data.inputs import Inputs
from trainers.data.pipeline import fit_batch
from trainers.models.records import add_normalization, normalization_of
from trainers.training import front_features
from trainers.training.answers import OneLabel
from trainers.training.front_features import COLUMNS, Embeddings, embed_split, sort_rows
from trainers.training.objective import compile_part

GENRES = ("Folk", "Rock", "Jazz")
PLAIN = tiny.phase()


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    """Raw records: 10 training tracks of 2 windows (4, 3 and 3 by genre), 5 for validation."""
    folder = tmp_path_factory.mktemp("examples")
    manifest = write_dataset(folder, ("raw",), GENRES, {"training": 10, "validation": 5})
    return Inputs(str(folder), manifest, "raw")


COUNTS = np.array([8, 6, 6])


def features(tracks: int = 6, windows: int = 4) -> Embeddings:
    """Feature 0 is the track, feature 1 the window."""
    track_id = np.repeat(np.arange(tracks) * 10, windows)
    values = np.stack([track_id, np.tile(np.arange(windows), tracks)], axis=1).astype(np.float32)
    return Embeddings(values, track_id // 10 % 3, track_id, 3)


def test_records_come_as_they_are_stored_with_their_label(inputs):
    found = record_examples(inputs, PLAIN, 6, COUNTS, seeds=[0], reproducible=True)
    assert found.steps == 3
    batches = list(found.training)
    assert len(batches) == 3
    for batch in batches:
        assert set(batch) == {"input", "label"}
        assert (batch["input"].shape, batch["input"].dtype) == ((6, 16384), "int16")
        assert np.abs(batch["input"]).max() > 1000
        assert set(batch["label"].numpy()) <= {0, 1, 2}


def test_no_pipeline_is_tuned_by_a_thread_that_its_end_has_to_wait_for(inputs):
    records = record_examples(inputs, PLAIN, 6, COUNTS, seeds=[0], reproducible=False)
    stored = feature_examples(features(), features(2), PLAIN, batch_size=3, by_track=True, seeds=[0])
    pipelines = (records.training, records.validation, stored.training, stored.validation, inputs.read("validation", 2))
    assert [pipeline.options().autotune.enabled for pipeline in pipelines] == [False] * 5


@pytest.mark.parametrize("stored", ["records", "windows", "tracks"])
def test_each_epoch_has_a_seed_and_is_the_same_whichever_came_before_it(inputs, stored):
    import tensorflow as tf

    tf.random.set_seed(0)  # as with `fma train --seed 0`

    def epochs(*seeds: int) -> list[np.ndarray]:
        if stored == "records":
            found = record_examples(inputs, PLAIN, 10, COUNTS, seeds=seeds, reproducible=True)
        else:
            by_track = stored == "tracks"
            found = feature_examples(features(), None, PLAIN, batch_size=3, by_track=by_track, seeds=seeds)
        batches = [batch["input"].numpy() for batch in found.training]
        assert len(batches) == len(seeds) * found.steps
        return np.split(np.concatenate(batches), len(seeds))

    one, two = epochs(1), epochs(2)
    assert not np.array_equal(one, two)
    np.testing.assert_array_equal(epochs(2, 1, 1), [*two, *one, *one])


def test_validation_is_the_mean_over_all_its_records(inputs):
    """Also where the last batch is padded: 10 records in batches of 4."""
    import keras

    validation = record_examples(inputs, PLAIN, 4, COUNTS, seeds=[0], reproducible=True).validation
    network = tiny.build(tiny.ModelInput((16384,)), 3, tiny.ModelOptions())
    model = add_normalization(network, "raw", CONFIG, None)
    part = compile_part(network, tiny.phase(), OneLabel.of(COUNTS, tiny.phase()), 5, normalize=normalization_of(model))
    found = part.evaluate(validation, verbose=0, return_dict=True)
    values, labels, weights = (
        np.concatenate([batch[key] for batch in validation]) for key in ("input", "label", "weight")
    )
    real = weights > 0
    assert real.sum() == 10
    logits = model.predict(values[real], verbose=0)
    losses = keras.losses.sparse_categorical_crossentropy(labels[real], logits, from_logits=True)
    assert found["loss"] == pytest.approx(float(np.mean(losses)), rel=1e-5)
    assert found["accuracy"] == pytest.approx((logits.argmax(axis=1) == labels[real]).mean())


def test_features_of_a_track_are_the_mean_of_its_windows():
    whole = features().by_track()
    np.testing.assert_array_equal(whole.features, [[10 * track, 1.5] for track in range(6)])
    np.testing.assert_array_equal(whole.label, [0, 1, 2, 0, 1, 2])
    np.testing.assert_array_equal(whole.track_id, np.arange(6) * 10)
    one = Embeddings(np.ones((1, 2), np.float32), np.array([2]), np.array([7]), 3).by_track()
    np.testing.assert_array_equal(one.track_id, [7])


def test_a_training_example_is_the_mean_of_a_random_half_of_a_track():
    found = feature_examples(features(), features(4), PLAIN, batch_size=3, by_track=True, seeds=range(8))
    assert found.steps == 2
    halves = {np.mean([a, b]) for a in range(4) for b in range(a)}
    seen = set()
    batches = iter(found.training)
    for _ in range(8):
        tracks = []
        for batch in (next(batches), next(batches)):
            values = batch["input"].numpy()
            tracks += values[:, 0].tolist()
            seen |= set(values[:, 1].tolist())
            np.testing.assert_array_equal(batch["label"], values[:, 0] // 10 % 3)
        assert sorted(tracks) == [0, 10, 20, 30, 40, 50]
    assert seen <= halves
    assert len(seen) > 3
    np.testing.assert_array_equal(found.counts, [2, 2, 2])
    assert found.validation.element_spec["input"].shape == (3, 2)
    values, labels, weights = (
        np.concatenate([batch[key] for batch in found.validation]) for key in ("input", "label", "weight")
    )
    np.testing.assert_array_equal(labels[:4], [0, 1, 2, 0])
    np.testing.assert_array_equal(values[:4], [[0, 1.5], [10, 1.5], [20, 1.5], [30, 1.5]])
    np.testing.assert_array_equal(weights, np.array([1.5, 1.5, 1.5, 1.5, 0, 0], np.float32))


def test_without_pooling_an_example_is_a_window():
    found = feature_examples(features(), None, PLAIN, batch_size=8, by_track=False, seeds=[0])
    assert (found.steps, found.validation) == (3, None)
    rows = np.concatenate([batch["input"] for batch in found.training])
    np.testing.assert_array_equal(rows[np.lexsort(rows.T[::-1])], features().features)
    np.testing.assert_array_equal(found.counts, [8, 8, 8])


@pytest.mark.parametrize(
    ("examples", "wanted", "replicas", "batch"),
    [
        (24, 8, 1, 8),
        (6, 8, 1, 6),
        (7, 64, 2, 6),  # an equal share for each replica
        (20, 128, 8, 16),
        (3, 64, 8, 8),  # one for each replica, which takes some of them twice
        (1, 32, 1, 1),
    ],
)
def test_few_examples_make_a_small_batch_that_replicas_can_share(examples, wanted, replicas, batch):
    assert fit_batch(examples, wanted, replicas) == batch


@pytest.mark.parametrize("by_track", [True, False])
@pytest.mark.parametrize(("replicas", "batch"), [(1, 6), (4, 4), (8, 8)])
def test_fewer_features_than_a_batch_are_a_smaller_batch_and_one_note(capsys, by_track, replicas, batch):
    few = features(6, windows=4 if by_track else 1)
    shared = {"batch_size": 8 * replicas, "by_track": by_track, "seeds": [0], "replicas": replicas}
    found = feature_examples(few, features(1, windows=1), PLAIN, **shared)
    assert capsys.readouterr().err == (
        f"note: phase train has 6 training examples, fewer than a batch of {8 * replicas}: its batches have {batch}\n"
    )
    assert found.steps == len(list(found.training)) == 1
    assert found.training.element_spec["input"].shape == (batch, 2)
    assert found.validation.element_spec["input"].shape == (replicas, 2)
    (examples,) = found.training
    tracks = set(examples["input"][:, 0].numpy().tolist())
    assert len(tracks) == min(6, batch) or batch > 6


def test_fewer_records_than_a_batch_are_a_smaller_batch_too(inputs, capsys):
    for replicas, batch in ((1, 20), (8, 16), (32, 32)):
        found = record_examples(inputs, PLAIN, 96, COUNTS, seeds=[0], reproducible=True, replicas=replicas)
        assert f"20 training examples, fewer than a batch of 96: its batches have {batch}" in capsys.readouterr().err
        (examples,) = found.training
        assert (len(examples["input"]), found.steps) == (batch, 1)
        held_out = [padded["weight"].numpy() for padded in found.validation]
        assert sum((weight > 0).sum() for weight in held_out) == 10
        assert {len(weight) % replicas for weight in held_out} == {0}
        assert max(map(len, held_out)) <= max(16, replicas)  # not padded to 96


def test_rows_are_sorted_in_their_own_place():
    rng = np.random.default_rng(0)
    values = rng.standard_normal((50, 2 * COLUMNS + 3))
    before, order = values.copy(), rng.permutation(50)
    sort_rows(values, order)
    np.testing.assert_array_equal(values, before[order])


def test_features_are_computed_once_and_in_the_order_of_tracks_and_windows(inputs, tmp_path):
    def front(values):
        return np.mean(np.float32(values) ** 2, axis=1, keepdims=True)

    run = str(tmp_path)
    first = embed_split(run, "head", front, inputs, "training", batch_size=7)
    assert first.features.shape == (20, 1)
    np.testing.assert_array_equal(first.track_id, np.repeat(np.arange(1, 11), 2))
    np.testing.assert_array_equal(first.label, np.repeat(np.arange(10) % 3, 2))
    again = embed_split(run, "head", None, inputs, "training", batch_size=7)
    np.testing.assert_array_equal(again.features, first.features)
    assert embed_split(run, "head", front, inputs, "test", batch_size=7) is None


def test_features_that_are_many_stay_on_disk_and_are_the_same(inputs, tmp_path, monkeypatch):
    def front(values):
        return np.float32(values)[:, :100] ** 3

    def draw(features: Embeddings, by_track: bool) -> list[np.ndarray]:
        found = feature_examples(features, features, PLAIN, batch_size=4, by_track=by_track, seeds=[3, 5])
        assert found.counts.tolist() == ([4, 3, 3] if by_track else [8, 6, 6])
        batches = [*found.training, *found.validation]
        assert {batch["input"].shape for batch in batches} == {(4, 100)}
        return [value.numpy() for batch in batches for value in batch.values()]

    kept = embed_split(str(tmp_path / "small"), "head", front, inputs, "training", batch_size=7)
    monkeypatch.setattr(front_features, "IN_MEMORY", 0)
    monkeypatch.setattr(front_features, "TRACKS", 3)
    run = str(tmp_path / "large")
    computed = embed_split(run, "head", front, inputs, "training", batch_size=7)
    read = embed_split(run, "head", None, inputs, "training", batch_size=7)
    small, large = (path / "features/head-training.npz" for path in (tmp_path / "small", tmp_path / "large"))
    assert small.read_bytes() == large.read_bytes()
    assert type(kept.features) is np.ndarray
    for found in (computed, read):
        assert type(found.features) is np.memmap
        np.testing.assert_array_equal(found.features, kept.features)
        np.testing.assert_array_equal(found.by_track().features, kept.by_track().features)
        for by_track in (True, False):
            for one, other in zip(draw(found, by_track), draw(kept, by_track), strict=True):
                np.testing.assert_array_equal(one, other)


def test_a_disk_that_is_full_ends_the_features_with_its_error(inputs, tmp_path, monkeypatch):
    monkeypatch.setattr(front_features, "IN_MEMORY", 0)
    monkeypatch.setattr(front_features, "_temporary_file", lambda: open("/dev/full", "w+b"))  # noqa: SIM115
    with pytest.raises(OSError, match="No space left on device"):
        embed_split(str(tmp_path), "head", np.float32, inputs, "training", batch_size=7)
    assert not (tmp_path / "features").exists()
