"""Genres in metadata: FMA's ids and their tree, and several genres in a cell of one's own csv."""

import csv
import io
import lzma
import resource
import shutil
import time
from collections import Counter
from pathlib import Path

import pandas as pd
import pytest

from transforms.catalog.metadata import GenreOptions, read_catalog
from transforms.errors import UsageError
from transforms.taxonomy import Taxonomy

REAL = Path(__file__).resolve().parents[4] / "shared" / "data" / "fma_real_metadata"

GENRES = "genre_id,#tracks,parent,title,top_level\n12,9,0,Rock,12\n25,5,12,Punk,12\n10,4,0,Pop,10\n89,1,25,Oi,12\n"
TRACKS = """\
,set,set,artist,album,track,track,track,track,track,track
,split,subset,name,title,duration,genre_top,genres,genres_all,license,title
track_id,,,,,,,,,,
2,training,small,Bo,Al,168,Rock,[25],"[25, 12]",,
3,training,large,Bo,Al,168,,"[25, 10]","[25, 12, 10]",,
5,test,large,Cy,Al,168,,[],[],,
7,test,large,Cy,Al,168,Pop,[],,,
"""


@pytest.fixture
def fma(tmp_path) -> Path:
    """An unpacked fma_metadata folder."""
    (tmp_path / "tracks.csv").write_text(TRACKS)
    (tmp_path / "genres.csv").write_text(GENRES)
    return tmp_path


def genres_of(path, subset="large", **options) -> dict[int, tuple[str, tuple[str, ...]]]:
    catalog = read_catalog(str(path), subset, genres=GenreOptions(**options))
    return {track.track_id: (track.genre, track.genres) for track in catalog.tracks}


def own(folder: Path, rows: str) -> str:
    (folder / "music.csv").write_text("track_id,path,genre,split\n" + rows)
    return str(folder / "music.csv")


def test_fmas_ids_become_titles_with_their_ancestors(fma):
    expected = {2: ("Rock", ("Punk", "Rock")), 3: ("", ("Pop", "Punk", "Rock")), 7: ("Pop", ("Pop",))}
    assert genres_of(fma) == genres_of(fma / "tracks.csv") == expected
    shutil.make_archive(str(fma / "zip"), "zip", fma)
    assert genres_of(fma / "zip.zip") == expected


def test_every_row_is_a_track_or_is_counted_with_a_reason(fma):
    assert read_catalog(str(fma), "large").skipped == {"no_genre": 1}
    assert genres_of(fma, unlabelled=True)[5] == ("", ())
    assert read_catalog(str(fma), "small").skipped == {"not_in_subset": 3}


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        ("[25", r"tracks.csv line 4: track/genres '\[25' is not a list of ids, such as \[21, 10\]"),
        ("Punk", r"tracks.csv line 4: track/genres 'Punk' is not a list of ids"),
        ("[999]", r"tracks.csv line 4: track/genres '\[999\]': genre 999 is not in .*genres.csv"),
    ],
)
def test_an_odd_cell_is_one_line_with_its_row(fma, cell, message):
    (fma / "tracks.csv").write_text(TRACKS.replace("[25],", f"{cell},", 1))
    with pytest.raises(UsageError, match=message):
        read_catalog(str(fma), "large")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("25,5,12,Punk", "25,5,x,Punk", r"genres.csv line 3: genre_id '25' or parent 'x' is not a whole number"),
        ("25,5,12,Punk", "25,5,13,Punk", r"genres.csv line 3: its parent 13 is not in the table"),
        ("25,5,12,Punk", "25,5,12,Rock", r"genres.csv line 3: genre 25 'Rock' has no title, or its id or title"),
        ("12,9,0,Rock", "12,9,25,Rock", r"genres.csv: genre '(Rock|Punk)' is its own ancestor"),
        ("genre_id", "id", r"genres.csv: columns missing: genre_id; give FMA's genres.csv"),
        ("Punk", "P\x01nk", r"genres.csv line 3: genre 'P\\x01nk' has the control character"),
        ("25,5,12,Punk", "25,5,12,Punk,x,y", r"genres.csv line 3: 7 cells where the header has 5"),
        ("Punk", '"Punk', r"genres.csv line \d: not a well-formed csv"),
    ],
)
def test_a_table_of_genres_that_cannot_be_right_is_one_clear_line(fma, old, new, message):
    (fma / "genres.csv").write_text(GENRES.replace(old, new))
    with pytest.raises(UsageError, match=message):
        read_catalog(str(fma), "large")


def test_without_genres_csv_ids_have_no_names_and_that_is_said(fma):
    (fma / "genres.csv").unlink()
    with pytest.raises(UsageError, match=r"tracks.csv: there is no genres.csv beside it, which has the names"):
        read_catalog(str(fma), "large")
    assert genres_of(fma, top_only=True) == {2: ("Rock", ("Rock",)), 7: ("Pop", ("Pop",))}


def test_a_cell_of_a_csv_may_have_several_genres(tmp_path):
    path = own(tmp_path, "1,a.mp3,Rock | Indie,test\n2,b.mp3,Rock,test\n3,c.mp3,|,test\n")
    assert genres_of(path, None) == {1: ("", ("Indie", "Rock")), 2: ("Rock", ("Rock",))}


