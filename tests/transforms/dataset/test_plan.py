import random
from dataclasses import replace

import pytest

from transforms.config import DatasetConfig
from transforms.dataset.plan import ShardPlan, choose_shards, generation_name, make_plan, shard_of
from transforms.taxonomy import Vocabulary
from transforms.tracks import Track

ROCK = Vocabulary(("Rock",), ("Rock",))


def tracks_of(count: int, split: str = "training", duration: float | None = 30.0) -> list[Track]:
    return [Track(i, "Rock", split, f"{i}.mp3", duration=duration) for i in range(count)]


def test_the_shard_of_a_track_is_the_same_in_every_process():
    assert [shard_of(track_id, 8) for track_id in (2, 5, 10, 140, 106_573)] == [6, 3, 0, 0, 3]


def test_a_plan_does_not_depend_on_the_order_of_the_tracks():
    tracks = tracks_of(50) + tracks_of(50, "test")
    tracks = [Track(track.track_id + 100 * (track.split == "test"), "Rock", track.split) for track in tracks]
    shuffled = random.Random(0).sample(tracks, len(tracks))
    assert make_plan(tracks, DatasetConfig()) == make_plan(shuffled, DatasetConfig())


def test_every_track_is_in_one_shard_of_its_split_in_order():
    plan = make_plan([*tracks_of(100), Track(500, "Pop", "test")], DatasetConfig())
    found = [track for shard in plan for track in shard.tracks]
    assert sorted(track.track_id for track in found) == [*range(100), 500]
    for shard in plan:
        ids = [track.track_id for track in shard.tracks]
        assert ids == sorted(ids)
        assert {track.split for track in shard.tracks} == {shard.split}
        assert all(shard_of(track_id, shard.of) == shard.index for track_id in ids)
    assert plan[-1].name == "test-00000-of-00001"


@pytest.mark.parametrize(
    ("tracks", "shards"), [(1, 1), (8, 2), (100, 8), (6400, 24), (84_353, 316)], ids=["1", "8", "100", "small", "large"]
)
def test_shards_are_many_enough_for_readers_and_at_most_64_megabytes_of_mel(tracks, shards):
    assert choose_shards(tracks_of(tracks), DatasetConfig()) == shards


def test_hour_long_songs_get_more_shards():
    assert choose_shards(tracks_of(100, duration=3600.0), DatasetConfig()) == 52


def test_a_number_of_shards_can_be_set():
    assert {shard.of for shard in make_plan(tracks_of(100), DatasetConfig(), shards=3)} == {3}


def test_a_plan_line_comes_back_as_it_was():
    shard = ShardPlan(
        "training", 1, 4, (Track(1, "Rock", "training", "ü.mp3", archive="a.zip", duration=29.9, size=5),)
    )
    assert ShardPlan.from_line(shard.to_line()) == shard
    assert "\n" not in shard.to_line()


def test_a_generations_name_tells_plans_apart_and_does_not_depend_on_where_the_audio_lies():
    config = DatasetConfig()
    plan = make_plan(tracks_of(9), config)
    elsewhere = make_plan([replace(track, path=f"/elsewhere/{track.path}") for track in tracks_of(9)], config)
    name = generation_name(2, plan, [], ROCK, config)
    assert name == generation_name(2, elsewhere, [], ROCK, config)
    other_genre = make_plan([replace(track, genre="Jazz") for track in tracks_of(9)], config)
    others = [
        generation_name(2, plan[1:], [], ROCK, config),
        generation_name(2, plan, [7], ROCK, config),
        generation_name(2, plan, [], Vocabulary(("Jazz", "Rock"), ("Jazz", "Rock")), config),
        generation_name(2, other_genre, [], ROCK, config),
        generation_name(2, plan, [], ROCK, DatasetConfig(n_mels=64)),
    ]
    assert len({name, *others}) == 6
    assert name.startswith("0002-")
