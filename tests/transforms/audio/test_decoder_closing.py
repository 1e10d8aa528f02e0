"""A track's process may be closed from any thread, while a track is decoded and again."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import soundfile

from tests.conftest import tone
from transforms.audio.decoder_process import ProcessDiedError, TrackProcess
from transforms.config import DatasetConfig
from transforms.tracks import Track

CONFIG = DatasetConfig(features=("mel",))


@pytest.fixture
def track(tmp_path) -> Track:
    soundfile.write(tmp_path / "track.wav", tone(600, 22_050), 22_050)
    return Track(1, "Rock", "training", str(tmp_path / "track.wav"))


def test_a_track_whose_process_is_closed_by_another_thread_ends_quietly(track):
    process, inside = TrackProcess(CONFIG), threading.Event()
    with ThreadPoolExecutor(1) as pool:
        for _ in range(5):
            inside.clear()
            going = pool.submit(process.extract, track, (0, ()), lambda *_: inside.set(), restart=lambda: None)
            assert inside.wait(30)
            process.close()
            process.close()
            with pytest.raises(ProcessDiedError, match="was closed"):
                going.result(30)
            assert process._process is None


def test_a_process_that_is_closed_before_there_is_one_does_not_outlive_it(track, monkeypatch):
    process, starting, closed = TrackProcess(CONFIG), threading.Event(), threading.Event()
    start = process._start

    def slowly():
        starting.set()
        assert closed.wait(30)
        start()

    monkeypatch.setattr(process, "_start", slowly)
    with ThreadPoolExecutor(1) as pool:
        going = pool.submit(process.extract, track, (0, ()), lambda *_: None, restart=lambda: None)
        assert starting.wait(30)
        process.close()
        closed.set()
        with pytest.raises(ProcessDiedError, match="was closed"):
            going.result(30)
    assert process._process is None


def test_many_threads_may_close_at_once(track):
    process = TrackProcess(CONFIG)
    process.extract(track, (0, ()), lambda *_: None, restart=lambda: None)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: process.close(), range(50)))
    assert not process.running
    assert process.extract(track, (0, ()), lambda *_: None, restart=lambda: None)[0].windows > 0
    process.close()