def test_a_csv_of_parents_makes_a_tree_and_the_label_is_its_top(tmp_path):
    path, parents = own(tmp_path, "1,a.mp3,Indie|Punk,test\n2,b.mp3,Punk|Jazz,test\n"), tmp_path / "parents.csv"
    parents.write_text("parent,genre\nRock,Indie\nRock,Punk\n,Rock\n")
    assert genres_of(path, None, parents=str(parents)) == {
        1: ("Rock", ("Indie", "Punk", "Rock")),
        2: ("", ("Jazz", "Punk", "Rock")),
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("genre,parent\nA,B\nA,C\n", r"p.csv line 3: genre 'A' has two rows"),
        ("genre,parent\n,B\n", r"p.csv line 2: genre '' is empty"),
        ("genre,parent\nA,B\nB,A\n", r"p.csv: genre '[AB]' is its own ancestor"),
        ("a,b\n", r"p.csv: columns missing: genre, parent; give a csv with the columns genre,parent"),
    ],
)
def test_a_csv_of_parents_that_is_no_tree_is_one_clear_line(tmp_path, text, message):
    (tmp_path / "p.csv").write_text(text)
    with pytest.raises(UsageError, match=message):
        genres_of(own(tmp_path, "1,a.mp3,A,test\n"), None, parents=str(tmp_path / "p.csv"))


def test_a_missing_csv_of_parents_and_one_for_fma_are_refused(tmp_path, fma):
    with pytest.raises(UsageError, match=r"no.csv: no such file"):
        genres_of(own(tmp_path, "1,a.mp3,A,test\n"), None, parents=str(tmp_path / "no.csv"))
    with pytest.raises(UsageError, match=r"--genres p.csv: FMA's metadata has its own genres.csv"):
        genres_of(fma, parents="p.csv")


def test_the_datasets_tree_counts_until_it_is_to_be_updated(fma):
    held = Taxonomy({"Punk": "Pop", "Pop": "", "Dub": ""})
    catalog = read_catalog(str(fma), "small", genres=GenreOptions(held=held))
    assert catalog.moved == (("Punk", "Pop", "Rock"),)
    assert catalog.tracks[0].genres == ("Pop", "Punk", "Rock")
    assert genres_of(fma, "small", held=held, update=True)[2] == ("Rock", ("Punk", "Rock"))


def test_both_trees_together_may_not_make_a_circle(fma):
    held = Taxonomy({"Rock": "Punk", "Punk": ""})
    with pytest.raises(UsageError, match=r"would be its own ancestor, by the metadata's tree and the dataset's"):
        genres_of(fma, held=Taxonomy({"Rock": "Oi"}))
    assert genres_of(fma, held=held, update=True)[2] == ("Rock", ("Punk", "Rock"))


@pytest.mark.long
@pytest.mark.skipif(not REAL.is_dir(), reason="there is no real metadata of FMA here")
def test_all_of_fma_has_the_genres_that_pandas_counts(tmp_path):
    with lzma.open(REAL / "fma_tracks_genres.csv.xz", "rt") as file:
        table = pd.read_csv(file, keep_default_na=False)
    shutil.copy(REAL / "genres.csv", tmp_path)
    subsets = table["subset"].replace("large_or_full", "large")
    with open(tmp_path / "tracks.csv", "w", newline="") as file:
        rows = csv.writer(file)
        rows.writerows(csv.reader(io.StringIO("".join(TRACKS.splitlines(keepends=True)[:3]))))
        for row, subset in zip(table.itertuples(), subsets, strict=True):
            rows.writerow([row.track_id, "training", subset, "A", "", 30, row.genre_top, row.genres, "", "", ""])

    began, before = time.monotonic(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    catalog = read_catalog(str(tmp_path), "full", genres=GenreOptions(unlabelled=True))
    assert time.monotonic() - began < 30
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 1 << 20  # KiB

    tree = pd.read_csv(tmp_path / "genres.csv", index_col="genre_id")
    exploded = table.assign(ids=table["genres_all"].str.findall(r"\d+")).explode("ids").dropna(subset="ids")
    titles = exploded["ids"].astype(int).map(tree["title"])
    tops_alone = ((table["genres_all"].isin(["", "[]"])) & (table["genre_top"] != "")).sum()  # 32 of Experimental
    expected = Counter(titles) + Counter({"Experimental": int(tops_alone)})
    assert Counter(name for track in catalog.tracks for name in track.genres) == expected
    assert len(expected) == 161
    assert Counter(track.genre for track in catalog.tracks) == Counter(table["genre_top"])
    assert Counter(track.labelled for track in catalog.tracks) == {"top": 49_133, "genres": 54_688, "none": 2_753}
    assert Counter(track.subset for track in catalog.tracks) == Counter(subsets)
    depths = Counter(len(catalog.taxonomy.line(name)) for name in expected)
    parents = tree["parent"].to_dict()

    def depth(genre: int) -> int:
        return 1 + (depth(parents[genre]) if parents[genre] else 0)

    used = {int(ids) for ids in exploded["ids"]}
    assert depths == Counter(depth(genre) for genre in used)
    assert len({catalog.taxonomy.line(name)[-1] for name in expected}) == 16
    skipping = read_catalog(str(tmp_path), "full")
    assert len(skipping.tracks) + skipping.skipped["no_genre"] == len(table) == 106_574
