import csv

import pytest

from tests.conftest import DATA
from trainers.encoders.audioset import FIRST, MUSIC, find_classes

CLASS_MAP = DATA / "models/yamnet/yamnet_class_map.csv"


def test_a_genre_is_a_class_by_its_name_however_it_is_spelled():
    assert find_classes(["Rock", "Hip-Hop", "Jazz"]) == [214, 212, 230]
    assert find_classes(["hiphop", "ROCK MUSIC"]) == [212, 214]
    assert MUSIC[214 - FIRST] == "Rock music"


def test_one_genre_that_is_no_class_leaves_none():
    assert find_classes(["Rock", "Experimental"]) is None
    assert find_classes([]) is None


@pytest.mark.skipif(not CLASS_MAP.exists(), reason="YAMNet's class map is not on this machine")
def test_the_classes_are_those_of_yamnets_class_map():
    with CLASS_MAP.open() as file:
        names = [row["display_name"] for row in csv.DictReader(file)]
    assert tuple(names[FIRST : FIRST + len(MUSIC)]) == MUSIC
    assert (names[FIRST - 1], names[FIRST + len(MUSIC)]) == ("Whale vocalization", "Wind")
