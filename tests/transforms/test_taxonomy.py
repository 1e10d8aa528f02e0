import pytest

from transforms.records import Record
from transforms.taxonomy import FLAT, Taxonomy, Vocabulary
from transforms.tracks import Track

TREE = Taxonomy({"Rock": "", "Punk": "Rock", "Hardcore": "Punk", "Pop": "", "Dance": "Electronic"})


def test_genres_are_closed_with_all_of_their_ancestors_whatever_their_order():
    assert TREE.close(["Hardcore"]) == ("Hardcore", "Punk", "Rock")
    assert TREE.close(["Pop", "Punk"]) == TREE.close(["Rock", "Punk", "Pop"]) == ("Pop", "Punk", "Rock")
    assert TREE.close([]) == ()


def test_a_genre_that_is_not_in_the_tree_has_no_parent():
    assert FLAT.close(["Drone"]) == ("Drone",)
    assert TREE.close(["Dance"]) == ("Dance", "Electronic")


def test_the_top_genre_is_that_of_the_one_tree_that_all_genres_are_in():
    assert TREE.top(["Hardcore", "Punk"]) == "Rock"
    assert TREE.top(["Hardcore", "Pop"]) == TREE.top([]) == ""


def test_a_walk_meets_each_genre_before_its_children():
    assert list(TREE.walk()) == ["Electronic", "Dance", "Pop", "Rock", "Punk", "Hardcore"]


def test_a_genre_cannot_be_its_own_ancestor():
    with pytest.raises(ValueError, match="Punk"):
        Taxonomy({"Punk": "Hardcore", "Hardcore": "Punk"})


def test_the_genres_whose_parents_differ_are_named_with_both():
    assert TREE.moved(Taxonomy({"Punk": "Pop", "Rock": "", "Ska": "Punk"})) == [("Punk", "Rock", "Pop")]


NAMES = Vocabulary(("Pop", "Rock"), ("Rock", "Pop", "Punk"))


@pytest.mark.parametrize(
    ("track", "ids"),
    [
        (Track(1, "Rock", "test"), (1, ())),
        (Track(1, "Rock", "test", genres=("Rock", "Punk")), (1, (0, 2))),
        (Track(1, "", "test", genres=("Pop", "Punk", "Rock")), (-1, (0, 1, 2))),
        (Track(1, "", "test"), (-1, ())),
    ],
)
def test_ids_of_a_track_stand_for_its_names(track, ids):
    assert NAMES.ids(track) == ids
    label, genres = ids
    assert NAMES.names(Record(1, 0, 0, label, b"", genres)) == (track.genre, tuple(sorted(track.genres)))


def test_a_record_with_an_id_that_the_dataset_does_not_have_is_found():
    assert NAMES.find_mismatch(Record(1, 0, 0, 1, b"", (0, 2)), "top") == ""
    assert NAMES.find_mismatch(Record(1, 0, 0, -1, b"", (0, 2)), "genres") == ""
    assert NAMES.find_mismatch(Record(1, 0, 0, 2, b""), "top") == "label 2 of 2"
    assert NAMES.find_mismatch(Record(1, 0, 0, -1, b""), "top") == "label -1 of 2"
    assert NAMES.find_mismatch(Record(1, 0, 0, 0, b""), "genres") == "label 0 of 0"
    assert NAMES.find_mismatch(Record(1, 0, 0, 0, b"", (3,)), "top") == "genre 3 of 3"
