"""A damaged dataset before every command that reads one: a clear line, exit code 1, and never less data in silence."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

import fma
from tests.trainers import tiny
from tests.trainers.synthetic import write_dataset
from trainers.models import MODELS
from transforms.dataset import manifest as manifests
from transforms.dataset.generation import Generation
from transforms.dataset.ledger import read_tracks
from transforms.records import frame, read_records

pytestmark = pytest.mark.long

SHARD = "training-00001-of-00002"
Damage = Callable[[Path], None]


def path_of(dataset: Path, kind: str) -> Path:
    (path,) = (dataset / kind).rglob(f"{SHARD}.*")
    return path


def flip_a_bit(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) - 100] ^= 1
    path.write_bytes(data)


def cut_off_a_record(path: Path) -> None:
    """Between two records, where the file is well-formed."""
    with path.open("rb") as file:
        *kept, _ = read_records(file, path.name)
    path.write_bytes(b"".join(map(frame, kept)))


def cut_off_a_few_bytes(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-7])


def repeat_a_record(path: Path) -> None:
    """As many records as before, each of them sound; only their digest tells."""
    with path.open("rb") as file:
        *kept, _ = read_records(file, path.name)
    path.write_bytes(b"".join(map(frame, [kept[0], *kept])))


def partner_of(path: Path) -> Path:
    """A shard of another split that has as many records, and so many bytes."""
    return path.with_name("test-00000-of-00002").with_suffix(path.suffix)


def swap_with_a_test_shard(path: Path) -> None:
    """Sound records all, in files of the right size, but a model would be tested on what it was trained on."""
    one, other = path.read_bytes(), partner_of(path).read_bytes()
    assert len(one) == len(other)
    path.write_bytes(other)
    partner_of(path).write_bytes(one)


def cut_manifest(dataset: Path) -> None:
    path = dataset / "dataset.json"
    path.write_text(path.read_text()[:-2000])


def make_manifest_newer(dataset: Path) -> None:
    path = dataset / "dataset.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format_version": manifests.FORMAT_VERSION + 1}))


def edit_manifest(dataset: Path, old: str, new: str) -> None:
    path = dataset / "dataset.json"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def flip_a_bit_of_a_split(dataset: Path) -> None:
    """One shard less of training, and all that is left is sound."""
    edit_manifest(dataset, '"split": "training"', '"split": "tr!ining"')


def point_a_path_outside(dataset: Path) -> None:
    edit_manifest(dataset, '"path": "', '"path": "../outside/')


def reverse_labels(dataset: Path) -> None:
    edit_manifest(dataset, '"Folk",\n  "Rock"', '"Rock",\n  "Folk"')


def repeat_a_label(dataset: Path) -> None:
    edit_manifest(dataset, '"Folk",\n  "Rock"', '"Folk",\n  "Folk"')


EDITS = (flip_a_bit_of_a_split, point_a_path_outside, reverse_labels, repeat_a_label)
MANIFEST_DAMAGES = {cut_manifest: "dataset.json is damaged", make_manifest_newer: "update fma-genres"} | dict.fromkeys(
    EDITS, "dataset.json is damaged: its checksum is not that of its content; restore it from a copy, or ingest"
)
SHARD_DAMAGES = (
    flip_a_bit,
    cut_off_a_record,
    cut_off_a_few_bytes,
    repeat_a_record,
    swap_with_a_test_shard,
    Path.unlink,
)

COMMANDS = {
    "train": ("mel", ["train", "tiny", "--device", "cpu", "--data", "{data}", "--run", "{new}"]),
    "evaluate": ("mel", ["evaluate", "{run}", "--device", "cpu", "--data", "{data}", "--split", "training"]),
    "baselines": ("stats", ["baselines", "--models", "logreg", "--jobs", "1", "--data", "{data}", "--run", "{new}"]),
    "statistics": ("stats", ["statistics", "{data}"]),
    "bench-input": ("mel", ["bench-input", "{data}", "--batch-size", "8", "--seconds", "0.1"]),
    "show": ("mel", ["show", "{data}", "--sheet", "{new}.png"]),
    "compact": ("raw", ["compact", "{data}"]),
    "verify": ("raw", ["verify", "{data}"]),
}
"""By command: the kind of a shard that it reads, and how it is called."""


@pytest.fixture(scope="module")
def sound(tmp_path_factory) -> Path:
    """A dataset of two generations with statistics in dataset/, a run trained on it in run/."""
    folder = tmp_path_factory.mktemp("readers")
    tracks = {"training": 12, "validation": 4, "test": 8}
    write_dataset(folder / "dataset", ("mel", "raw", "stats"), tracks=tracks, shards=2)
    before = dict(MODELS)
    tiny.register()
    try:
        assert fma.main(["statistics", str(folder / "dataset")]) == 0
        train = ["train", "tiny", "--device", "cpu", "--epochs", "1", "--data", str(folder / "dataset")]
        assert fma.main([*train, "--run", str(folder / "run")]) == 0
        yield folder
    finally:
        MODELS.clear()
        MODELS.update(before)


@pytest.fixture
def dataset(sound, tmp_path) -> Path:
    return Path(shutil.copytree(sound / "dataset", tmp_path / "data"))


def add_empty_generation(dataset: Path) -> None:
    """So that there is something to compact; it has no file."""
    manifest = manifests.load(str(dataset))
    manifest.generations.append(Generation("0002-empty", ""))
    manifests.commit(str(dataset), manifest)


def run(name: str, dataset: Path, sound: Path) -> int:
    places = {"data": str(dataset), "run": str(sound / "run"), "new": str(dataset.parent / "new")}
    if name == "compact":
        add_empty_generation(dataset)
    if name == "statistics":
        manifest = manifests.load(str(dataset))
        manifest.transform_fn = None
        manifests.commit(str(dataset), manifest)
    return fma.main([word.format(**places) for word in COMMANDS[name][1]])


@pytest.mark.parametrize("damage", SHARD_DAMAGES, ids=lambda damage: damage.__name__)
@pytest.mark.parametrize("name", COMMANDS)
def test_a_damaged_shard_stops_every_reader_with_a_line_that_names_it(sound, dataset, capsys, name, damage):
    path = path_of(dataset, COMMANDS[name][0])
    damage(path)
    capsys.readouterr()
    assert run(name, dataset, sound) == 1
    captured = capsys.readouterr()
    if name == "verify":
        assert f"problem: {path.relative_to(dataset)}" in captured.out
        return
    last = captured.err.splitlines()[-1]
    assert last.startswith("fma: error: ")
    damaged = (path, partner_of(path)) if damage is swap_with_a_test_shard else (path,)
    assert any(str(one.relative_to(dataset)) in last for one in damaged)
    assert last.endswith(f"run fma verify {dataset}")
    assert captured.out == "" or name == "show"  # which begins with a table of what dataset.json says
    assert not list(dataset.parent.glob("new/**/*.keras"))


@pytest.mark.parametrize("damage", MANIFEST_DAMAGES, ids=lambda damage: damage.__name__)
@pytest.mark.parametrize("name", COMMANDS)
def test_a_damaged_or_newer_manifest_stops_every_reader(sound, dataset, capsys, name, damage):
    damage(dataset)
    places = {"data": str(dataset), "run": str(sound / "run"), "new": str(dataset.parent / "new")}
    capsys.readouterr()
    assert fma.main([word.format(**places) for word in COMMANDS[name][1]]) == 1
    assert MANIFEST_DAMAGES[damage] in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize("damage", SHARD_DAMAGES, ids=lambda damage: damage.__name__)
def test_an_update_that_would_copy_from_a_damaged_shard_stops_and_the_dataset_stays(dataset, damage):
    from transforms.dataset.rewrite import without_tracks
    from transforms.errors import FmaError

    path = path_of(dataset, "raw")
    damage(path)
    manifest = manifests.load(str(dataset))
    tracks = [track.track_id for track in read_tracks(str(dataset), manifest)]
    with pytest.raises(FmaError, match=f"{path.relative_to(dataset)}.*run fma verify"):
        without_tracks(str(dataset), manifest, set(tracks), set(), "0002-update")


@pytest.mark.parametrize("name", COMMANDS)
def test_a_sound_dataset_stops_nobody(sound, dataset, name):
    assert run(name, dataset, sound) == 0
