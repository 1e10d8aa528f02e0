"""A zip that means harm, through all of `fma ingest`: refused or failed with a reason, nothing is written outside."""

import os
import subprocess
import sys
import zipfile
import zlib
from pathlib import Path

import pytest

from tests.faults.mutations import sound_mp3s
from transforms.catalog.zips import LARGEST_MEMBER
from transforms.dataset import manifest as manifests
from transforms.dataset.ledger import read_failures, read_tracks

SETTINGS = ["--n-mels", "32", "--window-frames", "20", "--features", "mel", "--track-memory", "100"]
ENCRYPTED = 1
REASONS = {
    3: "corrupt_audio",  # wrong CRC
    4: "unreadable_audio",  # encrypted
    5: "too_large",  # says so
    6: "corrupt_audio",  # unpacks to 40 MiB where it says 1000 bytes
    7: "out_of_memory",  # the same in bzip2, whose decoder hands out all at once
    8: "corrupt_audio",  # two different files of one name
    10: "not_a_file",  # a link to a file outside
    11: "corrupt_audio",  # another name in the file than in the directory
}
SOUND = (2, 9)


def member(track_id: int) -> str:
    return f"000/{track_id:06d}.mp3"


@pytest.fixture(scope="module")
def nasty(tmp_path_factory) -> Path:
    """A folder with audio.zip and its csv, and secrets beside them."""
    folder = tmp_path_factory.mktemp("nasty")
    mp3 = sound_mp3s()[0]
    (folder / "secret.mp3").write_bytes(mp3)
    with zipfile.ZipFile(folder / "audio.zip", "w") as archive, pytest.warns(UserWarning, match="Duplicate name"):
        for track_id in (2, 3, 4, 5, 11):
            archive.writestr(member(track_id), mp3)
        archive.writestr(member(6), bytes(40 << 20), zipfile.ZIP_DEFLATED)
        archive.writestr(member(7), bytes(120 << 20), zipfile.ZIP_BZIP2)
        for content in (mp3, mp3[:-100]):
            archive.writestr(member(8), content)
        for _ in range(2):
            archive.writestr(member(9), mp3)
        link = zipfile.ZipInfo(member(10))
        link.external_attr = 0o120777 << 16
        archive.writestr(link, str(folder / "secret.mp3"))
        for name in ("/secret.mp3", "../secret.mp3", "000/../../secret.mp3", "..\\secret.mp3", "C:\\secret.mp3"):
            archive.writestr(name, mp3)
    forge(folder / "audio.zip", member(3), 16, (zlib.crc32(mp3) ^ 1).to_bytes(4, "little"))
    forge(folder / "audio.zip", member(4), 8, ENCRYPTED.to_bytes(2, "little"))
    forge(folder / "audio.zip", member(5), 24, (LARGEST_MEMBER + 1).to_bytes(4, "little"))
    for track_id in (6, 7):
        forge(folder / "audio.zip", member(track_id), 24, (1000).to_bytes(4, "little"))
    data = (folder / "audio.zip").read_bytes()
    (folder / "audio.zip").write_bytes(data.replace(member(11).encode(), member(12).encode(), 1))
    rows = [f"{i},{member(i)},Rock,artist {i},training\n" for i in sorted((*SOUND, *REASONS))]
    (folder / "tracks.csv").write_text("track_id,path,genre,artist,split\n" + "".join(rows))
    return folder


def forge(path: Path, name: str, offset: int, value: bytes) -> None:
    """Overwrites a field of a file's entry in the zip's directory, and the same field where the file itself begins."""
    data = bytearray(path.read_bytes())
    for magic, header, shift in ((b"PK\x01\x02", 46, 0), (b"PK\x03\x04", 30, -2)):
        at = data.index(name.encode(), data.index(magic) if shift == 0 else 0)
        while data[at - header : at - header + 4] != magic:
            at = data.index(name.encode(), at + 1)
        start = at - header + offset + shift
        data[start : start + len(value)] = value
    path.write_bytes(data)


def ingest(folder: Path, *more: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "fma", "ingest", "--audio", str(folder / "audio.zip"), *SETTINGS, *more]
    (folder / "tmp").mkdir(exist_ok=True)
    environment = os.environ | {"TMPDIR": str(folder / "tmp")}
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)


def files_below(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_every_trick_is_a_reason_and_nothing_is_written_outside_the_dataset(nasty):
    before = files_below(nasty)
    out = nasty / "out"
    ran = ingest(nasty, "--metadata", str(nasty / "tracks.csv"), "--out", str(out), "--max-failures", "90")
    assert ran.returncode == 0, ran.stderr
    manifest = manifests.load(str(out))
    failures = list(read_failures(str(out), manifest))
    assert {track.track_id: track.reason for track in failures} == REASONS
    assert [track.track_id for track in read_tracks(str(out), manifest)] == list(SOUND)
    assert {path: data for path, data in files_below(nasty).items() if not path.startswith(f"{out}/")} == before
    messages = {track.track_id: track.message for track in failures}
    assert "unpacks to 2,147,483,649 bytes" in messages[5]
    assert "2 different files of that name" in messages[8]


@pytest.mark.parametrize("name", ["../secret.mp3", "000/../../secret.mp3"])
def test_a_path_that_leads_out_of_the_zip_is_refused_at_once(nasty, tmp_path, name):
    (tmp_path / "tracks.csv").write_text(f"track_id,path,genre,split\n1,{name},Rock,training\n")
    ran = ingest(nasty, "--metadata", str(tmp_path / "tracks.csv"), "--out", str(tmp_path / "out"))
    assert ran.returncode == 2
    assert ran.stderr == f"fma: error: track 1: the path {name} leads out of the audio folder\n"
    assert not (tmp_path / "out").exists()


def test_a_table_of_tracks_that_is_a_bomb_is_refused(nasty, tmp_path):
    with zipfile.ZipFile(tmp_path / "metadata.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("tracks.csv", "track_id,path,genre\n")
    forge(tmp_path / "metadata.zip", "tracks.csv", 24, (LARGEST_MEMBER + 1).to_bytes(4, "little"))
    ran = ingest(nasty, "--metadata", str(tmp_path / "metadata.zip"), "--out", str(tmp_path / "out"))
    assert ran.returncode == 2
    assert "tracks.csv unpacks to 2,147,483,649 bytes" in ran.stderr
