import io
import struct
import tracemalloc

import numpy as np
import pytest
import soundfile

from tests.conftest import encoded, tone
from transforms.audio.extract import extract
from transforms.audio.features import KINDS
from transforms.config import DatasetConfig
from transforms.errors import TrackError
from transforms.records import Record, decode_payload
from transforms.tracks import Track


def extract_all(file, config=None, duration=None, label=1, longest=None) -> tuple[dict[str, list[Record]], object]:
    config = config or DatasetConfig()
    found: dict[str, list[Record]] = {kind: [] for kind in config.features}
    track = Track(7, "Rock", "training", duration=duration)

    def write(kind: str, record: Record) -> None:
        found[kind].append(record)

    facts = extract(track, file, (label, ()), config, write, restart=lambda: None, longest=longest)
    return found, facts


def test_one_decode_feeds_every_kind_with_the_same_windows():
    config = DatasetConfig(features=tuple(KINDS))
    records, facts = extract_all(encoded(tone(12, 44_100, 2), 44_100), config)
    assert facts.windows == 2
    assert {kind: len(found) for kind, found in records.items()} == {"mel": 2, "raw": 2, "stats": 1, "theory": 1}
    for kind in ("mel", "raw"):
        assert [(record.window, record.start) for record in records[kind]] == [(0, 0), (1, 114_688)]
    for kind, found in records.items():
        feature = KINDS[kind]
        array = decode_payload(kind, found[0].payload, config)
        assert (array.shape, array.dtype) == (feature.shape(config), feature.dtype)
        assert {(record.track_id, record.label) for record in found} == {(7, 1)}
    assert decode_payload("mel", records["mel"][0].payload, config).shape == (224, 224)
    assert decode_payload("raw", records["raw"][0].payload, config).shape == (114_688,)
    for kind in ("stats", "theory"):
        assert np.isfinite(decode_payload(kind, records[kind][0].payload, config)).all()


def test_raw_windows_are_the_samples_within_half_a_step_of_16_bits():
    samples = tone(6)
    records, _ = extract_all(encoded(samples, 22_050, "WAV", "FLOAT"), DatasetConfig(features=("raw",)))
    pcm = decode_payload("raw", records["raw"][0].payload, DatasetConfig())
    np.testing.assert_allclose(pcm / 32768, samples[:114_688], atol=0.51 / 32768)


def test_16_bit_audio_at_the_datasets_own_rate_comes_through_unchanged():
    pcm = np.random.default_rng(0).integers(-32768, 32768, 120_000).astype(np.int16)
    records, _ = extract_all(encoded(pcm, 22_050, "FLAC"), DatasetConfig(features=("raw",)))
    np.testing.assert_array_equal(decode_payload("raw", records["raw"][0].payload, DatasetConfig()), pcm[:114_688])


def test_a_track_shorter_than_a_window_is_too_short():
    with pytest.raises(TrackError, match=r"too_short: 3\.00 s, and a window has 5\.20 s.*--window-frames 129,"):
        extract_all(encoded(tone(3), 22_050, "WAV"))
    extract_all(encoded(tone(3), 22_050, "WAV"), DatasetConfig(window_frames=129, window_hop_frames=129))
    with pytest.raises(TrackError, match=r"too_short: 0\.02 s, and a window has 5\.20 s: use a longer recording$"):
        extract_all(encoded(tone(0.02), 22_050, "WAV"))


def test_a_track_much_shorter_than_declared_is_truncated_even_if_it_has_windows():
    with pytest.raises(TrackError, match="truncated_audio"):
        extract_all(encoded(tone(12), 22_050, "WAV"), duration=30.0)


def with_declared_frames(flac: bytes, frames: int) -> io.BytesIO:
    """A flac whose header declares so many samples, in the last 36 bits of these 8 bytes; 0: it does not say."""
    (word,) = struct.unpack(">Q", flac[18:26])
    return io.BytesIO(flac[:18] + struct.pack(">Q", word >> 36 << 36 | frames) + flac[26:])


def test_a_track_that_declares_more_than_the_limit_is_not_decoded():
    song = with_declared_frames(encoded(tone(60), 22_050, "FLAC").getvalue(), 36_000 * 22_050)
    with pytest.raises(TrackError, match="too_long: 10 h 0 min or more, and the limit is 1 h 0 min"):
        extract_all(song, longest=3600.0)
    assert song.tell() < len(song.getvalue())


def test_a_track_that_does_not_say_how_long_it_is_ends_with_the_limit():
    song = with_declared_frames(encoded(tone(60), 22_050, "FLAC").getvalue(), 0)
    with pytest.raises(TrackError, match="too_long"):
        extract_all(song, longest=30.0)
    assert song.tell() < len(song.getvalue())
    assert extract_all(encoded(tone(30), 22_050, "FLAC"), longest=30.0)[1].seconds == 30


def test_a_clip_of_digital_silence_is_ingested_and_flagged():
    records, facts = extract_all(encoded(np.zeros(130_000, np.float32), 22_050, "WAV"))
    assert facts.silent
    assert not any(records["mel"][0].payload)
    assert np.isfinite(decode_payload("stats", records["stats"][0].payload, DatasetConfig())).all()


def peak_memory(path, config) -> int:
    counts = dict.fromkeys(config.features, 0)

    def count(kind: str, record: Record) -> None:
        counts[kind] += 1

    tracemalloc.start()
    with open(path, "rb") as file:
        facts = extract(Track(1, "Rock", "training"), file, (0, ()), config, count, restart=lambda: None)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert counts == {"mel": facts.windows, "raw": facts.windows}
    return peak


def test_memory_does_not_grow_with_the_length_of_a_track(tmp_path):
    config = DatasetConfig(features=("mel", "raw"), sample_rate=8000, n_mels=32)
    for minutes in (10, 40):
        with soundfile.SoundFile(tmp_path / f"{minutes}.wav", "w", 8000, 1, "PCM_16") as file:
            for i in range(minutes):
                file.write(tone(60, 8000, seed=i))
    short, long = (peak_memory(tmp_path / f"{minutes}.wav", config) for minutes in (10, 40))
    assert long < 1.2 * short
