import librosa
import numpy as np
import pytest

from tests.conftest import tone
from transforms.audio.features import KINDS
from transforms.audio.mel import LogMel, dequantize, mel_filters, quantize
from transforms.config import DatasetConfig

GOLDEN = {(0, 0): -13.1966, (100, 20): -13.6778, (100, 33): -10.8172, (100, 70): -12.4587}  # by librosa 0.11


def reference(samples: np.ndarray, sample_rate: int, n_fft: int, hop_length: int, n_mels: int) -> np.ndarray:
    """What librosa makes of a whole clip: float32 [n_mels, frames], dB."""
    power = librosa.feature.melspectrogram(y=samples, sr=sample_rate, n_fft=n_fft, hop_length=hop_length, n_mels=n_mels)
    return librosa.power_to_db(power, ref=1.0, top_db=None)


@pytest.mark.parametrize(
    ("sample_rate", "n_fft", "n_mels"), [(22_050, 2048, 224), (44_100, 2048, 128), (8000, 512, 40)]
)
def test_mel_filters_equal_librosas(sample_rate, n_fft, n_mels):
    expected = librosa.filters.mel(sr=sample_rate, n_fft=n_fft, n_mels=n_mels)
    np.testing.assert_allclose(mel_filters(sample_rate, n_fft, n_mels), expected, rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize(
    ("sample_rate", "n_fft", "hop_length", "n_mels"),
    [(22_050, 2048, 512, 224), (16_000, 400, 160, 64), (44_100, 4096, 1024, 1)],
)
def test_log_mel_agrees_with_librosa_within_a_hundredth_of_a_decibel(sample_rate, n_fft, hop_length, n_mels):
    samples = tone(3, sample_rate)
    padded = np.pad(samples, n_fft // 2)
    frames = LogMel(sample_rate, n_fft, hop_length, n_mels)(padded)
    expected = reference(samples, sample_rate, n_fft, hop_length, n_mels)
    assert frames.shape == expected.T.shape
    np.testing.assert_allclose(frames, expected.T, atol=0.01)


def test_log_mel_of_real_clips_agrees_with_librosa(fma_sample):
    import soundfile

    from transforms.audio.decode import AudioFacts, read_mono, resample

    for name in ("000/000003.mp3", "000/000012.mp3"):
        facts = AudioFacts()
        with open(fma_sample / "audio" / name, "rb") as file:
            samples = np.concatenate(list(resample(read_mono(file, facts), facts, 22_050, "HQ")))
        usual, _ = librosa.load(fma_sample / "audio" / name, sr=22_050)
        np.testing.assert_allclose(samples, usual, atol=1e-5)
        frames = LogMel(22_050, 2048, 512, 224)(np.pad(samples, 1024))
        expected = reference(usual, 22_050, 2048, 512, 224).T
        # Below -80 dB, which is stored as -80 dB, float32 rounding of a loud neighbour reaches a few hundredths.
        np.testing.assert_allclose(np.maximum(frames, -80), np.maximum(expected, -80), atol=0.01)
        np.testing.assert_allclose(frames, expected, atol=0.1)
        assert soundfile.info(fma_sample / "audio" / name).samplerate == 44_100


def test_log_mel_golden_values_hold():
    frames = LogMel(22_050, 2048, 512, 224)(tone(3))
    for (frame, band), value in GOLDEN.items():
        assert frames[frame, band] == pytest.approx(value, abs=0.01), (frame, band)


def test_silence_is_the_floor_of_minus_100_decibels():
    frames = LogMel(22_050, 2048, 512, 224)(np.zeros(4096, np.float32))
    np.testing.assert_allclose(frames, -100.0, atol=1e-4)


def test_quantisation_is_off_by_at_most_half_a_step():
    log_mel = np.linspace(-80, 47.5, 10_001, dtype=np.float32)
    error = dequantize(quantize(log_mel, -80.0, 0.5), -80.0, 0.5) - log_mel
    assert np.abs(error).max() <= 0.25 + 1e-4
    assert quantize(np.float32([-100, 99]), -80.0, 0.5).tolist() == [0, 255]


@pytest.mark.parametrize("blocks", [1, 7, 40])
def test_mel_images_are_slices_of_the_whole_tracks_spectrogram(blocks):
    config = DatasetConfig(n_mels=32, window_frames=20, window_hop_frames=10)
    samples = tone(2.5)
    extractor = KINDS["mel"].extractor(config)
    features = [f for block in np.array_split(samples, blocks) for f in extractor.push(block)]
    features += list(extractor.finish())
    whole = quantize(reference(samples, 22_050, 2048, 512, 32), config.db_min, config.db_step).astype(int)
    assert len(features) == config.count_windows(len(samples)) > 3
    for i, feature in enumerate(features):
        assert (feature.window, feature.start) == (i, i * 10 * 512)
        image = np.frombuffer(feature.payload, "u1").reshape(32, 20).astype(int)
        assert (
            np.abs(image - whole[:, i * 10 : i * 10 + 20]).max() <= 1
        )  # a value on a rounding edge may fall either way
        assert np.mean(image != whole[:, i * 10 : i * 10 + 20]) < 0.001
