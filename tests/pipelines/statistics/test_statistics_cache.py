"""Statistics of a dataset that changed: only new records are read, and the result is the same as when all are read.

Real audio, real ingests, real updates and compactions; shards that must not be read are spoilt.
"""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

import fma
from pipelines.statistics.cache import load_parts
from tests.pipelines.ingest.test_ingest import ingest, make_music
from tests.pipelines.statistics.test_statistics import constants
from transforms.dataset import manifest as manifests
from transforms.dataset.generation import LEDGERS

pytestmark = pytest.mark.long

SETTINGS = ["--n-mels", "32", "--window-frames", "20", "--features", "mel,stats"]
SAME = 1e-6
"""Measured differences are 1e-12: sums are added in another order."""


def ingest_csv(folder: Path, out: str, metadata: str, *more: str) -> Path:
    assert ingest(folder, out, *more, metadata=metadata, settings=SETTINGS) == 0
    return folder / out


def statistics(dataset: Path, capsys) -> tuple[str, str]:
    """The command's last line, and its standard error without progress."""
    capsys.readouterr()
    assert fma.main(["statistics", str(dataset)]) == 0
    captured = capsys.readouterr()
    remarks = [line for line in captured.err.splitlines() if not line.startswith("statistics: ")]
    return captured.out.splitlines()[-1], "\n".join(remarks)


def assert_as_at_once(dataset: Path, at_once: Path) -> None:
    found, wanted = constants(dataset), constants(at_once)
    assert [value.shape for value in found] == [value.shape for value in wanted]
    for value, want in zip(found, wanted, strict=True):
        np.testing.assert_allclose(value, want, rtol=0, atol=SAME)


def spoil(dataset: Path, generations: int) -> None:
    """Makes the record files of the first generations unreadable."""
    manifest = manifests.load(str(dataset))
    for generation in manifest.generations[:generations]:
        for shard in generation.shards:
            (dataset / shard.path).write_bytes(b"this is no record file")


@pytest.fixture(scope="module")
def music(tmp_path_factory) -> Path:
    """18 tracks; csvs of the first 12, of all and of all but two; old/ with statistics, all/ and less/ made at once."""
    folder = tmp_path_factory.mktemp("music")
    make_music(folder, 18, name="all.csv")
    lines = (folder / "all.csv").read_text().splitlines()
    (folder / "some.csv").write_text("\n".join(lines[:13]) + "\n")
    (folder / "less.csv").write_text("\n".join([lines[0], *lines[2:10], *lines[11:]]) + "\n")  # without tracks 0 and 9
    for name, metadata in (("old", "some.csv"), ("all", "all.csv"), ("less", "less.csv")):
        dataset = ingest_csv(folder, name, metadata, *(["--commit-every", "6"] if name == "old" else []))
        assert fma.main(["statistics", str(dataset)]) == 0
    return folder


@pytest.fixture
def dataset(music) -> Path:
    """A copy of old/: two generations of six tracks, with statistics."""
    copy = music / "copy"
    shutil.rmtree(copy, ignore_errors=True)
    return Path(shutil.copytree(music / "old", copy))


def count(dataset: Path, kind: str = "stats", generations: slice = slice(None)) -> int:
    found = manifests.load(str(dataset)).generations[generations]
    return sum(
        shard.records for one in found for shard in one.shards if (shard.kind, shard.split) == (kind, "training")
    )


def test_after_growth_only_the_new_generation_is_read(music, dataset, capsys):
    ingest_csv(music, "copy", "all.csv")
    new = count(dataset, generations=slice(2, None))
    assert 0 < new < count(dataset)
    spoil(dataset, 2)
    line, remarks = statistics(dataset, capsys)
    assert f" {new} stats records of the training split, kept the sums of " in line
    assert remarks == ""
    assert_as_at_once(dataset, music / "all")


def test_growth_after_growth_keeps_every_earlier_sum(music, dataset, capsys):
    lines = (music / "all.csv").read_text().splitlines()
    (music / "more.csv").write_text("\n".join(lines[:18]) + "\n")
    for metadata in ("more.csv", "all.csv"):
        ingest_csv(music, "copy", metadata)
        spoil(dataset, len(manifests.load(str(dataset)).generations) - 1)
        statistics(dataset, capsys)
    path = manifests.load(str(dataset)).transform_fn.path
    assert len(json.loads((dataset / path / "cache.json").read_text())) == 3
    assert_as_at_once(dataset, music / "all")


def test_a_compaction_changes_nothing_and_growth_after_it_reads_only_what_is_new(music, dataset, capsys):
    assert fma.main(["compact", str(dataset), "--remove-old"]) == 0
    assert "up to date" in statistics(dataset, capsys)[0]
    ingest_csv(music, "copy", "all.csv")
    assert len(manifests.load(str(dataset)).generations) == 2
    spoil(dataset, 1)
    line, remarks = statistics(dataset, capsys)
    assert "kept the sums of" in line
    assert remarks == ""
    assert_as_at_once(dataset, music / "all")


