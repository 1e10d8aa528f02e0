"""Music for a synthetic corpus: nine genres that differ in tempo, harmonics, spectral tilt and percussion.

Their ranges overlap and artists borrow from other genres: a classifier can learn them but is not always right.
"""

from dataclasses import dataclass, fields
from types import SimpleNamespace

import numpy as np
from numpy.typing import NDArray

from transforms.corpus.options import generator

SAMPLE_RATE = 44_100
ARTIST_WEIGHT = 0.7  # the artist's share in where in a range a track lies; the rest is the track's
BORROW_CHANCE = 0.15  # of each property, that an artist takes it from a genre drawn at random
TAPS = 64  # of the filter that tilts the spectrum
Range = tuple[float, float]
Samples = NDArray[np.float32]

CHANCES = {"x": 1.0, "o": 0.66, "-": 0.2, ".": 0.0}  # that a step of a pattern is played; one bar has 16 steps
WHOLE, QUARTERS, EIGHTHS, SIXTEENTHS, BACKBEAT = "x" + "." * 15, "x..." * 4, "x." * 8, "x" * 16, "....x..." * 2
OFFBEATS, TRESILLO, BROKEN, SPARSE = "..x." * 4, "x..x..x." * 2, "x.xxx.x.x.xxx.x.", "x..-..-.-...-..-"
PERCUSSION: dict[str, dict[str, str]] = {
    "none": {},
    "machine": {"kick": QUARTERS, "snare": BACKBEAT, "hat": OFFBEATS},
    "rock": {"kick": "x.......x.x-....", "snare": BACKBEAT, "hat": EIGHTHS},
    "hip-hop": {"kick": "x.....xo..x.....", "snare": BACKBEAT, "hat": "x.xxx.x.x.x-x.xx"},
    "hand": {"hand_drum": "x.ox.ox.x.ox.oxo", "hat": "..-...-...-...-."},
    "soft": {"kick": "o...............", "hand_drum": "o...-...o...-..."},
    "swing": {"kick": "o.......-.......", "snare": "......-.......-.", "hat": "x...x.x.x...x.x."},
    "scattered": {"hand_drum": "-.-.-..-.-..-.-.", "hat": SPARSE},
}
DRUMS = {  # pitch (Hz) and decay (s) of the head, level and decay (s) of the noise
    "kick": (50, 0.11, 0.3, 0.002),
    "snare": (180, 0.06, 0.8, 0.08),
    "hat": (7_000, 0.01, 0.6, 0.03),
    "hand_drum": (190, 0.07, 0.2, 0.008),
}
PROGRESSIONS = ((0, 5, 7, 0), (0, 9, 5, 7), (0, 0, 8, 10), (0, 0, 5, 5))  # chord roots of four bars, in semitones
MAJOR, MINOR, SEVENTH, OPEN, POWER, CLUSTER = (0, 4, 7), (0, 3, 7), (0, 3, 7, 10), (0, 7), (0, 7, 12), (0, 1, 6)


@dataclass(frozen=True, slots=True)
class Genre:
    """Hold the ranges (lowest, highest) and the choices that the tracks of a genre are drawn from."""

    tempo_bpm: Range
    percussion: tuple[str, ...]  # keys of PERCUSSION
    strum: tuple[str, ...]  # patterns of chords and bass
    chord: tuple[tuple[int, ...], ...] = (MAJOR, MINOR)  # semitones above the root
    percussion_db: Range = (4, 9)  # against a note of a chord, and so is the bass
    bass_db: Range = (-1, 4)
    melody: Range = (0.1, 0.35)  # chance of a note on a sixteenth
    swing: Range = (0, 0.05)  # delay of every second sixteenth, in sixteenths
    drum_pitch: Range = (0.75, 1.35)  # factor on those of DRUMS
    tonic_midi: Range = (48, 60)  # MIDI note number; the fraction is the track's tuning
    rolloff_db: Range = (7, 11)  # fall of the harmonics in an octave
    even_level: Range = (0.6, 1)  # of even harmonics against odd ones
    detune: Range = (0.001, 0.006)  # of a tone's second oscillator; 0.1 and more sounds like metal
    attack_s: Range = (0.003, 0.03)
    decay_s: Range = (0.2, 0.5)  # time constant
    drive: Range = (0.02, 0.1)  # distortion of the mix
    noise_db: Range = (-60, -44)  # under the music
    spectral_tilt_db: Range = (-3, 0)  # gain of the mix in an octave


