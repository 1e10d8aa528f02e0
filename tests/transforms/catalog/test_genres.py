import pytest

from transforms.catalog.genres import (
    FEWEST,
    find_spellings,
    join_genres,
    report_small_genres,
    report_spellings,
)
from transforms.taxonomy import FLAT
from transforms.tracks import SPLITS, Track


def tracks(*genres: str) -> list[Track]:
    return [Track(i, genre, "training", artist="Ann") for i, genre in enumerate(genres)]


def spellings_of(*genres: str):
    return find_spellings(track.genre for track in tracks(*genres))


@pytest.mark.parametrize("other", ["rock", "ROCK ", "Ro-ck", "Ro ck", "\uff32ock"])
def test_names_that_differ_in_case_spaces_punctuation_or_unicode_form_are_one(other):
    assert spellings_of("Rock", other, "Pop") == [{"Rock": 1, other: 1}]


@pytest.mark.parametrize("other", ["Rocks", "Räck", "Pop", "!!!"])
def test_other_names_are_not(other):
    assert spellings_of("Rock", other, "???") == []


def test_the_commonest_spelling_is_taken_unless_the_dataset_has_one_already():
    found = tracks("Hip-Hop", "hip hop", "hip hop", "Pop")
    spellings = find_spellings(track.genre for track in found)
    assert [track.genre for track in join_genres(found, spellings, [], FLAT)] == ["hip hop"] * 3 + ["Pop"]
    assert [track.genre for track in join_genres(found, spellings, ["Pop", "Hip-Hop"], FLAT)] == ["Hip-Hop"] * 3 + [
        "Pop"
    ]


def test_spellings_and_small_genres_are_shown_as_tables(capsys):
    report_spellings(spellings_of("rock", "Rock", "rock"), [], joined=False)
    assert capsys.readouterr().err.splitlines()[3:] == [
        "rock        2  rock",
        "Rock        1  rock",
        "they stay different genres; --join-genres joins them",
    ]
    splits = [("Pop", split) for split in SPLITS * FEWEST]
    report_small_genres(Track(i, genre, split) for i, (genre, split) in enumerate([*splits, ("Folk", "training")]))
    assert capsys.readouterr().err.splitlines()[-1] == "Folk        1        1         1           0     0"
    report_small_genres(Track(i, genre, split) for i, (genre, split) in enumerate(splits[1:]))
    assert capsys.readouterr().err.splitlines()[-1] == "Pop        14       14         4           5     5"
    report_small_genres(Track(i, genre, split) for i, (genre, split) in enumerate(splits))
    assert capsys.readouterr().err == ""
