"""The 518 statistics against plain librosa as FMA's features.py calls it.

The reference below is that script's list of calls on samples at hand. What differs from the script: librosa's rmse is
called rms now; bins_per_octave=12 is given to the two chroma of the constant-Q transform, whose default has been 36
since librosa 0.8; nan (skew and kurtosis of a constant) is 0.
"""

import subprocess
import sys
import tracemalloc
import warnings

import librosa
import numpy as np
import pandas as pd
import pytest
import scipy.stats

from transforms.audio.decode import AudioFacts, read_mono, resample
from transforms.errors import TrackError
from transforms.fma_statistics import COLUMNS, FEATURE_SIZES, LEVEL_COLUMNS, N_FRAME_FEATURES
from transforms.fma_statistics import statistics as module
from transforms.fma_statistics.chroma import octave_count
from transforms.fma_statistics.spectral import Framing
from transforms.fma_statistics.statistics import FramePool, Statistics, frame_features, frame_statistics, moments

# Largest difference of mean, std, median, min and max, in the feature's own unit.
TOLERANCE = {
    "chroma_cens": 0.02,
    "chroma_cqt": 2e-4,
    "chroma_stft": 2e-5,
    "mfcc": 0.005,
    "rmse": 1e-6,
    "spectral_bandwidth": 0.002,
    "spectral_centroid": 0.002,
    "spectral_contrast": 1e-4,
    "spectral_rolloff": 0.002,
    "tonnetz": 0.02,
    "zcr": 1e-6,
}
# The same of skew and kurtosis: (absolute, share of the value).
SHAPE_TOLERANCE = dict.fromkeys(FEATURE_SIZES, (0.002, 0.002)) | {"chroma_cens": (0.05, 0.05), "tonnetz": (0.05, 0.05)}

REAL_CLIPS = ("000/000001", "000/000020", "000/000217", "000/000291", "098/098565", "098/098567")


def reference_frames(samples: np.ndarray, sample_rate: int, octaves: int = 7) -> dict[str, np.ndarray]:
    """Frame features by FMA's calls, {feature: [number, frames]}."""
    feature = librosa.feature
    cqt = np.abs(librosa.cqt(samples, sr=sample_rate, hop_length=512, n_bins=12 * octaves, tuning=None))
    cens = feature.chroma_cens(C=cqt, n_chroma=12, n_octaves=7, bins_per_octave=12)
    stft = np.abs(librosa.stft(samples, n_fft=2048, hop_length=512))
    mel = feature.melspectrogram(sr=sample_rate, S=stft**2)
    return {
        "chroma_cens": cens,
        "chroma_cqt": feature.chroma_cqt(C=cqt, n_chroma=12, n_octaves=7, bins_per_octave=12),
        "chroma_stft": feature.chroma_stft(S=stft**2, n_chroma=12),
        "mfcc": feature.mfcc(S=librosa.power_to_db(mel), n_mfcc=20),
        "rmse": feature.rms(S=stft),
        "spectral_bandwidth": feature.spectral_bandwidth(S=stft),
        "spectral_centroid": feature.spectral_centroid(S=stft),
        "spectral_contrast": feature.spectral_contrast(S=stft, n_bands=6),
        "spectral_rolloff": feature.spectral_rolloff(S=stft),
        "tonnetz": feature.tonnetz(chroma=cens),
        "zcr": feature.zero_crossing_rate(samples, frame_length=2048, hop_length=512),
    }


