"""Temporary folders: one for each process, gone when it ends, and removed by the next run where it was killed."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from transforms.errors import FmaError
from transforms.runtime import temporary

ROOT = Path(__file__).resolve().parents[3]
MAKES_ONE = (
    "import sys; from transforms.runtime import temporary; folder = temporary.new_folder(); "
    "print(folder.name, flush=True); sys.stdin.read()"
)


@pytest.fixture(autouse=True)
def system_folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def start(system: Path) -> tuple[subprocess.Popen, Path]:
    """A process that has made a temporary folder, which is returned, and waits."""
    process = subprocess.Popen(
        [sys.executable, "-c", MAKES_ONE],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env=os.environ | {"TMPDIR": str(system)},
    )
    return process, Path(process.stdout.readline().strip())


def test_a_process_leaves_nothing_behind(system_folder):
    process, folder = start(system_folder)
    (folder / "file").write_text("")
    process.communicate()
    assert process.returncode == 0
    assert [list(users.iterdir()) for users in system_folder.iterdir()] == [[]]


def test_the_next_run_removes_what_a_killed_process_left_and_nothing_of_one_that_runs(system_folder):
    killed, left = start(system_folder)
    running, kept = start(system_folder)
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    assert left.is_dir()
    temporary.folder()
    assert not left.parent.exists()
    assert kept.is_dir()
    running.communicate()


def test_what_another_machine_left_is_removed_after_a_week(system_folder):
    users = system_folder / f"fma-{os.getuid()}"
    old, new = users / "1-1-00000000", users / "2-1-00000000"
    for folder in (old, new):
        folder.mkdir(parents=True)
    week_ago = time.time() - 8 * 86400
    os.utime(old, (week_ago, week_ago))
    temporary.folder()
    assert (old.exists(), new.exists()) == (False, True)


def test_a_folder_that_somebody_else_has_put_in_its_place_is_not_used(system_folder, tmp_path_factory):
    (system_folder / f"fma-{os.getuid()}").symlink_to(tmp_path_factory.mktemp("theirs"))
    with pytest.raises(FmaError, match="set TMPDIR"):
        temporary.folder()


def test_libraries_put_their_temporary_files_there_too():
    with temporary.for_libraries(), tempfile.NamedTemporaryFile() as file:
        assert os.path.dirname(file.name) == temporary.folder()
    assert tempfile.gettempdir() not in (None, temporary.folder())
