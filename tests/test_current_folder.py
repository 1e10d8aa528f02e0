"""Commands in a folder of music that holds files and folders named like modules: they are nothing to the program."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.pipelines.ingest.test_ingest import SMALL, make_music

ROOT = Path(__file__).resolve().parents[1]
HOSTILE = ("soundfile.py", "grpc.py", "joblib.py", "argparse.py", "apache_beam.py", "transforms/__init__.py")
EMPTY = ("fma", "pipelines", "trainers")
CONSOLE_SCRIPT = "import sys\nfrom fma import main\nsys.exit(main())\n"  # as pip writes it


@pytest.fixture
def songs(tmp_path) -> Path:
    folder = tmp_path / "songs"
    folder.mkdir()
    make_music(folder, 8)
    return folder


def plant(folder: Path, names: tuple[str, ...], empty: tuple[str, ...]) -> Path:
    """Files that leave a note in the folder above when they are run; returns the note's path."""
    note = folder.parent / "note"
    for name in names:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(f"open({str(note)!r}, 'a').write(__file__)\n")
    for name in empty:
        (folder / name).mkdir()
    return note


def run(folder: Path, *command: str, path: str = str(ROOT)) -> None:
    command, environment = (sys.executable, *command), os.environ | {"PYTHONPATH": path}
    ran = subprocess.run(command, cwd=folder, capture_output=True, text=True, env=environment, check=False)
    assert ran.returncode == 0, ran.stderr


@pytest.mark.long
def test_an_ingestion_with_workers_runs_nothing_that_lies_beside_the_songs(songs):
    (songs.parent / "fma").write_text(CONSOLE_SCRIPT)
    note = plant(songs, HOSTILE, EMPTY)
    words = ["--audio", ".", "--metadata", "tracks.csv", "--out", "out", *SMALL, "--features", "mel,raw,stats"]
    run(songs, str(songs.parent / "fma"), "ingest", *words, "--workers", "2")
    assert not note.exists()


@pytest.mark.long
def test_a_workflow_runs_nothing_that_lies_beside_the_songs(songs):
    (songs.parent / "fma").write_text(CONSOLE_SCRIPT)
    note = plant(songs, HOSTILE, EMPTY)
    words = ["--audio", ".", "--metadata", "tracks.csv", "--out", "work", *SMALL, "--features", "stats"]
    options = ["--models", "baselines", "--options", "baselines=--jobs 2 --models logreg"]
    run(songs, str(songs.parent / "fma"), "run", *words, *options)
    assert not note.exists()


@pytest.mark.long
@pytest.mark.parametrize("path", [str(ROOT), f"{os.pathsep}{ROOT}"])
def test_as_a_module_it_runs_nothing_that_lies_beside_the_songs_either(songs, path):
    note = plant(songs, ("soundfile.py", "argparse.py", "numpy.py", "transforms/__init__.py"), ())
    words = ["--audio", ".", "--metadata", "tracks.csv", "--out", "out", *SMALL]
    run(songs, "-m", "fma", "ingest", *words, path=path)
    assert not note.exists()
