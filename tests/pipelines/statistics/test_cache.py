from pipelines.statistics.cache import Part, make_part, reusable
from transforms.dataset.generation import Generation, ShardFile
from transforms.records import add_digests

KEYS = {"mel": ["aa", "bb"], "stats": ["cc"]}


def generation(name: str, *digests: int, split: str = "training") -> Generation:
    """A generation with a shard of each kind for each digest."""
    shards = [
        ShardFile(f"{kind}/{name}", kind, split, 5, 1, 100, "", f"{digest * factor:064x}")
        for digest in digests
        for kind, factor in (("mel", 1), ("stats", 1000), ("raw", 7))
    ]
    return Generation(name, "", shards=shards)


def part(*digests: int, **changes) -> Part:
    entries = {kind: {key: f"somewhere/{key}" for key in keys} for kind, keys in KEYS.items()}
    fields = {"digest": f"{add_digests(*digests) * 1001:064x}", "records": {"mel": 5, "stats": 5}, "entries": entries}
    return Part(**fields | changes)


def test_a_part_is_known_by_the_records_of_its_kinds_whatever_their_shards():
    (one,) = [generation("a", 1, 2, 3)]
    shards = {kind: [shard for shard in one.shards if shard.kind == kind] for kind in KEYS}
    assert make_part(shards).digest == part(6).digest
    assert make_part(shards).records == {"mel": 15, "stats": 15}


def test_after_growth_the_parts_hold_and_the_new_generations_are_left():
    one, two, three = generation("1", 1, 2), generation("2", 4), generation("3", 8)
    assert reusable([part(3), part(4)], [one, two, three], KEYS) == ([part(3), part(4)], [three])
    assert reusable([part(1, 2, 4)], [one, two, three], KEYS) == ([part(7)], [three])
    assert reusable([], [one, two], KEYS) == ([], [one, two])


def test_a_compacted_generation_is_all_of_its_parts():
    assert reusable([part(3), part(4)], [generation("c", 7), generation("n", 8)], KEYS)[1] == [generation("n", 8)]


def test_a_generation_that_lost_a_track_ends_what_holds():
    one, two, three = generation("1", 1, 2), generation("2", 5), generation("3", 8)
    parts = [part(1, 2), part(4), part(8)]
    assert reusable(parts, [one, two, three], KEYS) == (parts[:1], [two, three])
    assert reusable(parts, [two, one, three], KEYS) == ([], [two, one, three])


def test_generations_without_training_records_are_covered():
    one, test_only = generation("1", 1), generation("t", 5, split="test")
    assert reusable([part(1)], [one, test_only], KEYS) == ([part(1)], [])


def test_what_another_version_of_tft_kept_does_not_hold():
    other = part(1, entries={"mel": {"old": "x"}, "stats": {"cc": "y"}})
    assert reusable([other], [generation("1", 1)], KEYS) == ([], [generation("1", 1)])
