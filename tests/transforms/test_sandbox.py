import platform
from pathlib import Path

import pytest
import soundfile

from tests.conftest import tone
from transforms import sandbox
from transforms.config import DatasetConfig
from transforms.tracks import Track


def content(path: Path) -> dict[str, int]:
    """The content digest of each record of a track."""
    found: dict[str, int] = {}

    def write(kind: str, framed: bytes, digest: int) -> None:
        found[f"{kind}{len(found)}"] = digest

    process = sandbox.TrackProcess(DatasetConfig())
    process.extract(Track(1, "Rock", "training", str(path), size=path.stat().st_size), 0, write)
    process.close()
    return found


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="kernels of x86-64")
def test_features_do_not_depend_on_the_kernels_that_openblas_picks_for_a_cpu(tmp_path, monkeypatch):
    path = tmp_path / "track.wav"
    soundfile.write(path, tone(12.0), 22_050)
    here = content(path)
    monkeypatch.setenv("OPENBLAS_CORETYPE", "Sandybridge")  # as a CPU of 2011 would have it
    assert content(path) == here
    monkeypatch.setattr(sandbox, "SAME_KERNELS", {})
    assert content(path) != here, "these kernels round alike: the test above shows nothing"
