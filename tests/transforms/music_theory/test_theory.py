"""Music theory of sounds whose tempo, key, chords and level are known."""

import os
import platform
import subprocess
import sys
import tracemalloc

import numpy as np
import pytest
import soundfile

from transforms.audio.decoder_process import TrackProcess
from transforms.config import DatasetConfig
from transforms.errors import TrackError
from transforms.music_theory import COLUMNS, INTERVALS, RHYTHM
from transforms.music_theory.frames import CONTEXT, FRAMING, analyse, join
from transforms.music_theory.theory import Theory
from transforms.tracks import Track

RATE = 22_050
MAJOR, MINOR = (0, 4, 7), (0, 3, 7)
NOTES = {name: i for i, name in enumerate(("C", "Db", "D", "Eb", "E", "F", "Gb", "G", "Ab", "A", "Bb", "B"))}


def computed(samples: np.ndarray, rate: int = RATE) -> np.ndarray:
    found = Theory(rate)
    found.push(samples)
    return found.finish()


def theory(samples: np.ndarray, rate: int = RATE) -> dict[str, float]:
    return dict(zip(COLUMNS, computed(samples.astype(np.float32), rate).tolist(), strict=True))


def noise(samples: int, level: float = 0.1, seed: int = 0) -> np.ndarray:
    return (level * np.random.default_rng(seed).standard_normal(samples)).astype(np.float32)


