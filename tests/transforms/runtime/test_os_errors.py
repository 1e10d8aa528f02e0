"""Full and unusable disks are named, among them those for temporary files, which the user did not name."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from transforms.runtime.os_errors import annotate_os_errors, os_message

ROOT = Path(__file__).resolve().parents[3]


def annotated(path: str, number: int = errno.ENOSPC, *named: object) -> str:
    with pytest.raises(OSError) as caught, annotate_os_errors(path):
        raise OSError(number, os.strerror(number), *named)
    return os_message(caught.value)


def fma_in_namespace(script: str, folder: Path) -> subprocess.CompletedProcess:
    """Runs a shell script that may mount file systems; $FMA is the command there, and $1 the folder."""
    if subprocess.run(["unshare", "-rm", "mount", "--rbind", "/", "/mnt"], check=False).returncode:
        pytest.skip("this user may not mount a file system")
    command = ["unshare", "-rm", "bash", "-ec", f"mount --rbind / /mnt; {script}", "bash", f"/mnt{folder}"]
    environment = os.environ | {"PYTHONPATH": f"/mnt{ROOT}", "FMA": f"/mnt{sys.executable} -m fma"}
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)


def test_a_full_disk_names_the_folder_and_that_for_temporary_files_where_it_is_another(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert annotated(str(tmp_path / "new" / "data")).startswith(f"{tmp_path}/new/data: no space left on device: free")
    assert annotated("gs://bucket/data").startswith(f"the folder for temporary files (TMPDIR), {tmp_path}: no space")
    assert annotated("data", errno.ENOSPC, "data/x").startswith("data/x: no space left on device")
    assert annotated("data", errno.EROFS).startswith("data: read-only file system")
    if os.stat("/dev/shm").st_dev != os.stat(tmp_path).st_dev:
        assert " MiB free) or the folder for temporary files (TMPDIR)" in annotated("/dev/shm/data")


def test_no_folder_for_temporary_files_names_each_with_its_reason():
    code = (
        "import resource, sys, tempfile\n"
        "from transforms.runtime.guard import main_guard\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))\n"
        "sys.exit(main_guard(tempfile.gettempdir))"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=ROOT)
    assert ran.returncode == 1
    (line,) = ran.stderr.splitlines()
    assert line.startswith("fma: error: no folder for temporary files can be used (")
    assert "/tmp: file too large" in line
    assert line.endswith("free some space there, or set TMPDIR to another folder")


def test_full_folders_for_temporary_files_are_named_in_one_line(tmp_path):
    script = (
        "mkdir $1/cwd\n"
        "for folder in /tmp /var/tmp $1/cwd; do\n"
        "  mount -t tmpfs -o size=4k tmpfs $folder; ! head -c 5000 /dev/zero > $folder/full\n"
        "done\n"
        "cd $1/cwd; export TMPDIR=$1/cwd; exec $FMA sample --out $1/corpus --no-broken --tracks-per-genre 1"
    )
    ran = fma_in_namespace(script, tmp_path)
    assert ran.returncode == 1
    assert ran.stderr.splitlines()[-1] == (
        f"fma: error: no folder for temporary files can be used (/mnt{tmp_path}/cwd: no space left on device; /tmp: no "
        "space left on device; /var/tmp: no space left on device): free some space there, or set TMPDIR to another "
        "folder"
    )


def test_a_folder_for_temporary_files_that_fills_up_is_named(tmp_path):
    script = (
        "mkdir $1/small; mount -t tmpfs -o size=32k tmpfs $1/small; export TMPDIR=$1/small\n"
        "exec $FMA sample --out $1/corpus --no-broken --tracks-per-genre 1 --clip-seconds 3"
    )
    ran = fma_in_namespace(script, tmp_path)
    assert ran.returncode == 1
    line = ran.stderr.splitlines()[-1]
    assert f"the folder for temporary files (TMPDIR), /mnt{tmp_path}/small" in line
    assert line.endswith(": no space left on device: free some space or write elsewhere")
