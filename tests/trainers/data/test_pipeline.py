import dataclasses
import os
from pathlib import Path

import numpy as np
import pytest

from tests.trainers.synthetic import CONFIG, TRACKS, write_dataset
from trainers.data import pipeline
from trainers.data.errors import translate_read_errors
from trainers.data.pipeline import MIN_SHUFFLE, Budget, ReadOptions, available_memory, plan_memory, read_serialized
from trainers.data.portions import divide
from transforms.audio.features import KINDS
from transforms.dataset.manifest import load
from transforms.dataset.verify import verify
from transforms.errors import FmaError, UsageError
from transforms.records import decode_payload, deserialize, read_records


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> str:
    """12 + 4 + 4 tracks of 2 windows, every kind; read only."""
    folder = tmp_path_factory.mktemp("data") / "dataset"
    write_dataset(folder, tuple(KINDS))
    return str(folder)


def read_split(dataset: str, manifest, kind: str, split: str, batch_size: int, **options):
    return pipeline.read_split(dataset, manifest, kind, split, ReadOptions(batch_size, **options))


def records_of(batches) -> list[tuple[int, int]]:
    """(track_id, window) in the order in which they come."""
    return [
        (int(track_id), int(window))
        for batch in batches.as_numpy_iterator()
        for track_id, window in zip(batch["track_id"], batch["window"], strict=True)
    ]


def on_disk(dataset, manifest, kind, split):
    records = []
    for shard in manifest.shards(kind, split):
        with open(os.path.join(dataset, shard.path), "rb") as file:
            records += [deserialize(data) for data in read_records(file, shard.path)]
    return records


def change_byte(path: Path, position: int) -> None:
    data = bytearray(path.read_bytes())
    data[position] ^= 1
    path.write_bytes(data)


def test_a_synthetic_dataset_is_a_sound_dataset(dataset):
    verdict = verify(dataset, load(dataset))
    assert (verdict.problems, verdict.leaks) == ([], [])
    assert load(dataset).totals["by_split"] == TRACKS


@pytest.mark.parametrize("kind", list(KINDS))
def test_an_evaluation_yields_every_record_once_as_it_stands_on_disk(dataset, kind):
    manifest = load(dataset)
    want = {(r.track_id, r.window): r for r in on_disk(dataset, manifest, kind, "validation")}
    batches = list(read_split(dataset, manifest, kind, "validation", 3).as_numpy_iterator())
    found = {
        (track_id, window): (label, payload)
        for batch in batches
        for track_id, window, label, payload in zip(
            batch["track_id"], batch["window"], batch["label"], batch[kind], strict=True
        )
    }
    assert sum(len(batch["label"]) for batch in batches) == len(found) == len(want)
    assert len(batches[-1]["label"]) == len(want) % 3
    for key, record in want.items():
        label, payload = found[key]
        assert label == record.label
        assert payload.dtype == KINDS[kind].dtype
        np.testing.assert_array_equal(payload, decode_payload(kind, record.payload, CONFIG))


def test_an_evaluation_has_the_same_order_every_time(dataset):
    manifest = load(dataset)
    first, second = (read_split(dataset, manifest, "mel", "training", 5, seeds=[seed]) for seed in (1, 2))
    assert records_of(first) == records_of(first) == records_of(second)


@pytest.mark.parametrize("kind", list(KINDS))
@pytest.mark.parametrize("batch_size", [4, 7])
def test_training_has_as_many_full_batches_as_the_manifest_promises(dataset, kind, batch_size):
    manifest = load(dataset)
    batches = read_split(dataset, manifest, kind, "training", batch_size, training=True)
    steps = sum(shard.records for shard in manifest.shards(kind, "training")) // batch_size
    assert int(batches.cardinality()) == len(list(batches)) == steps
    assert batches.element_spec[kind].shape.as_list() == [batch_size, *KINDS[kind].shape(CONFIG)]
    assert all(spec.shape.is_fully_defined() for spec in batches.element_spec.values())


