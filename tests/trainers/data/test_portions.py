"""The shares that several processes read of a split."""

from itertools import chain, pairwise

import pytest

from trainers.data.pipeline import ReadOptions, read_split
from trainers.data.portions import Share, divide
from transforms.dataset.generation import ShardFile
from transforms.dataset.manifest import load


def shards(*records: int) -> list[ShardFile]:
    return [
        ShardFile(path=f"{number}", kind="mel", split="training", records=count, bytes=100 * count, sha256="")
        for number, count in enumerate(records)
    ]


@pytest.mark.parametrize("records", [(8, 8), (5, 0, 9, 1), (17,), (1, 1), (1000, 1, 1, 1)])
@pytest.mark.parametrize("processes", [1, 2, 3, 8])
def test_every_record_is_in_one_share_and_the_shares_are_of_one_size(records, processes):
    shares = [divide(shards(*records), Share(process, processes)) for process in range(processes)]
    ids = [
        [(portion.shard.path, place) for portion in share for place in range(portion.start, portion.stop)]
        for share in shares
    ]
    everything = [(str(number), place) for number, count in enumerate(records) for place in range(count)]
    assert list(chain(*ids)) == everything
    assert {len(share) for share in ids} <= {sum(records) // processes, -(-sum(records) // processes)}


def test_only_a_shard_in_which_two_shares_meet_is_read_for_both():
    paths = [{portion.shard.path for portion in divide(shards(6, 6, 6, 6), Share(process, 3))} for process in range(3)]
    assert paths == [{"0", "1"}, {"1", "2"}, {"2", "3"}]
    assert [len(one & other) for one, other in pairwise(paths)] == [1, 1]


def read(dataset, split: str, processes: int, batch_size: int, **options) -> list[list[dict]]:
    """The batches of each process."""
    manifest = load(str(dataset))
    return [
        list(
            read_split(
                str(dataset),
                manifest,
                "mel",
                split,
                ReadOptions(batch_size // processes, share=Share(process, processes), **options),
            ).as_numpy_iterator()
        )
        for process in range(processes)
    ]


def names(batches: list[dict]) -> list[tuple[int, int]]:
    return [
        (int(track), int(window))
        for batch in batches
        for track, window in zip(batch["track_id"], batch["window"], strict=True)
    ]


@pytest.mark.parametrize("cache", ["on", "off"])
def test_several_processes_see_in_an_epoch_the_records_that_one_sees_in_as_many_batches(dataset, cache):
    (alone,) = read(dataset, "training", 1, 8, training=True, seeds=(1, 2), cache=cache)
    together = read(dataset, "training", 2, 8, training=True, seeds=(1, 2), cache=cache)
    assert [len(batches) for batches in (alone, *together)] == [8, 8, 8]
    for epoch in (slice(0, 4), slice(4, 8)):
        seen = [name for batches in together for name in names(batches[epoch])]
        assert len(set(seen)) == len(seen) == 32
        assert set(seen) == set(names(alone[epoch]))
    assert not set(names(together[0])) & set(names(together[1]))


@pytest.mark.long
@pytest.mark.parametrize(("processes", "batch_size"), [(3, 24), (3, 27), (5, 30), (40, 40)])
def test_every_process_takes_as_many_steps_whatever_does_not_divide(dataset, processes, batch_size):
    together = read(dataset, "training", processes, batch_size, training=True, seeds=(1,))
    assert {len(batches) for batches in together} == {max(1, 32 // batch_size)}
    assert {len(batch["label"]) for batches in together for batch in batches} == {batch_size // processes}


@pytest.mark.parametrize("processes", [2, 3, 5, 16])
def test_in_evaluation_every_record_is_seen_once_by_one_process_in_as_many_batches(dataset, processes):
    together = read(dataset, "test", processes, 2 * processes, pad=True)
    assert len({len(batches) for batches in together}) == 1
    kept = [
        {name: values[batch["weight"] > 0] for name, values in batch.items()}
        for batches in together
        for batch in batches
    ]
    (alone,) = read(dataset, "test", 1, 4)
    assert sorted(names(kept)) == sorted(names(alone))
