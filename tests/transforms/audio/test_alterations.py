"""Altered sounds: what each of them does to a song, read back from its file."""

import io

import numpy as np
import pytest
import soundfile

from tests.conftest import encoded, tone
from transforms.audio.alterations import ALTERATIONS, UNCHANGED, Sound
from transforms.audio.decode import read_channels
from transforms.errors import TrackError

SECONDS = 3.0


def noise(rate: int, channels: int = 2) -> np.ndarray:
    return (0.1 * np.random.default_rng(0).standard_normal((round(SECONDS * rate), channels))).astype(np.float32)


def altered(name: str, samples: np.ndarray, rate: int = 44_100) -> tuple[np.ndarray, int]:
    return read_channels(io.BytesIO(ALTERATIONS[name].render(Sound(samples, rate, 1.0, 7))), 60)


def decibels_above(hertz: float, samples: np.ndarray, rate: int) -> float:
    """Power per Hz above a frequency, relative to that between 400 Hz and 3 kHz."""
    power = np.square(np.abs(np.fft.rfft(samples[:, 0])))
    at = np.fft.rfftfreq(len(samples), 1 / rate)
    return 10 * np.log10(power[at > hertz].mean() / power[(at > 400) & (at < 3_000)].mean())


@pytest.mark.parametrize("rate", [8_000, 11_000, 44_100, 96_000])
@pytest.mark.parametrize("channels", [1, 2, 6])
def test_every_sound_is_a_file_of_about_the_same_length(rate, channels):
    for name in ALTERATIONS:
        samples, at = altered(name, noise(rate, channels), rate)
        expected = {"slow": SECONDS * 1.03, "later": SECONDS - 0.5}.get(name, SECONDS)
        assert len(samples) / at == pytest.approx(expected, abs=0.2), name
        assert np.sqrt(np.mean(samples**2)) > 0.001, name


def test_what_is_unchanged_has_the_samples_that_were_decoded_and_equal_songs_sound_alike():
    song = 3 * noise(44_100)  # beyond full scale, as a decoded mp3 may be
    samples, rate = altered(UNCHANGED, song)
    assert rate == 44_100
    np.testing.assert_array_equal(samples, song)
    for name in ALTERATIONS:  # of Ogg files, the bytes differ by a random number
        np.testing.assert_array_equal(altered(name, song)[0], altered(name, song)[0], err_msg=name)


def test_gains_are_in_decibels_and_a_loud_song_is_clipped():
    song = noise(44_100)
    np.testing.assert_allclose(altered("quiet", song)[0], song / 10, atol=4e-5)
    loud, _ = altered("loud", 4 * song)
    assert np.abs(loud).max() == pytest.approx(1, abs=1e-4)


def test_codecs_have_the_bitrate_that_their_names_say():
    for rate in (44_100, 22_050, 96_000):
        file = ALTERATIONS["mp3"].render(Sound(noise(rate), rate, 1.0, 7))
        assert soundfile.info(io.BytesIO(file)).format == "MP3"
        assert 60 < len(file) * 8 / SECONDS / 1000 < 72
    assert (
        soundfile.info(io.BytesIO(ALTERATIONS["vorbis"].render(Sound(noise(44_100), 44_100, 1.0, 7)))).format == "OGG"
    )


def test_bandwidth_ends_where_the_names_say():
    song = noise(44_100)
    assert decibels_above(4_200, *altered("low_pass", song)) < -50
    samples, rate = altered("telephone", song)
    assert (samples.shape[1], rate) == (1, 8_000)
    assert decibels_above(3_800, samples, rate) < -10
    assert altered("22khz", song)[1] == 22_050
    assert altered("22khz", noise(8_000), 8_000)[1] == 8_000


def test_noise_lies_20_db_below_the_song():
    song = noise(44_100)
    added = altered("noise", song)[0] - song
    assert 10 * np.log10(np.mean(added**2) / np.mean(song**2)) == pytest.approx(-20, abs=0.1)


def test_a_slower_record_is_longer_and_lower():
    song = tone(SECONDS, 44_100, hz=1_000)[:, None]
    samples, rate = altered("slow", song)
    peak = np.fft.rfftfreq(len(samples), 1 / rate)[np.abs(np.fft.rfft(samples[:, 0])).argmax()]
    assert peak == pytest.approx(1_000 / 1.03, abs=1)


def test_a_later_start_leaves_a_window():
    song = noise(44_100)
    assert len(altered("later", song)[0]) == len(song) - 22_050
    assert len(altered("later", song[:50_000])[0]) == pytest.approx(44_100 + 4_410, abs=2)
    assert len(altered("later", song[:44_100])[0]) == 44_100


def test_a_songs_beginning_is_read_with_all_of_its_channels():
    file = encoded(noise(22_050), 22_050, "FLAC")
    samples, rate = read_channels(file, 2.0)
    assert (samples.shape, rate) == ((44_100, 2), 22_050)
    with pytest.raises(TrackError, match="corrupt_audio"):
        read_channels(io.BytesIO(b"no music" * 1000), 2.0)
