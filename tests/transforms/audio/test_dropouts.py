import io
from itertools import pairwise

import numpy as np
import pytest
import soundfile

from tests.conftest import encoded, tone
from tests.faults.mp3 import frames_of
from transforms.audio.decode import AudioFacts, read_mono
from transforms.audio.dropouts import DropoutDetector

RATE = 44_100
FRAME = 1152
"""Samples of a frame of MPEG-1."""


def count(signal: np.ndarray, pieces: int = 1) -> int:
    stretches = DropoutDetector(RATE)
    for piece in np.array_split(signal, pieces):
        if len(piece):
            stretches.push(piece)
    return stretches.samples


def facts_of(mp3: bytes) -> AudioFacts:
    facts = AudioFacts()
    for _ in read_mono(io.BytesIO(mp3), facts):
        continue
    return facts


def with_zeroed_frames(mp3: bytes, first: int, count: int) -> bytes:
    """The frames' headers stay, so the decoder finds them and nothing in them."""
    damaged = bytearray(mp3)
    for frame in frames_of(mp3)[first : first + count]:
        damaged[frame.start + 4 : frame.stop] = bytes(len(frame) - 4)
    return bytes(damaged)


@pytest.mark.parametrize("pieces", [1, 2, 7, 5000])
def test_stretches_are_counted_however_the_stream_is_cut(pieces):
    signal = np.ones(20_000, np.float32)
    for start, stop in ((0, 3000), (5000, 5882), (7000, 7881), (9000, 9001), (12_000, 14_000), (17_000, 20_000)):
        signal[start:stop] = 0
    assert count(signal, pieces) == 882 + 2000


@pytest.mark.parametrize("seed", range(20))
def test_any_signal_has_the_stretches_that_a_plain_loop_finds(seed):
    chance = np.random.default_rng(seed)
    lengths = chance.choice([0, 1, 5, 440, 881, 882, 883, 1764, 5000], 60)
    signal = np.concatenate([np.full(length, i % 2, np.float32) for i, length in enumerate(lengths)])
    sounding = np.flatnonzero(signal)
    gaps = np.diff(sounding) - 1
    for pieces in (1, 3, 17, 400):
        assert count(signal, pieces) == gaps[gaps >= 882].sum()


def test_zeros_before_the_first_sound_and_after_the_last_do_not_count():
    padded = np.concatenate([np.zeros(5000), np.ones(10), np.zeros(5000)]).astype(np.float32)
    assert count(padded) == count(padded, 9) == count(np.zeros(9999, np.float32), 3) == 0


@pytest.mark.parametrize("frames", [1, 10, 60])
def test_frames_that_lost_their_content_are_counted_with_their_share(frames):
    mp3 = encoded(tone(5, RATE, 2), RATE).getvalue()
    assert facts_of(mp3).zeroed == 0
    facts = facts_of(with_zeroed_frames(mp3, 50, frames))
    assert frames * FRAME <= facts.zeroed <= (frames + 2) * FRAME  # the next ones may lack bits that lay in these
    assert facts.zeroed_share == facts.zeroed / facts.frames
    assert not facts.silent


def test_quiet_music_and_pauses_with_noise_are_not_zeroed():
    signal = tone(3, RATE) * np.float32(1e-3)
    signal[40_000:80_000] = np.random.default_rng(0).standard_normal(40_000) * 3e-5  # one step of 16 bits
    assert facts_of(encoded(signal, RATE).getvalue()).zeroed == 0


def test_none_of_the_real_clips_is_flagged(fma_sample):
    paths = [path for path in sorted(fma_sample.glob("audio/000/*.mp3")) if path.stat().st_size > 100_000][::9]
    assert len(paths) >= 15
    for path in paths:
        assert facts_of(path.read_bytes()).zeroed == 0, path
    mp3 = paths[0].read_bytes()
    intact, damaged = facts_of(mp3), facts_of(with_zeroed_frames(mp3, len(frames_of(mp3)) // 2, 100))
    assert damaged.frames == intact.frames
    assert damaged.zeroed_share == pytest.approx(100 * FRAME / intact.frames, rel=0.03)


def test_frames_are_found_where_libsndfile_decodes_them():
    for rate in (44_100, 22_050, 8000):
        mp3 = encoded(tone(2, rate), rate).getvalue()
        frames = frames_of(mp3)
        samples = FRAME if rate > 24_000 else FRAME // 2
        padded = len(frames) * samples - soundfile.info(io.BytesIO(mp3)).frames
        assert 0 <= padded < 4 * samples  # the first frame holds facts, and an encoder runs over
        assert all(one.stop == next_.start for one, next_ in pairwise(frames))