def clicks(seconds: float, times, rate: int = RATE) -> np.ndarray:
    """Bursts of noise of 20 ms that decay, at these times, over noise of -90 dB."""
    sound = noise(round(seconds * rate), 3e-5)
    burst = noise(rate // 50, 0.5, seed=1) * np.exp(-np.arange(rate // 50) / (rate / 200)).astype(np.float32)
    for time in times:
        start = round(time * rate)
        sound[start : start + len(burst)] += burst[: len(sound) - start]
    return sound


def tones(pitches, seconds: float, rate: int = RATE) -> np.ndarray:
    """Notes, in semitones above C4, each with the falling harmonics of a string, faded in and out within 20 ms."""
    t = np.arange(round(seconds * rate)) / rate
    sound = np.zeros(len(t))
    for pitch in pitches:
        hz = 261.6256 * 2 ** (pitch / 12)
        sound += sum(0.1 / harmonic**1.5 * np.sin(2 * np.pi * hz * harmonic * t) for harmonic in range(1, 6))
    return sound * np.clip(np.minimum(t, seconds - t) / 0.02, 0, 1)


def chords(progression, seconds: float = 1.0, repeats: int = 1, up: int = 0) -> np.ndarray:
    """Chords such as "C Am F G", one after the other, `up` semitones higher."""
    parts = []
    for name in progression.split():
        root = NOTES[name.removesuffix("m")]
        parts.append(tones([root + step + up for step in (MINOR if name.endswith("m") else MAJOR)], seconds))
    return np.concatenate(parts * repeats)


@pytest.mark.parametrize("bpm", [66, 90, 120, 150])
def test_a_click_track_has_its_tempo_and_a_steady_clear_pulse(bpm):
    found = theory(clicks(30, np.arange(0.25, 29.9, 60 / bpm)))
    assert found["tempo_bpm"] == pytest.approx(bpm, rel=0.01)
    assert found["tempo_stability"] == 1
    assert found["beat_interval_deviation"] < 0.05
    assert found["onsets_per_second"] == pytest.approx(bpm / 60, rel=0.05)
    assert found["onset_interval_deviation"] < 0.05
    assert min(found["pulse_clarity"], found["pulse_at_two_beats"], found["pulse_at_four_beats"]) > 0.6
    assert found["pulse_at_half_of_beat"] < 0.2


@pytest.mark.parametrize("rate", [8000, 44_100])
def test_the_sample_rate_does_not_matter(rate):
    found = theory(clicks(20, np.arange(0.25, 20, 0.5), rate), rate)
    assert found["tempo_bpm"] == pytest.approx(120, rel=0.01)


def test_a_tempo_that_changes_is_less_stable():
    times = np.concatenate([np.arange(0.25, 20, 0.5), np.arange(20.1, 40, 0.37)])
    steady, changing = theory(clicks(40, np.arange(0.25, 40, 0.5))), theory(clicks(40, times))
    assert changing["tempo_stability"] < 0.8 < steady["tempo_stability"]
    assert changing["beat_interval_deviation"] > steady["beat_interval_deviation"]


def test_clicks_at_random_have_no_clear_pulse():
    times = np.sort(np.random.default_rng(3).uniform(0.2, 29.5, 60))
    steady, random = theory(clicks(30, np.arange(0.25, 29.9, 0.5))), theory(clicks(30, times))
    assert random["pulse_clarity"] < 0.5 * steady["pulse_clarity"]
    assert random["pulse_entropy"] > steady["pulse_entropy"]
    assert random["onset_interval_deviation"] > 0.4


@pytest.mark.parametrize("sound", ["sine", "chord"])
def test_what_is_sustained_has_neither_beat_nor_onsets(sound):
    found = theory(0.5 * np.sin(2 * np.pi * 440 * np.arange(10 * RATE) / RATE) if sound == "sine" else tones(MAJOR, 10))
    names = [name for name in RHYTHM if not name.startswith("onset_interval")]
    assert {name: found[name] for name in names} == dict.fromkeys(names, 0.0)


def test_a_waltz_returns_after_three_beats_and_a_march_after_four():
    def accented(beats: int) -> dict[str, float]:
        times = np.arange(0.25, 29.9, 0.5)
        return theory(noise(30 * RATE, 0.01) + 0.1 * clicks(30, times) + clicks(30, times[::beats]))

    waltz, march = accented(3), accented(4)
    assert waltz["pulse_at_three_beats"] > waltz["pulse_at_four_beats"]
    assert march["pulse_at_four_beats"] > march["pulse_at_three_beats"]


@pytest.mark.parametrize(
    ("progression", "tonic", "major"),
    [("C F G C", "C", 1), ("C Am F G C", "C", 1), ("Am Dm Em Am", "A", 0), ("Eb Ab Bb Eb", "Eb", 1)],
)
def test_chords_tell_the_key(progression, tonic, major):
    found = theory(chords(progression, 1.5, 2))
    assert (found["key_pitch_class"], found["key_is_major"]) == (NOTES[tonic], major)
    assert found["key_clarity"] > 0.6 and found["key_margin"] > 0
    assert (found["major_minus_minor_clarity"] > 0) == bool(major)


@pytest.mark.parametrize("cents", [0, 30])
def test_a_triad_and_a_scale_of_c_major_are_in_c_major(cents):
    triad = tones([step + cents / 100 for step in MAJOR], 8)
    scale = np.concatenate([tones([step + cents / 100], 0.5) for step in (0, 2, 4, 5, 7, 9, 11, 12, 12, 7, 4, 0)])
    for samples in (triad, scale):
        found = theory(samples)
        assert (found["key_pitch_class"], found["key_is_major"]) == (0, 1)
    found = theory(triad)
    shares = {name: found[f"share_of_{name}"] for name in INTERVALS}
    assert sum(shares.values()) == pytest.approx(1)
    assert set(sorted(shares, key=shares.__getitem__)[-3:]) == {"tonic", "major_third", "fifth"}
    assert found["share_of_tonic_chords"] == found["share_of_major_chords"] == 1
    assert found["chord_changes_per_second"] == 0


def test_a_song_in_another_key_differs_in_the_key_alone():
    here, there = (theory(chords("C Am F G C", 1.5, 2, up)) for up in (0, 5))
    assert there["key_pitch_class"] - here["key_pitch_class"] == 5
    for name in COLUMNS:
        if name.startswith(("share_of_", "chord_", "key_clarity", "chroma_", "tonnetz_")):
            assert there[name] == pytest.approx(here[name], abs=0.05), name


def test_chord_changes_are_counted():
    for seconds in (1.0, 2.0, 4.0):
        found = theory(chords("C F G Am", seconds, repeats=round(8 / seconds)))
        assert found["chord_changes_per_second"] == pytest.approx(1 / seconds, rel=0.15)
        assert found["share_of_major_chords"] == pytest.approx(0.75, abs=0.05)
        assert found["chord_variety_bits"] == pytest.approx(2, abs=0.1)


def test_what_lasts_is_harmonic_and_what_is_struck_is_percussive():
    steady = theory(tones(MAJOR, 12))
    struck = theory(clicks(12, np.arange(0.25, 11.9, 0.5)))
    both = theory(tones(MAJOR, 12) + clicks(12, np.arange(0.25, 11.9, 0.5)))
    assert steady["percussive_share"] < 0.05
    assert struck["percussive_share"] > 0.9
    assert steady["percussive_share"] < both["percussive_share"] < struck["percussive_share"]
    assert steady["harmonic_to_percussive_db"] > 12 and struck["harmonic_to_percussive_db"] < -9.5
    assert both["percussive_share_of_treble"] > 0.9 > both["percussive_share_of_middle"]


def test_levels_are_those_of_the_sound():
    t = np.arange(20 * RATE) / RATE
    sine = 0.5 * np.sin(2 * np.pi * 440 * t)
    even, uneven = theory(sine), theory(sine * np.where(t % 4 < 2, 1.0, 0.1))
    assert even["level_mean_db"] == pytest.approx(20 * np.log10(0.5) - 3.01, abs=0.1)
    assert even["crest_factor_db"] == pytest.approx(3.01, abs=0.1)
    assert even["dynamic_range_db"] < 0.5 and even["quiet_share"] < 0.01
    assert uneven["dynamic_range_db"] == pytest.approx(20, abs=0.5)
    assert uneven["quiet_share"] == pytest.approx(0.5, abs=0.05)
    assert uneven["level_change_db"] > 10 * even["level_change_db"]
    assert even["percussive_share"] < 0.02


def test_silence_has_no_tempo_no_key_and_no_percussion():
    found = theory(np.zeros(10 * RATE))
    assert found.pop("level_mean_db") == -80
    assert found.pop("key_pitch_class") == -1
    assert not any(found.values())


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("rate", [8000, 22_050, 96_000])
@pytest.mark.parametrize("length", [1, 2, 513, 5000, 50_000])
def test_any_short_signal_gives_finite_values(rate, length):
    click = np.zeros(length, np.float32)
    click[length // 2] = 1
    for samples in (np.zeros(length, np.float32), np.ones(length, np.float32), click, noise(length)):
        values = computed(samples, rate)
        assert (values.dtype, values.shape) == (np.float32, (len(COLUMNS),))
        assert np.isfinite(values).all()


def test_beats_of_exactly_equal_strength_do_no_harm():
    sound = np.zeros(120 * RATE, np.float32)
    sound[:: 20 * 512] = 0.5  # frames are 512 samples
    found = theory(sound)
    assert found["tempo_bpm"] == pytest.approx(60 * RATE / (20 * 512), rel=0.001)


def test_audio_without_music_theory_is_a_track_error():
    with pytest.raises(TrackError, match="empty_audio"):
        Theory(RATE).finish()
    with pytest.raises(TrackError, match="corrupt_audio"), np.errstate(all="ignore"):
        computed(np.float32(1e20) * noise(50_000))


@pytest.mark.parametrize("rate", [RATE, 16_000])
def test_blocks_do_not_change_the_result(rate):
    samples = clicks(60, np.arange(0.3, 59, 0.6), rate) + noise(60 * rate, 0.01)
    cut = Theory(rate)
    for block in np.split(samples, [1, 2, 5000, 5000, 300_000, 479_999, 488_001]):
        cut.push(block)
    np.testing.assert_array_equal(cut.finish(), computed(samples, rate))


def test_where_a_track_is_cut_into_blocks_leaves_no_trace():
    samples = (chords("C Am F G", 1.5) + clicks(6, np.arange(0.3, 6, 0.4))).astype(np.float32)
    hop, around = FRAMING.hop_length, CONTEXT * FRAMING.hop_length
    padded = np.pad(samples, around)
    whole = analyse(padded[: 200 * hop + 2 * around])
    cut = join([analyse(padded[start * hop :][: 50 * hop + 2 * around]) for start in range(0, 200, 50)])
    for name, of_whole, of_cut in zip(whole._fields, whole, cut, strict=True):
        close = 0.05 if name == "chroma" else 0.001  # each block is tuned by itself
        np.testing.assert_allclose(of_cut, of_whole, rtol=0, atol=close * of_whole.max(), err_msg=name)


@pytest.mark.long
def test_memory_grows_by_frames_and_not_by_samples():
    def peak(minutes: int) -> int:
        found = Theory(RATE)
        tracemalloc.start()
        for seed in range(minutes):
            found.push(noise(60 * RATE, seed=seed))
        found.finish()
        size = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return size

    peak(1)  # fills the caches
    samples = 4 * 60 * RATE
    assert peak(6) - peak(2) < 0.3 * 4 * samples


@pytest.mark.long
@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="kernels of x86-64")
def test_a_decoder_gives_the_same_bytes_whatever_the_kernels_that_openblas_picks(tmp_path, monkeypatch):
    path = tmp_path / "track.wav"
    samples = (chords("C Am F G", 1.5, 2) + clicks(12, np.arange(0.3, 12, 0.4))).astype(np.float32)
    soundfile.write(path, samples, RATE, subtype="FLOAT")

    def stored() -> bytes:
        found = []
        process = TrackProcess(DatasetConfig(features=("theory",)))
        track = Track(1, "Rock", "training", str(path), size=path.stat().st_size)
        process.extract(track, (0, ()), lambda *record: found.append(record), restart=found.clear)
        process.close()
        ((_, framed, _),) = found
        return framed

    here = stored()
    monkeypatch.setenv("OPENBLAS_CORETYPE", "Sandybridge")  # as a CPU of 2011 would have it
    assert stored() == here


@pytest.mark.long
def test_processes_that_compile_for_the_first_time_do_not_spoil_it_for_each_other(tmp_path):
    code = (
        "import numpy as np; from transforms.audio.features import KINDS; from transforms.config import DatasetConfig;"
        "made = KINDS['theory'].extractor(DatasetConfig());"
        "list(made.push(np.sin(np.arange(200_000, dtype=np.float32))));"
        "print(next(made.finish()).payload.hex())"
    )
    fresh = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path / "numba"), "TMPDIR": str(tmp_path)}
    run = [sys.executable, "-c", code]
    both = [subprocess.Popen(run, env=fresh, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    found = [process.communicate()[0] for process in both]
    later = subprocess.run(run, env=fresh, stdout=subprocess.PIPE, text=True, check=False)
    assert [process.returncode for process in (*both, later)] == [0, 0, 0]
    assert found[0] == found[1] == later.stdout != ""
    assert len(list(tmp_path.glob("fma-genres-*.compiled"))) == 1