def reference_statistics(samples: np.ndarray, sample_rate: int, octaves: int = 7) -> np.ndarray:
    """FMA's statistics in plain librosa and scipy: float64 [518] in the order of COLUMNS."""
    frames = reference_frames(samples, sample_rate, octaves)
    functions = {
        "kurtosis": scipy.stats.kurtosis,
        "max": np.max,
        "mean": np.mean,
        "median": np.median,
        "min": np.min,
        "skew": scipy.stats.skew,
        "std": np.std,
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # scipy warns where a feature is constant
        values = [functions[name](frames[feature], axis=1) for feature in sorted(frames) for name in sorted(functions)]
    return np.nan_to_num(np.concatenate(values).astype(np.float64))


def computed(samples: np.ndarray, sample_rate: int) -> np.ndarray:
    found = Statistics(sample_rate)
    found.push(samples)
    return found.finish()


def assert_agree(found: np.ndarray, expected: np.ndarray) -> None:
    for column, ours, theirs in zip(COLUMNS, found.astype(np.float64), expected, strict=True):
        shape = column[1] in ("skew", "kurtosis")
        absolute, relative = SHAPE_TOLERANCE[column[0]] if shape else (TOLERANCE[column[0]], 1e-7)
        assert abs(ours - theirs) <= absolute + relative * abs(theirs), f"{column}: {ours}, not {theirs}"


def music(seconds: float, sample_rate: int, cents: float = 0.0, seed: int = 0) -> np.ndarray:
    """Chords of harmonics that decay, half a second each, over quiet noise; `cents` off A440."""
    rng = np.random.default_rng(seed)
    t = np.arange(round(seconds * sample_rate)) / sample_rate
    sound = 0.003 * rng.standard_normal(len(t))
    for start in np.arange(0, seconds, 0.5):
        here = (t >= start) & (t < start + 1.5)
        for note in rng.choice(36, 3, replace=False):
            base = 110 * 2 ** ((note + cents / 100) / 12)
            for harmonic in range(1, 6):
                wave = np.sin(2 * np.pi * base * harmonic * (t[here] - start))
                sound[here] += 0.06 / harmonic * wave * np.exp(-3 * (t[here] - start))
    return sound.astype(np.float32)


def noise(samples: int, seed: int = 0) -> np.ndarray:
    return (0.1 * np.random.default_rng(seed).standard_normal(samples)).astype(np.float32)


def test_columns_are_those_of_fmas_features_csv():
    numbered = [(f, m, f"{n + 1:02d}") for f, size in FEATURE_SIZES.items() for m in "abc" for n in range(size)]
    assert len(COLUMNS) == 518 == 7 * N_FRAME_FEATURES
    assert len(numbered) == 3 * N_FRAME_FEATURES
    assert list(COLUMNS) == list(pd.MultiIndex.from_tuples(COLUMNS[::-1]).sort_values())
    assert COLUMNS[0] == ("chroma_cens", "kurtosis", "01")
    assert COLUMNS[83:85] == (("chroma_cens", "std", "12"), ("chroma_cqt", "kurtosis", "01"))
    assert COLUMNS[-1] == ("zcr", "std", "01")


def test_a_gain_moves_the_level_columns_and_no_others():
    gain = 0.1
    samples = music(6, 22_050) + noise(6 * 22_050) / 10
    before, after = (dict(zip(COLUMNS, computed(of, 22_050), strict=True)) for of in (samples, gain * samples))
    for column in COLUMNS:
        if column not in LEVEL_COLUMNS:
            expected = before[column]
        else:
            expected = before[column] * gain if column[0] == "rmse" else before[column] - 20 * np.sqrt(128)
        assert after[column] == pytest.approx(expected, rel=0.002, abs=0.002), column


@pytest.mark.parametrize(("sample_rate", "cents"), [(22_050, 0), (22_050, -37), (16_000, 21), (44_100, 12)])
def test_music_agrees_with_librosa(sample_rate, cents):
    samples = music(6, sample_rate, cents)
    assert_agree(computed(samples, sample_rate), reference_statistics(samples, sample_rate))


def test_noise_agrees_with_librosa():
    samples = noise(5 * 22_050)
    assert_agree(computed(samples, 22_050), reference_statistics(samples, 22_050))


@pytest.mark.parametrize("name", REAL_CLIPS)
def test_real_clips_agree_with_librosa(fma_sample, name):
    facts = AudioFacts()
    with (fma_sample / "audio" / f"{name}.mp3").open("rb") as file:
        samples = np.concatenate(list(resample(read_mono(file, facts), facts, 22_050, "HQ")))
    assert_agree(computed(samples, 22_050), reference_statistics(samples, 22_050))


def test_at_8_khz_the_constant_q_transform_has_six_octaves():
    samples = music(5, 8000)
    assert [octave_count(rate) for rate in (8000, 8485, 8486, 22_050, 96_000)] == [6, 6, 7, 7, 7]
    assert_agree(computed(samples, 8000), reference_statistics(samples, 8000, octaves=6))


def test_blocks_do_not_change_the_result():
    samples, cut = noise(70 * 8000), Statistics(8000)
    for block in np.split(samples, [1, 2, 5000, 5000, 300_000, 479_999, 488_001]):
        cut.push(block)
    np.testing.assert_array_equal(cut.finish(), computed(samples, 8000))


def test_a_track_beyond_61_s_is_pooled_from_segments_of_60_s():
    framing = Framing(8000)
    for seconds, cuts in ((60.9, []), (61.5, [480_000]), (121.5, [480_000, 960_000]), (120.5, [480_000])):
        samples = noise(round(seconds * 8000))
        pooled = [frame_features(part, framing) for part in np.split(samples, cuts)]
        np.testing.assert_array_equal(computed(samples, 8000), frame_statistics(np.concatenate(pooled)))


def test_the_frame_pool_keeps_the_same_frames_however_they_come():
    frames = np.arange(1000, dtype=np.float32)[:, np.newaxis]
    for size in (1, 7, 100, 1000):
        pool = FramePool(limit=250)
        for start in range(0, len(frames), size):
            pool.push(frames[start : start + size])
        np.testing.assert_array_equal(pool.frames(), frames[::4])


def test_memory_does_not_grow_with_the_track(monkeypatch):
    monkeypatch.setattr(module, "MAX_FRAMES", 2000)  # two minutes at 8 kHz

    def peak(minutes: int) -> int:
        found = Statistics(8000)
        tracemalloc.start()
        for seed in range(minutes):
            found.push(noise(60 * 8000, seed))
        found.finish()
        size = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return size

    peak(1)  # fills the caches
    assert peak(16) < 1.02 * peak(4)


def test_moments_are_scipys_and_a_constant_has_no_shape():
    flat = np.full(1001, 0.1, np.float32)
    flat[::7] = np.nextafter(flat[0], np.float32(1))  # as rounding leaves it
    frames = np.stack([noise(1001) ** 2, flat], axis=1)
    found = moments(frames)
    expected = [scipy.stats.kurtosis, np.max, np.mean, np.median, np.min, scipy.stats.skew, np.std]
    np.testing.assert_allclose(found[:, 0], [moment(frames[:, 0].astype(np.float64)) for moment in expected], rtol=1e-6)
    np.testing.assert_allclose(found[:, 1], [0, 0.1, 0.1, 0.1, 0.1, 0, 0], rtol=1e-6, atol=1e-8)
    assert found[0, 1] == found[5, 1] == 0


def test_digital_silence_has_no_shape_and_no_nan():
    found = dict(zip(COLUMNS, computed(np.zeros(30 * 22_050, np.float32), 22_050), strict=True))
    assert found["mfcc", "mean", "01"] == pytest.approx(-100 * np.sqrt(128), abs=1e-3)
    assert found["mfcc", "kurtosis", "01"] == found["mfcc", "std", "01"] == 0
    assert not any(value for column, value in found.items() if column[::2] != ("mfcc", "01"))


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("settings", [(22_050, 2048, 512), (8000, 64, 64), (96_000, 64, 64), (44_100, 65_536, 441)])
@pytest.mark.parametrize("length", [1, 2, 513, 5000])
def test_any_short_signal_gives_finite_values(settings, length):
    for samples in (np.zeros(length, np.float32), np.ones(length, np.float32), noise(length)):
        found = Statistics(*settings)
        found.push(samples)
        values = found.finish()
        assert values.dtype == np.float32
        assert values.shape == (518,)
        assert np.isfinite(values).all()


def test_audio_without_statistics_is_a_track_error():
    with pytest.raises(TrackError, match="empty_audio"):
        Statistics(22_050).finish()
    with pytest.raises(TrackError, match="corrupt_audio"), np.errstate(all="ignore"):
        computed(np.float32(1e20) * noise(5000), 22_050)


def test_librosa_and_numba_are_never_loaded():
    code = (
        "import sys, numpy; from transforms.fma_statistics.statistics import Statistics; s = Statistics(22050);"
        "s.push(numpy.ones(9999, 'f4')); s.finish(); sys.exit(bool({'librosa', 'numba'} & set(sys.modules)))"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
