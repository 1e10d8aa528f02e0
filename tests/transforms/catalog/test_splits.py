"""Splits by artist."""

import json
import os
import random
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from transforms.catalog.splits import report_artists, split_by_artist
from transforms.corpus.plan import artist_name
from transforms.tracks import SPLITS, Track

ROOT = Path(__file__).resolve().parents[3]
GENRES = ("Blues", "Folk", "Jazz", "Rock")


def songs(of_artists: list[int], genre: str = "Rock", first: int = 0) -> list[Track]:
    """Tracks of a genre by artists with so many songs each; ids and artists are counted from `first`."""
    artists = [first + number for number, count in enumerate(of_artists) for _ in range(count)]
    return [Track(1000 * first + i, genre, "", artist=artist_name(artist)) for i, artist in enumerate(artists)]


def sixty() -> list[Track]:
    """60 songs of 4 genres by 20 artists."""
    return [track for i, genre in enumerate(GENRES) for track in songs([3] * 5, genre, 5 * i)]


def by_genre(tracks: list[Track]) -> dict[str, tuple[int, ...]]:
    """The number of tracks of each genre in training, validation and test."""
    counts = Counter((track.genre, track.split) for track in tracks)
    return {genre: tuple(counts[genre, split] for split in SPLITS) for genre in sorted({t.genre for t in tracks})}


def splits_of(tracks: list[Track]) -> dict[int, str]:
    return {track.track_id: track.split for track in tracks}


def are_whole(tracks: list[Track]) -> bool:
    """Whether each artist is in one split."""
    return len({track.artist for track in tracks}) == len({(track.artist, track.split) for track in tracks})


def test_sixty_songs_of_twenty_artists_have_every_genre_in_every_split():
    found = split_by_artist(sixty())
    assert by_genre(found) == dict.fromkeys(GENRES, (9, 3, 3))
    assert are_whole(found)


def test_many_artists_come_to_80_10_10_in_each_genre_and_stay_whole():
    draw = random.Random(0)
    tracks = [
        track
        for i, genre in enumerate(GENRES)
        for track in songs([1 + int(draw.paretovariate(1.2)) for _ in range(50)], genre, 50 * i)
    ]
    found = split_by_artist(tracks)
    assert are_whole(found)
    for training, validation, test in by_genre(found).values():
        total = training + validation + test
        assert (training / total, validation / total, test / total) == pytest.approx((0.8, 0.1, 0.1), abs=0.02)


def test_artists_of_several_genres_count_in_each():
    tracks = sixty()
    tracks = [replace(t, artist=artist_name(i // 6 % 10)) if i % 3 else t for i, t in enumerate(tracks)]
    found = split_by_artist(tracks)
    assert are_whole(found)
    assert all(all(counts) for counts in by_genre(found).values())
    common = [replace(track, genre="", genres=("Folk", "Rock")) for track in songs([1] * 20)]
    rare = [replace(track, genre="", genres=("Blues", "Jazz")) for track in songs([1] * 3, "Jazz", 20)]
    assert {track.split for track in split_by_artist([*common, *rare])[20:]} == set(SPLITS), "without a top genre, too"


def test_the_splits_depend_on_the_tracks_alone_in_any_order_and_process():
    tracks = sixty()
    expected = splits_of(split_by_artist(tracks))
    random.Random(1).shuffle(tracks)
    assert splits_of(split_by_artist(tracks)) == expected
    code = (
        "import json; from tests.transforms.catalog.test_splits import *; "
        "print(json.dumps(splits_of(split_by_artist(sixty()))))"
    )
    for seed in ("1", "2"):
        environment = os.environ | {"PYTHONHASHSEED": seed}
        ran = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, cwd=ROOT, env=environment)
        assert {int(track_id): split for track_id, split in json.loads(ran.stdout).items()} == expected


def test_names_that_differ_in_case_and_spacing_are_one_artist_and_tracks_without_one_are_all_different():
    spelt = [Track(i, "Rock", "", artist=name) for i, name in enumerate(("Björk", " björk ", "BJÖRK", "Ann", "Bo"))]
    assert len({track.split for track in split_by_artist(spelt)[:3]}) == 1
    unknown = [Track(i, "Rock", "") for i in range(20)]
    assert by_genre(split_by_artist(unknown)) == {"Rock": (16, 2, 2)}


def test_growth_keeps_every_track_where_it_is_and_brings_genres_where_they_lack():
    few = [track for track in sixty() if int(track.track_id) % 1000 < 6]
    held = split_by_artist(few)
    grown = split_by_artist(sixty(), held)
    assert splits_of(held).items() <= splits_of(grown).items()
    assert are_whole(grown)
    assert all(all(counts) for counts in by_genre(grown).values())
    more = split_by_artist(
        [*sixty(), *(replace(track, track_id=500 + track.track_id) for track in songs([9] * 5))], held
    )
    assert are_whole(more), "new songs of a held artist go where it is"


def test_a_dataset_with_other_splits_by_artist_keeps_them():
    old = [replace(track, split="test" if track.artist < "M" else "validation") for track in sixty()[:30]]
    grown = split_by_artist(sixty(), old)
    assert splits_of(old).items() <= splits_of(grown).items()
    assert are_whole(grown)
    assert all(training for training, *_ in by_genre(grown[30:]).values())


def test_an_artist_with_another_name_now_and_one_that_left_the_metadata_keep_their_splits():
    held = split_by_artist(sixty())
    renamed = [replace(track, split="", artist=f"{track.artist} Band") for track in sixty()]
    assert splits_of(split_by_artist(renamed, held)) == splits_of(held)
    late = [replace(track, track_id=9000 + track.track_id) for track in sixty()]
    again = [track.split for track in split_by_artist(late, held)]
    assert again == [track.split for track in held]


def test_a_run_that_goes_on_after_some_of_its_tracks_gives_the_others_what_they_would_have_got():
    tracks = [track for i, genre in enumerate(GENRES) for track in songs([1, 4, 2, 7, 3, 1, 1], genre, 7 * i)]
    whole = split_by_artist(tracks)
    for done in (whole[:11], whole[:38], whole[::2], whole[50:]):
        assert split_by_artist(tracks, done) == whole


def test_an_artist_with_most_of_a_genre_trains_though_another_split_lacks_it():
    assert by_genre(split_by_artist(songs([50, 1, 1]))) == {"Rock": (50, 1, 1)}
    held = [replace(track, split="training") for track in songs([2])]
    grown = split_by_artist(songs([2, 50]), held)
    assert by_genre(grown) == {"Rock": (52, 0, 0)}


def test_two_artists_of_a_genre_train_and_test(capsys):
    assert by_genre(split_by_artist(songs([3, 3]))) == {"Rock": (3, 0, 3)}


def test_what_whole_artists_do_not_allow_is_said_with_what_to_do(capsys):
    report_artists(sixty())
    assert capsys.readouterr().err == ""
    report_artists([*songs([2, 2]), Track(5001, "Folk", ""), *songs([1] * 3, "Jazz", 7)])
    unknown, few = capsys.readouterr().err.splitlines()
    assert unknown.startswith("1 of 8 tracks without an artist: each stands for an artist of its own")
    assert few == (
        "under 3 artists, too few to be in every split: Folk, Rock; add music by other artists, or score on all tracks "
        "with fma baselines --folds 5"
    )
