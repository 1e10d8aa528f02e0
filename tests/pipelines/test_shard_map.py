"""`fma verify` and `fma compact` give the same whoever reads and writes the shards: processes, or Beam."""

import json
import shutil
import signal
from pathlib import Path

import pytest
import soundfile

import fma
from tests.processes import assert_all_end, start, wait_for
from tests.transforms.dataset.test_leaks import RATE, tune
from transforms.dataset.manifest import load

WAYS = {
    "two processes": ["--workers=2"],
    "Beam in this process": ["--runner=FnApiRunner"],
    "two processes of Beam": ["--runner=FnApiRunner", "--workers=2"],
}
LONG = "two processes of Beam"  # whose start takes seconds
by_each_way = pytest.mark.parametrize(
    "way", [pytest.param(way, id=name, marks=[pytest.mark.long] * (name == LONG)) for name, way in WAYS.items()]
)


@pytest.fixture(scope="module")
def grown(tmp_path_factory) -> Path:
    """Two generations; of the six songs one is in training and, softer, in test."""
    folder = tmp_path_factory.mktemp("songs")
    songs = {i: tune(i, 8) for i in range(1, 6)}
    for i, samples in (songs | {6: 0.3 * songs[1]}).items():
        soundfile.write(folder / f"{i}.flac", samples, RATE)
    rows = [f"{i},{i}.flac,{'Rock' if i % 2 else 'Folk'},{'training' if i < 4 else 'test'}" for i in range(1, 7)]
    for upto in (4, 6):
        (folder / "tracks.csv").write_text("\n".join(["track_id,path,genre,split", *rows[:upto]]))
        paths = ["--audio", str(folder), "--metadata", str(folder / "tracks.csv"), "--out", str(folder / "dataset")]
        settings = ["--features", "mel,raw", "--shards", "2", "--direct_running_mode=in_memory"]
        assert fma.main(["ingest", *paths, *settings]) == 0
    return folder / "dataset"


@pytest.fixture
def dataset(grown, tmp_path) -> Path:
    """A copy that may be changed."""
    return Path(shutil.copytree(grown, tmp_path / "dataset"))


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def verdict(dataset: Path, way: list[str], capsys) -> dict:
    code = fma.main(["verify", str(dataset), "--json", *way])
    found = json.loads(capsys.readouterr().out)
    assert code == (0 if found["ok"] else 1)
    return found


@by_each_way
def test_a_sound_dataset_has_the_same_verdict_and_leaks_and_nothing_is_written_to_it(grown, way, capsys):
    before = files_of(grown)
    found = verdict(grown, way, capsys)
    assert found == verdict(grown, ["--workers=1"], capsys)
    assert found["ok"]
    assert [leak["where"] for leak in found["leaks"]] == [{"training": [1], "test": [6]}]
    assert files_of(grown) == before


@by_each_way
def test_damage_of_every_kind_is_named_in_the_same_lines_and_order(dataset, way, capsys):
    shards = [dataset / file.path for file in load(str(dataset)).files()]
    spoilt, missing, cut, *_, ledger = shards
    spoilt.write_bytes(spoilt.read_bytes()[:-50] + b"\0" + spoilt.read_bytes()[-49:])
    missing.unlink()
    cut.write_bytes(cut.read_bytes()[:-7])
    ledger.write_text(ledger.read_text().replace("Rock", "Folk").replace("Folk", "Jazz"))
    found = verdict(dataset, way, capsys)
    assert found == verdict(dataset, ["--workers=1"], capsys)
    for path, line in zip((spoilt, missing, cut, ledger), found["problems"], strict=True):
        assert str(path.relative_to(dataset)) in line


@by_each_way
def test_compaction_writes_the_same_files(dataset, grown, way, tmp_path, capsys):
    alone = Path(shutil.copytree(grown, tmp_path / "alone"))
    assert fma.main(["compact", str(alone), "--remove-old", "--workers=1"]) == 0
    expected = capsys.readouterr().out
    assert fma.main(["compact", str(dataset), "--remove-old", *way]) == 0
    assert capsys.readouterr().out == expected
    assert files_of(dataset) == files_of(alone)
    assert load(str(dataset)).digest == load(str(grown)).digest


@by_each_way
def test_a_damaged_shard_ends_a_compaction_with_one_line_and_the_dataset_stays(dataset, way, capsys):
    manifest = (dataset / "dataset.json").read_bytes()
    shard = dataset / load(str(dataset)).shards("raw")[0].path
    shard.write_bytes(shard.read_bytes()[:-7])
    assert fma.main(["compact", str(dataset), *way]) == 1
    *_, line = capsys.readouterr().err.splitlines()
    assert line.startswith(f"fma: error: {shard}")
    assert f"run fma verify {dataset}" in line
    assert (dataset / "dataset.json").read_bytes() == manifest


@pytest.mark.long
def test_a_compaction_on_beam_that_is_killed_leaves_the_dataset_as_it_was(dataset, grown, capsys):
    words = ["compact", str(dataset), "--runner=FnApiRunner", "--workers=2"]
    process = start(words)
    workers = wait_for(process.pid, "sdk_worker_main")
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert_all_end(workers)
    assert (dataset / "dataset.json").read_bytes() == (grown / "dataset.json").read_bytes()
    assert verdict(dataset, [], capsys)["ok"]
    assert fma.main([*words, "--remove-old"]) == 0
    capsys.readouterr()
    assert verdict(dataset, [], capsys)["ok"]
    assert len(load(str(dataset)).generations) == 1
    assert not (dataset / "plan").exists()


def test_options_that_neither_the_command_nor_beam_knows_are_refused(grown, capsys):
    for command in ("verify", "compact"):
        assert fma.main([command, str(grown), "--runer=FnApiRunner"]) == 2
        assert "unknown option --runer=FnApiRunner (did you mean --runner?)" in capsys.readouterr().err


def test_without_options_for_beam_it_is_not_started(dataset):
    script = "import fma; fma_main = fma.main; fma.main = lambda: fma_main() or 3 * ('apache_beam' in sys.modules); "
    for command in ("verify", "compact"):
        process = start([command, str(dataset), "--workers=2"], f"import sys; {script}")
        _, err = process.communicate()
        assert process.returncode == 0, err
