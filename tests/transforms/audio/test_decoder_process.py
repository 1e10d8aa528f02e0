import os
import platform
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import soundfile

from tests.conftest import tone
from tests.trainers.serving.bad_songs import write_ten_hours
from transforms.audio import decoder_process
from transforms.config import DatasetConfig
from transforms.tracks import Track


def content(path: Path) -> dict[str, int]:
    """The content digest of each record of a track."""
    found: dict[str, int] = {}

    def write(kind: str, framed: bytes, digest: int) -> None:
        found[f"{kind}{len(found)}"] = digest

    process = decoder_process.TrackProcess(DatasetConfig())
    process.extract(
        Track(1, "Rock", "training", str(path), size=path.stat().st_size), (0, ()), write, restart=found.clear
    )
    process.close()
    return found


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="kernels of x86-64")
def test_features_do_not_depend_on_the_kernels_that_openblas_picks_for_a_cpu(tmp_path, monkeypatch):
    path = tmp_path / "track.wav"
    soundfile.write(path, tone(12.0), 22_050)
    here = content(path)
    monkeypatch.setenv("OPENBLAS_CORETYPE", "Sandybridge")  # as a CPU of 2011 would have it
    assert content(path) == here
    monkeypatch.setattr(decoder_process, "SAME_KERNELS", {})
    assert content(path) != here, "these kernels round alike: the test above shows nothing"


ABANDONS = """
import os, sys
from transforms.audio import decoder_process
from transforms.config import DatasetConfig
from transforms.tracks import Track
process = decoder_process.TrackProcess(DatasetConfig())
process._start()
print(process._process.pid, flush=True)
process._connection.send((Track(1, "Rock", "training", sys.argv[1]), 0, 1.0))
sys.stdin.read()
"""


def test_a_decoder_that_hangs_does_not_outlive_a_parent_that_was_killed(tmp_path):
    endless = tmp_path / "endless.wav"
    write_ten_hours(endless)
    parent = subprocess.Popen(
        [sys.executable, "-c", ABANDONS, str(endless)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    decoder = int(parent.stdout.readline())
    time.sleep(0.2)
    parent.send_signal(signal.SIGKILL)
    parent.communicate()
    for _ in range(100):
        if not os.path.exists(f"/proc/{decoder}") or "Z" in Path(f"/proc/{decoder}/stat").read_text().split()[2]:
            return
        time.sleep(0.1)
    os.kill(decoder, signal.SIGKILL)
    raise AssertionError("the decoder is still there")