def records_of_epochs(dataset: str, seeds: list[int], **options) -> list[list[tuple]]:
    """The training records of each epoch, in order."""
    batches = read_split(dataset, load(dataset), "mel", "training", 4, training=True, seeds=seeds, **options)
    found = records_of(batches)
    return [found[start : start + 24] for start in range(0, len(found), 24)]


@pytest.mark.parametrize("cache", ["on", "off"])
def test_training_sees_each_record_once_in_a_new_order_every_epoch(dataset, cache):
    epochs = records_of_epochs(dataset, [3, 4, 5], cache=cache)
    assert len(epochs) == 3
    assert all(len(set(epoch)) == 24 for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 3
    assert records_of(read_split(dataset, load(dataset), "mel", "training", 24)) not in epochs


def test_an_epochs_seed_gives_its_order_in_a_reproducible_run_whatever_is_kept_in_memory(dataset, monkeypatch):
    def epochs(*seeds: int, cache: str) -> list[list[tuple]]:
        return records_of_epochs(dataset, list(seeds), cache=cache, reproducible=True)

    two, one = epochs(2, 1, cache="on")
    assert two != one
    assert [*epochs(2, 1, cache="off"), *epochs(1, cache="on"), *epochs(1, cache="off")] == [two, one, one, one]
    monkeypatch.setattr(pipeline, "MIN_SHUFFLE", 4)
    monkeypatch.setattr(pipeline, "available_memory", lambda: 0)  # records are shuffled among a few, and shards, too
    two, one = epochs(2, 1, cache="off")
    assert epochs(1, cache="off") == [one]
    assert len(set(two)) == 24
    assert two != one


def test_shards_are_read_in_the_order_of_a_seed(dataset):
    def tracks(seed: int | None) -> list[int]:
        serialized = read_serialized(dataset, divide(shards), seed, ordered=True)
        return [deserialize(data).track_id for data in serialized.as_numpy_iterator()]

    shards = load(dataset).shards("mel", "training")
    assert len(shards) == 3
    assert len({tuple(tracks(seed)) for seed in range(4)}) > 1
    assert tracks(0) == tracks(0)
    assert tracks(None) == tracks(None)


def test_shuffling_can_be_switched_off(dataset):
    options = {"training": True, "shuffle": False, "reproducible": True}
    batches = read_split(dataset, load(dataset), "mel", "training", 24, **options)
    assert records_of(batches) == records_of(read_split(dataset, load(dataset), "mel", "training", 24))


def test_a_padded_evaluation_has_static_shapes_and_says_what_is_filling(dataset):
    for kind in KINDS:
        batches = read_split(dataset, load(dataset), kind, "test", 3, pad=True)
        assert all(spec.shape.is_fully_defined() for spec in batches.element_spec.values())
        plain = list(read_split(dataset, load(dataset), kind, "test", 3).as_numpy_iterator())
        for batch, whole in zip(batches.as_numpy_iterator(), plain, strict=True):
            count = len(whole["label"])
            np.testing.assert_array_equal(batch["weight"], [1.0] * count + [0.0] * (3 - count))
            for key, value in whole.items():
                np.testing.assert_array_equal(batch[key][:count], value)
                assert not batch[key][count:].any()


def test_a_cached_split_does_not_read_its_files_again(tmp_path):
    manifest = write_dataset(tmp_path, ("mel",))
    shard = tmp_path / manifest.shards("mel", "training")[0].path
    for cache in ("on", "off"):
        batches = read_split(str(tmp_path), manifest, "mel", "training", 4, training=True, seeds=range(20), cache=cache)
        epochs = iter(batches)
        for _ in range(6):
            next(epochs)
        hidden = shard.rename(shard.with_suffix(".hidden"))
        if cache == "on":
            assert len(list(epochs)) == 19 * 6
            assert len(list(batches)) == 20 * 6
        else:
            with (
                pytest.raises(FmaError, match=f"cannot read {shard}.*run fma verify {tmp_path}"),
                translate_read_errors(str(tmp_path)),
            ):
                list(epochs)
        hidden.rename(shard)


def test_a_kind_that_the_dataset_lacks_is_a_usage_error_that_names_what_it_has(tmp_path):
    manifest = write_dataset(tmp_path, ("mel", "stats"))
    with pytest.raises(UsageError, match=r"has no raw records \(it holds mel, stats\)"):
        read_split(str(tmp_path), manifest, "raw", "training", 4)


@pytest.mark.parametrize("training", [True, False])
def test_an_empty_split_is_a_usage_error_that_says_where_records_are(tmp_path, training):
    manifest = write_dataset(tmp_path, ("mel",), tracks={"test": 3})
    with pytest.raises(UsageError, match=r"no mel records in its training split .*training 0, validation 0, test 6"):
        read_split(str(tmp_path), manifest, "mel", "training", 4, training=training)


def test_a_training_split_smaller_than_a_batch_fills_one(dataset):
    batches = read_split(dataset, load(dataset), "mel", "training", 25, training=True)
    assert int(batches.cardinality()) == 1
    found = records_of(batches)
    assert (len(found), len(set(found))) == (25, 24)
    assert len(records_of(read_split(dataset, load(dataset), "mel", "training", 25))) == 24


def test_a_shard_that_is_missing_or_short_is_refused_before_anything_is_read(tmp_path):
    manifest = write_dataset(tmp_path, ("mel",))
    shard = manifest.shards("mel", "training")[0]
    path = tmp_path / shard.path
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // shard.records])  # at the end of a record, where TensorFlow sees nothing wrong
    with pytest.raises(FmaError, match=rf"{path} has .* bytes, not {len(data):,}: run fma verify {tmp_path}"):
        read_split(str(tmp_path), manifest, "mel", "training", 4, training=True)
    path.unlink()
    with pytest.raises(FmaError, match=f"{path} is missing: run fma verify {tmp_path}"):
        read_split(str(tmp_path), manifest, "mel", "training", 4)


@pytest.mark.parametrize("training", [True, False])
def test_a_damaged_shard_is_one_line_that_names_it(tmp_path, training):
    manifest = write_dataset(tmp_path, ("mel", "raw"))
    shard = manifest.shards("raw", "training")[1]
    change_byte(tmp_path / shard.path, shard.bytes - 100)
    batches = read_split(str(tmp_path), manifest, "raw", "training", 4, training=training)
    with pytest.raises(FmaError) as caught, translate_read_errors(str(tmp_path)):
        records_of(batches)
    message = f"{tmp_path / shard.path}: record {shard.records - 1} is damaged (checksum): run fma verify {tmp_path}"
    assert str(caught.value) == message


def test_fewer_records_than_the_manifest_lists_end_the_epoch_with_an_error(tmp_path):
    manifest = write_dataset(tmp_path, ("mel",))
    generation = manifest.generations[0]
    shards = [dataclasses.replace(shard, records=shard.records + 1) for shard in generation.shards]
    manifest.generations[0] = dataclasses.replace(generation, shards=shards)
    batches = read_split(str(tmp_path), manifest, "mel", "test", 4)
    with (
        pytest.raises(FmaError, match=f"{tmp_path} does not have the records.*run fma verify"),
        translate_read_errors(str(tmp_path)),
    ):
        records_of(batches)


def test_errors_about_something_else_pass_through(dataset):
    import tensorflow as tf

    for error in (tf.errors.NotFoundError, tf.errors.InvalidArgumentError, tf.errors.FailedPreconditionError):
        with pytest.raises(error), translate_read_errors(dataset):
            raise error(None, None, "a variable of the model")


def test_an_address_is_left_to_tensorflow_and_not_asked_for_sizes(dataset):
    batches = read_split("gs://bucket/dataset", load(dataset), "mel", "training", 4, training=True)
    assert int(batches.cardinality()) == 6


def test_an_address_with_a_damaged_shard_is_named_and_not_read_again():
    import tensorflow as tf

    bucket = "gs://bucket/data"
    with (
        pytest.raises(FmaError, match=f"a shard of {bucket} is damaged: run fma verify {bucket}"),
        translate_read_errors(bucket),
    ):
        raise tf.errors.DataLossError(None, None, "{{node}} corrupted record at 12 [Op:IteratorGetNext]")
    with (
        pytest.raises(FmaError, match=rf"cannot read {bucket}/a\.tfrecord, code 404: run") as caught,
        translate_read_errors(bucket),
    ):
        raise tf.errors.NotFoundError(None, None, "{{node}} gs://bucket/data/a.tfrecord,\n\t code 404 [Op:Next]")
    assert "\n" not in str(caught.value)


def test_a_split_is_cached_where_it_fits_into_its_share_of_the_memory():
    assert plan_memory(1000, 50_000_000, 200_000_000, "auto", shuffle=False) == Budget(True, 0)
    assert plan_memory(1000, 50_000_000, 100_000_000, "auto", shuffle=False) == Budget(False, 0)
    assert plan_memory(1000, 50_000_000, 100_000_000, "on", shuffle=False) == Budget(True, 0)
    assert plan_memory(1000, 50_000_000, 200_000_000, "off", shuffle=False) == Budget(False, 0)


def test_the_shuffle_buffer_holds_the_whole_split_or_what_fits():
    assert plan_memory(1000, 50_000_000, 200_000_000, "auto", shuffle=True) == Budget(True, 1000)
    assert plan_memory(1000, 50_000_000, 400_000_000, "off", shuffle=True) == Budget(False, 1000)
    assert plan_memory(1000, 50_000_000, 200_000_000, "off", shuffle=True) == Budget(False, 500)
    assert plan_memory(1000, 50_000_000, 1_000, "off", shuffle=True) == Budget(False, MIN_SHUFFLE)
    assert plan_memory(10, 50_000_000, 1_000, "off", shuffle=True) == Budget(False, 10)


def test_little_memory_costs_no_records(dataset, monkeypatch):
    monkeypatch.setattr(pipeline, "available_memory", lambda: 0)
    batches = read_split(dataset, load(dataset), "raw", "training", 4, training=True)
    assert len(set(records_of(batches))) == 24


def make_files(root: Path, files: dict[str, str]) -> str:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return str(root)


MEMINFO = {"proc/meminfo": "MemTotal:       16000000 kB\nMemFree: 100 kB\nMemAvailable:    8000 kB\n"}
GROUP = {"sys/fs/cgroup/memory.max": "6000000\n", "sys/fs/cgroup/memory.current": "5000000\n"}
GROUP_1 = {
    "sys/fs/cgroup/memory/memory.limit_in_bytes": "3000000\n",
    "sys/fs/cgroup/memory/memory.usage_in_bytes": "2000000\n",
    "sys/fs/cgroup/memory/memory.stat": "cache 9\ntotal_inactive_file 500000\n",
}


@pytest.mark.parametrize(
    ("files", "want"),
    [
        (MEMINFO, 8_192_000),
        (MEMINFO | GROUP, 1_000_000),
        (MEMINFO | GROUP | {"sys/fs/cgroup/memory.stat": "anon 1\ninactive_file 700000\n"}, 1_700_000),
        (MEMINFO | GROUP | {"sys/fs/cgroup/memory.max": "max\n"}, 8_192_000),
        (MEMINFO | GROUP_1, 1_500_000),
        (GROUP | {"sys/fs/cgroup/memory.max": "1000\n"}, 0),
    ],
)
def test_free_memory_is_the_kernels_estimate_within_the_control_groups_limit(tmp_path, files, want):
    assert available_memory(make_files(tmp_path, files)) == want


def test_free_memory_of_this_machine_is_some_but_not_more_than_it_has(tmp_path):
    built_in = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    assert 0 < available_memory() <= built_in
    assert available_memory(str(tmp_path)) == built_in // 2