GENRES = {
    "Electronic": Genre((118, 136), ("machine",), (SIXTEENTHS, TRESILLO), (MINOR, SEVENTH), percussion_db=(6, 10),
        rolloff_db=(5, 8), even_level=(0, 1), decay_s=(0.1, 0.25), spectral_tilt_db=(-2, 0.5)),
    "Experimental": Genre((50, 110), ("scattered", "none"), (SPARSE, WHOLE), (CLUSTER,), tonic_midi=(38, 64),
        rolloff_db=(4, 12), detune=(0.1, 0.6), attack_s=(0.02, 0.4), noise_db=(-42, -16), spectral_tilt_db=(-4, 1)),
    "Folk": Genre((76, 124), ("none", "soft"), (BROKEN, EIGHTHS), percussion_db=(-12, -2), bass_db=(-10, -2),
        rolloff_db=(8, 12), attack_s=(0.003, 0.01), noise_db=(-50, -38)),
    "Hip-Hop": Genre((78, 102), ("hip-hop",), (WHOLE, QUARTERS), (MINOR, SEVENTH), percussion_db=(10, 15),
        bass_db=(7, 12), swing=(0.05, 0.35), rolloff_db=(9, 14), noise_db=(-50, -32), spectral_tilt_db=(-5, -2)),
    "Instrumental": Genre((60, 104), ("none", "soft"), (WHOLE, QUARTERS), percussion_db=(-12, 0), rolloff_db=(10, 14),
        attack_s=(0.01, 0.4), decay_s=(0.6, 1.2), noise_db=(-66, -50), spectral_tilt_db=(-4, -1)),
    "International": Genre((92, 140), ("hand",), (TRESILLO, QUARTERS), (OPEN,), melody=(0.3, 0.5), swing=(0, 0.2),
        tonic_midi=(52, 64), rolloff_db=(5, 9), even_level=(0.2, 0.6), noise_db=(-54, -36)),
    "Pop": Genre((98, 128), ("rock", "machine"), (EIGHTHS, QUARTERS), (MAJOR,), melody=(0.25, 0.45),
        tonic_midi=(52, 62), decay_s=(0.3, 0.8), noise_db=(-60, -50), spectral_tilt_db=(-1, 1)),
    "Rock": Genre((108, 160), ("rock",), (EIGHTHS, TRESILLO), (POWER,), tonic_midi=(40, 52), rolloff_db=(4, 7),
        decay_s=(0.4, 0.9), drive=(0.3, 1), noise_db=(-52, -34)),
    "Jazz": Genre((96, 190), ("swing",), ("..x...o.....x...", "....o..x....o..-"), (SEVENTH,), percussion_db=(0, 6),
        bass_db=(2, 7), melody=(0.2, 0.5), swing=(0.35, 0.65), noise_db=(-54, -38), spectral_tilt_db=(-4, -1)),
}  # fmt: skip


def synthesise(
    genre: str, artist: int, track_id: int, seconds: float, seed: int, *, sub_genre: bool = False
) -> Samples:
    """Render one clip: [seconds * 44100, 2] float32 at 44.1 kHz in -1..1, the same for the same arguments.

    The genre is a key of `GENRES`, the artist a number within the genre, the seed that of the corpus. The genre's
    sub-genre sounds like it, but an octave higher, bright and metallic.
    """
    track = _draw_track(genre, artist, track_id, seed)
    if sub_genre:
        track.tonic_midi += 12
        track.detune += 0.15
        track.spectral_tilt_db += 3
    rng = generator(seed, "music", genre, artist, track_id)
    middle, chords = np.zeros((2, round(seconds * SAMPLE_RATE)), np.float32)
    sixteenth = 15 / track.tempo_bpm * SAMPLE_RATE
    step = np.arange(int(middle.size / sixteenth))
    onsets = ((step + step % 2 * track.swing) * sixteenth).astype(int)
    accents = rng.uniform(0.6, 1, step.size)

    def draw_steps(pattern: str) -> NDArray[np.bool_]:
        return rng.random(step.size) < np.resize([CHANCES[mark] for mark in pattern], step.size)

    def add(layer: Samples, sound: Samples, played: NDArray[np.bool_], level_db: float) -> None:
        for onset, gain in zip(onsets[played], accents[played] * 10 ** (level_db / 20), strict=True):
            layer[onset : onset + sound.size] += np.float32(gain) * sound[: layer.size - onset]

    for drum, pattern in PERCUSSION[track.percussion].items():
        add(middle, _stroke(drum, track, rng), draw_steps(pattern), track.percussion_db)
    roots = np.resize(np.repeat(rng.choice(PROGRESSIONS), 16), step.size)
    strummed = draw_steps(track.strum)
    for root in np.unique(roots):
        for interval in track.chord:
            add(chords, _tone(root + interval, track), strummed & (roots == root), 0)
        add(middle, _tone(root - 12, track), strummed & (roots == root), track.bass_db)
    melody = roots + rng.choice(track.chord, step.size) + 12
    sung = rng.random(step.size) < track.melody
    for note in np.unique(melody[sung]):
        add(middle, _tone(note, track), sung & (melody == note), 0)

    mix = np.tanh(track.drive * (middle + chords)) / track.drive
    noise = 10 ** (track.noise_db / 20) * np.sqrt(np.mean(np.square(mix)))
    mix = _tilt(mix + noise * rng.standard_normal(mix.size, np.float32), track.spectral_tilt_db)
    side = np.float32(max(0, rng.uniform(-0.2, 0.3))) * chords  # 0 for two in five: their channels are equal
    stereo = np.stack([mix + side, mix - side], axis=1)
    return stereo * np.float32(rng.uniform(0.5, 0.95) / max(1e-6, float(np.abs(stereo).max())))


