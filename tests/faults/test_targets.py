"""Disks that are full, read-only or locked, under real commands: one line, exit code 1, the old dataset."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.pipelines.ingest.test_ingest import SMALL, make_music
from transforms.dataset import manifest as manifests
from transforms.dataset.verify import verify

pytestmark = pytest.mark.long

FMA = [sys.executable, "-m", "fma"]
TMPFS_MEGABYTES = 16
WITHOUT_ROOTS_RIGHTS = ["setpriv", "--bounding-set=-dac_override,-dac_read_search", "--"]
"""root passes over permissions; without these two capabilities it is like anybody else."""


def ingest(folder: Path, metadata: str, out: Path, *more: str, before: tuple[str, ...] = ()) -> list[str]:
    paths = ["--audio", str(folder), "--metadata", str(folder / metadata), "--out", str(out)]
    return [*before, *FMA, "ingest", *paths, *SMALL, *more]


def run(command: list[str]) -> subprocess.CompletedProcess:
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)


@pytest.fixture(scope="module")
def music(tmp_path_factory) -> Path:
    """24 tracks, a csv of the first eight and their dataset in old/, one of all and theirs in new/."""
    folder = tmp_path_factory.mktemp("targets")
    make_music(folder, 24, name="all.csv")
    lines = (folder / "all.csv").read_text().splitlines()
    (folder / "some.csv").write_text("\n".join(lines[:9]) + "\n")
    for metadata, out in (("some.csv", "old"), ("some.csv", "new"), ("all.csv", "new")):
        assert run(ingest(folder, metadata, folder / out)).returncode == 0
    return folder


@pytest.fixture
def disk(tmp_path) -> Iterator[Path]:
    """A file system of its own in memory."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={TMPFS_MEGABYTES}m", "tmpfs", str(folder)]
    if not shutil.which("mount") or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("this user may not mount a file system")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def is_old(out: Path, music: Path) -> bool:
    """Whether the dataset is whole and what it was before the run."""
    manifest = manifests.load(str(out))
    return manifest == manifests.load(str(music / "old")) and not verify(str(out), manifest).problems


def assert_one_line(ran: subprocess.CompletedProcess, text: str) -> None:
    assert ran.returncode == 1, ran.stderr
    *progress, last = ran.stderr.splitlines()
    assert last.startswith("fma: error: ") and text in last
    assert all(line.startswith("ingest: ") for line in progress), ran.stderr


def assert_it_carries_on(music: Path, out: Path) -> None:
    ran = run(ingest(music, "all.csv", out))
    assert ran.returncode == 0, ran.stderr
    assert manifests.load(str(out)).digest == manifests.load(str(music / "new")).digest


def fill(disk: Path, leave: int) -> Path:
    """Leaves so many bytes free, in whole pages."""
    ballast = disk / "ballast"
    with ballast.open("wb") as file:
        file.write(bytes(shutil.disk_usage(disk).free - leave))
    return ballast


def growth_bytes(music: Path) -> int:
    """What growing takes on a disk of 4 KiB pages."""
    pages = {
        name: sum(-(-file.bytes // 4096) for file in manifests.load(str(music / name)).files())
        for name in ("old", "new")
    }
    return 4096 * (pages["new"] - pages["old"])


@pytest.mark.parametrize(
    ("share", "more", "workers"),
    [
        (0.0, 0, "1"),  # not even the plan fits
        (0.0, 4096, "2"),  # the plan fits, the workers' results do not
        (0.5, 0, "2"),  # some of the shards fit
        (1.0, 8192, "1"),  # all of them fit, dataset.json does not
    ],
)
def test_a_disk_that_fills_up_is_one_line_and_the_old_dataset_is_whole(music, disk, share, more, workers):
    out = disk / "data"
    shutil.copytree(music / "old", out)
    ballast = fill(disk, int(share * growth_bytes(music)) + more)
    assert_one_line(run(ingest(music, "all.csv", out, "--workers", workers)), "no space left on device")
    assert is_old(out, music)
    ballast.unlink()
    if share == 0.5:
        assert_it_carries_on(music, out)


def test_a_read_only_disk_is_one_line_and_the_dataset_stays(music, disk):
    out = disk / "data"
    shutil.copytree(music / "old", out)
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    assert_one_line(run(ingest(music, "all.csv", out)), "read-only file system: write elsewhere")
    assert_one_line(run(ingest(music, "all.csv", disk / "another")), "read-only file system: write elsewhere")
    assert is_old(out, music)
    ran = run([*FMA, "train", "mel_cnn", "--data", str(out), "--run", str(disk.parent / "run")])
    said, error = ran.stderr.splitlines()
    assert said.startswith(f"{out} has no statistics of kind mel: they are made now")
    assert error == f"fma: error: {out}/.lock: read-only file system: write elsewhere"
    assert (ran.returncode, (disk.parent / "run").exists()) == (1, False)


@pytest.fixture
def as_anybody(tmp_path) -> tuple[str, ...]:
    """What to put before a command so that permissions hold for it."""
    if os.geteuid():
        return ()
    (tmp_path / "locked").mkdir(mode=0o555)
    command = [*WITHOUT_ROOTS_RIGHTS, sys.executable, "-c", f"open({str(tmp_path / 'locked' / 'x')!r}, 'w')"]
    if not shutil.which("setpriv") or "PermissionError" not in run(command).stderr:
        pytest.skip("root's rights cannot be given up here")
    return tuple(WITHOUT_ROOTS_RIGHTS)


def set_mode(folder: Path, mode: int) -> None:
    for path in (folder, *folder.rglob("*")):
        if path.is_dir():
            path.chmod(mode)


def test_a_folder_that_may_not_be_written_is_one_line(music, tmp_path, as_anybody):
    out = tmp_path / "data"
    shutil.copytree(music / "old", out)
    (out / ".lock").chmod(0o444)
    set_mode(out, 0o555)
    try:
        assert_one_line(run(ingest(music, "all.csv", out, before=as_anybody)), "permission denied")
        assert is_old(out, music)
    finally:
        set_mode(out, 0o755)


def test_permission_that_is_lost_midway_is_one_line_and_the_old_dataset_is_whole(music, tmp_path, as_anybody):
    out = tmp_path / "data"
    shutil.copytree(music / "old", out)
    before = set((out / "mel").rglob("*.tfrecord"))
    command = ingest(music, "all.csv", out, "--workers", "2", "--shards", "8", before=as_anybody)
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while process.poll() is None and set((out / "mel").rglob("*.tfrecord")) == before:
        time.sleep(0.002)
    set_mode(out, 0o555)
    try:
        output, error = process.communicate(timeout=120)
    finally:
        set_mode(out, 0o755)
    assert_one_line(subprocess.CompletedProcess(command, process.returncode, output, error), "permission denied")
    assert is_old(out, music)
    assert_it_carries_on(music, out)
