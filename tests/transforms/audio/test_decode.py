import io

import numpy as np
import pytest
import soxr

from tests.conftest import encoded, tone
from transforms.audio.decode import AudioFacts, check_length, mix_to_mono, read_mono, resample
from transforms.errors import TrackError


def decode(file, sample_rate=22_050):
    facts = AudioFacts()
    blocks = list(resample(read_mono(file, facts), facts, sample_rate, "HQ"))
    return np.concatenate(blocks), facts


def reason(file):
    with pytest.raises(TrackError) as error:
        decode(file)
    return error.value.reason


@pytest.mark.parametrize(
    ("sample_rate", "channels", "file_format"),
    [
        (44_100, 2, "MP3"),
        (48_000, 1, "MP3"),
        (22_050, 2, "MP3"),
        (11_025, 1, "MP3"),
        (8000, 1, "MP3"),
        (96_000, 2, "WAV"),
        (44_100, 6, "FLAC"),
        (44_100, 2, "OGG"),
        (8000, 1, "AU"),
    ],
)
def test_every_format_rate_and_channel_count_decodes_to_its_length(sample_rate, channels, file_format):
    samples, facts = decode(encoded(tone(2, sample_rate, channels), sample_rate, file_format))
    assert samples.dtype == np.float32
    assert samples.ndim == 1
    assert len(samples) == pytest.approx(2 * 22_050, rel=0.06)  # an mp3 is padded by up to two frames
    assert facts.channels == channels
    assert facts.seconds == pytest.approx(2, rel=0.06)
    assert not facts.silent


def test_stereo_is_mixed_to_the_mean_of_its_channels():
    block = tone(0.1, 44_100, 2)
    np.testing.assert_allclose(mix_to_mono(block), block.mean(axis=1), atol=1e-7)
    surround = tone(0.1, 44_100, 5)
    np.testing.assert_allclose(mix_to_mono(surround), surround.mean(axis=1), atol=1e-7)


def test_resampling_does_not_depend_on_how_the_stream_is_cut():
    signal = tone(3, 44_100)
    whole = soxr.resample(signal, 44_100, 22_050, "HQ")
    for pieces in (1, 5, 37):
        facts = AudioFacts(sample_rate=44_100)
        found = np.concatenate(list(resample(iter(np.array_split(signal, pieces)), facts, 22_050, "HQ")))
        np.testing.assert_array_equal(found, whole)


@pytest.mark.parametrize("file_format", ["MP3", "OGG", "FLAC"])
@pytest.mark.parametrize("channels", [1, 2])
def test_samples_do_not_depend_on_the_size_of_the_blocks(monkeypatch, channels, file_format):
    file = encoded(tone(6, 44_100, channels), 44_100, file_format)
    found = []
    for block_values in (1 << 24, 1 << 16, 30_001):
        monkeypatch.setattr("transforms.audio.decode.BLOCK_VALUES", block_values)
        file.seek(0)
        found.append(np.concatenate(list(read_mono(file, AudioFacts()))))
    np.testing.assert_array_equal(found[0], found[1])
    np.testing.assert_array_equal(found[0], found[2])


def test_digital_silence_is_decoded_and_flagged():
    _, facts = decode(encoded(np.zeros(44_100, np.float32), 44_100, "WAV"))
    assert facts.silent


def test_0_bytes_are_empty_audio():
    assert reason(io.BytesIO(b"")) == "empty_audio"


def test_an_id3_tag_with_no_audio_is_empty_audio():
    assert reason(io.BytesIO(b"ID3\x03\x00\x00\x00\x00\x00\x0a" + bytes(10))) == "empty_audio"


def test_a_wav_without_samples_is_empty_audio():
    assert reason(encoded(np.zeros(0, np.float32), 44_100, "WAV")) == "empty_audio"


@pytest.mark.parametrize(
    "data",
    [
        b"just some text\n" * 9,
        np.random.default_rng(0).bytes(40_000),
        b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n",
        b"ID3\x03\x00\x00\x00\x00\x00\x0a" + bytes(10) + b"not frames at all",
    ],
    ids=["text", "random", "git-lfs", "tag then text"],
)
def test_what_is_not_audio_is_corrupt_audio(data):
    assert reason(io.BytesIO(data)) == "corrupt_audio"


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, -1e20])
def test_samples_that_are_not_numbers_are_corrupt_audio(value):
    samples = tone(1)
    samples[500] = value
    assert reason(encoded(samples, 22_050, "WAV", "FLOAT")) == "corrupt_audio"


def test_much_less_than_the_metadata_declares_is_truncated_audio():
    facts = AudioFacts(sample_rate=44_100, frames=44_100 * 26)
    with pytest.raises(TrackError, match=r"truncated_audio: 26\.0 s decoded where 30\.0 s are declared"):
        check_length(facts, 30.0)
    check_length(facts, 28.0)


def test_much_less_than_the_header_declares_is_truncated_audio():
    file = encoded(tone(10, 44_100, 2), 44_100)
    half = io.BytesIO(file.getvalue()[: len(file.getvalue()) // 2])
    _, facts = decode(half)
    with pytest.raises(TrackError, match="truncated_audio"):
        check_length(facts, None)
