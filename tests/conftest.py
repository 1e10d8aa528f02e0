"""Shared fixtures: the real sample where it is at hand, and audio files made on the spot."""

import io
import os
import signal
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tests.transforms.catalog.archive_server import serving

# nohup and scripts start programs that ignore these, and the commands that tests send signals to would inherit it.
for number in (signal.SIGINT, signal.SIGHUP):
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)

# librosa's functions are compiled once for each worker of pytest: two that compile at once may keep halves that do not
# fit each other, and both crash. (Workers inherit the variable of the process that starts them.)
os.environ["NUMBA_CACHE_DIR"] = str(
    Path(__file__).resolve().parents[1] / ".numba_cache" / os.environ.get("PYTEST_XDIST_WORKER", "alone")
)

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def fma_sample() -> Path:
    """The small real corpus; tests that use it are skipped where it is absent."""
    folder = DATA / "fma_sample"
    if not folder.is_dir():
        pytest.skip(f"the real sample is not at {folder}")
    return folder


@pytest.fixture
def server(monkeypatch):
    """A local web server with one archive; see `Server`."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with serving() as running:
        yield running


def tone(seconds: float, sample_rate: int = 22_050, channels: int = 1, hz: float = 440.0, seed: int = 0) -> np.ndarray:
    """A chord with some noise, float32 [n] or [n, channels]."""
    t = np.arange(round(seconds * sample_rate)) / sample_rate
    noise = np.random.default_rng(seed).standard_normal(len(t))
    sound = 0.2 * np.sin(2 * np.pi * hz * t) + 0.1 * np.sin(2 * np.pi * 2.5 * hz * t) + 0.02 * noise
    sound = sound.astype(np.float32)
    return sound if channels == 1 else np.stack([sound * (1 - 0.2 * i) for i in range(channels)], axis=1)


def encoded(samples: np.ndarray, sample_rate: int, file_format: str = "MP3", subtype: str | None = None) -> io.BytesIO:
    """The samples as a file in memory."""
    file = io.BytesIO()
    soundfile.write(file, samples, sample_rate, format=file_format, subtype=subtype)
    file.seek(0)
    return file