def _draw_track(genre: str, artist: int, track_id: int, seed: int) -> SimpleNamespace:
    """Draw a track's properties: a number from each range of its `Genre`, one of each choice."""
    by_artist, by_track = generator(seed, "artist", genre, artist), generator(seed, "track", genre, artist, track_id)
    track = SimpleNamespace()
    for field in fields(Genre):
        lender = list(GENRES)[by_artist.integers(len(GENRES))]
        options = getattr(GENRES[lender if by_artist.random() < BORROW_CHANCE else genre], field.name)
        place = ARTIST_WEIGHT * by_artist.random() + (1 - ARTIST_WEIGHT) * by_track.random()
        drawn = float(np.interp(place, (0, 1), options)) if field.type == Range else options[int(len(options) * place)]
        setattr(track, field.name, drawn)
    return track


def _stroke(drum: str, track: SimpleNamespace, rng: np.random.Generator) -> Samples:
    """Render a stroke of a drum, mono: a sine that falls by an octave, and noise."""
    hz, decay_s, noise, noise_decay_s = DRUMS[drum]
    time = np.arange(int((0.25 + 2 * noise_decay_s) * SAMPLE_RATE)) / SAMPLE_RATE
    turns = hz * track.drum_pitch * (time - 0.03 * np.expm1(-time / 0.03))
    hiss = noise * np.diff(rng.standard_normal(time.size + 1)) * np.exp(-time / noise_decay_s)
    return (np.sin(2 * np.pi * turns) * np.exp(-time / decay_s) + hiss).astype(np.float32)


def _tone(semitones: int, track: SimpleNamespace) -> Samples:
    """Render a tone above the tonic, mono, at most 1 s, peak about 1: two detuned oscillators, stacks of harmonics."""
    hz = 440 * 2 ** ((track.tonic_midi + semitones - 69) / 12)
    harmonic = np.arange(1, min(40, int(18_000 / hz)) + 1)  # higher ones would fold back
    level = harmonic ** (-track.rolloff_db / 6.02) * np.where(harmonic % 2, 1, track.even_level)
    cycle = np.fft.irfft(np.append(0, -1j * level), 2048).astype(np.float32)
    time = np.arange(int(min(1, track.attack_s + 3 * track.decay_s) * SAMPLE_RATE), dtype=np.float32) / SAMPLE_RATE
    first, second = (cycle[(time * (hz * ratio * 2048)).astype(int) % 2048] for ratio in (1, 1 + track.detune))
    envelope = np.minimum(time / track.attack_s, 1) * np.exp(-time / track.decay_s) * (1 - time / time[-1])
    return (first + second) * envelope / (2 * cycle.max())


def _tilt(mix: Samples, tilt_db: float) -> Samples:
    """Give a mix `tilt_db` of gain in an octave, 0 dB at 1 kHz, by a linear-phase filter; it is flat below 700 Hz."""
    hz = np.maximum(np.fft.rfftfreq(TAPS, 1 / SAMPLE_RATE), SAMPLE_RATE / TAPS)
    response = np.fft.fftshift(np.fft.irfft((hz / 1000) ** (tilt_db / 6.02))) * np.hanning(TAPS)
    return np.convolve(mix, response.astype(np.float32), "same")
