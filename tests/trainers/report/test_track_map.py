"""The map in the report: every track has its place and its name."""

import re

import fma
from tests.embeddings import add_embeddings
from tests.trainers.finished_runs import GENRES, write_run
from tests.trainers.report.test_report import EVIL, Parsed, report
from tests.trainers.synthetic import write_dataset
from transforms.dataset.manifest import commit, load


def test_the_map_names_every_track_and_says_how_far_neighbours_agree(tmp_path):
    data = str(tmp_path / "data")
    write_dataset(data, ("mel",), GENRES, {"training": 12, "validation": 4, "test": 12}, artist=EVIL)
    run = write_run(tmp_path / "run", dataset=data, digest=load(data).digest, track_id=range(17, 29))
    without = report(tmp_path / "without.html", run)
    assert 'id="map"' not in without
    add_embeddings(data, outputs={"embedding": 90})
    text = report(tmp_path / "with.html", run)
    assert report(tmp_path / "again.html", run) == text
    page = Parsed(text)
    assert not page.open
    assert page.tags.count("title") == 1 + 28
    assert f"{EVIL} 17 (17): Folk" in page.text
    assert "28 tracks by the embeddings of yamnet" in page.text
    assert "Folk (10)" in page.text
    assert "has the same top genre for 100.0% of the tracks; one drawn at random would have it for 33.4%" in page.text
    (picture,) = re.findall(r'<svg[^>]*role="img"[^>]*28 tracks by.*?</svg>', text)
    marks = re.findall(r"<(circle|rect|path)", picture)
    assert {shape: marks.count(shape) for shape in set(marks)} == {"circle": 10, "path": 9, "rect": 9}


def test_a_dataset_whose_tracks_are_not_all_embedded_has_no_map(tmp_path):
    data = str(tmp_path / "data")
    write_dataset(data, ("mel",), GENRES, {"training": 4, "test": 3})
    manifest = add_embeddings(data)
    (generation,) = manifest.generations
    generation.shards = [shard for shard in generation.shards if shard.kind == "mel"]
    commit(data, manifest)
    run = write_run(tmp_path / "run", dataset=data, digest=manifest.digest, track_id=(5, 6, 7))
    assert 'id="map"' not in report(tmp_path / "report.html", run)
    assert fma.main(["show", data, "--map", str(tmp_path / "map.png")]) == 2