def test_an_update_that_takes_tracks_out_has_everything_read_again_and_says_so(music, dataset, capsys):
    ingest_csv(music, "copy", "less.csv", "--update")
    line, remarks = statistics(dataset, capsys)
    assert "kept the sums" not in line
    assert f" {count(dataset)} stats records" in line
    assert (
        remarks
        == "the records are not those of the last analysis (an update took tracks out, say): they are read again"
    )
    assert_as_at_once(dataset, music / "less")


def test_tracks_outside_the_training_split_leave_the_statistics_up_to_date(music, dataset, capsys):
    text = (music / "some.csv").read_text().splitlines()
    (music / "one-less.csv").write_text(
        "\n".join(line for line in text if not line.endswith("artist 4,validation")) + "\n"
    )
    ingest_csv(music, "copy", "one-less.csv", "--update")
    spoil(dataset, 2)
    line, remarks = statistics(dataset, capsys)
    assert "are up to date" in line
    assert remarks == ""
    assert_as_at_once(dataset, music / "old")


def flip_a_bit(path: Path) -> None:
    entry = next((path / "cache").rglob("stats-*"))
    data = entry.read_bytes()
    entry.write_bytes(data[:500] + bytes([data[500] ^ 1]) + data[501:])


def change_text(path: Path, old: str, new: str) -> None:
    path.write_text(path.read_text().replace(old, new, 1))


def swap(one: Path, other: Path) -> None:
    data = one.read_bytes()
    assert data != other.read_bytes()
    one.write_bytes(other.read_bytes())
    other.write_bytes(data)


def test_damaged_sums_are_not_used_and_everything_is_read_again(music, dataset, capsys):
    flip_a_bit(dataset / manifests.load(str(dataset)).transform_fn.path)
    ingest_csv(music, "copy", "all.csv")
    line, remarks = statistics(dataset, capsys)
    assert "kept the sums" not in line
    assert "is not what was written (checksum)): all records are analysed" in remarks
    assert_as_at_once(dataset, music / "all")


@pytest.mark.parametrize(
    ("damage", "remark"),
    [
        (lambda path: (path / "cache.json").write_text((path / "cache.json").read_text()[:-30]), "cannot be used"),
        (lambda path: (path / "cache.json").write_text('[{"digest": ""}]'), "made by an older version"),
        (
            lambda path: change_text(path / "cache.json", '"records"', '"recorgs"'),
            "its checksum is not that of its content",
        ),
        (
            lambda path: swap(*(next(path.rglob(name)) for name in ("mel-*", "stats-*"))),
            "is not what was written (checksum)",
        ),
        (lambda path: (path / "cache.json").unlink(), ""),
        (lambda path: next((path / "cache").rglob("mel-*")).unlink(), ""),
    ],
)
def test_sums_that_are_lost_or_not_ours_are_none(dataset, capsys, damage, remark):
    manifest = manifests.load(str(dataset))
    assert len(load_parts(str(dataset), manifest)) == 1
    damage(dataset / manifest.transform_fn.path)
    capsys.readouterr()
    assert load_parts(str(dataset), manifest) == []
    assert remark in capsys.readouterr().err


def test_the_sums_lie_with_the_graphs_that_the_manifest_lists_and_no_others_are_left(music, dataset, capsys):
    ingest_csv(music, "copy", "all.csv")
    statistics(dataset, capsys)
    ingest_csv(music, "copy", "all.csv", "--update")  # removes files that the manifest does not list
    manifest = manifests.load(str(dataset))
    listed = {file.path for file in manifest.files()}
    found = {str(path.relative_to(dataset)) for path in dataset.rglob("*") if path.is_file()}
    folder = manifest.transform_fn.path
    sums = {path for path in found if path.startswith(f"{folder}/cache")}
    assert len(sums) == 1 + 2 * 3  # the list; two parts with mean and variance of mel, moments of stats
    graphs = {path for path in found if path.startswith(f"{folder}/")} - sums
    assert found - listed - graphs - sums == {"dataset.json", ".lock"}
    assert not set(os.listdir(dataset)) - {*LEDGERS, "mel", "stats", "transform_fn", "dataset.json", ".lock", "plan"}


def test_the_terminal_shows_no_notes_of_tensorflow_or_beam(music, dataset):
    import subprocess
    import sys

    manifest = manifests.load(str(dataset))
    manifest.transform_fn = None
    manifests.commit(str(dataset), manifest)
    environment = {key: value for key, value in os.environ.items() if key not in ("TF_CPP_MIN_LOG_LEVEL", "FMA_DEBUG")}
    command = [sys.executable, "-m", "fma", "statistics", str(dataset), "--workers", "2"]
    ran = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert ran.returncode == 0, ran.stderr
    assert len(ran.stdout.splitlines()) == 1
    assert all(line.startswith("statistics: ") for line in ran.stderr.splitlines()), ran.stderr
