"""Single notes and drum strokes: float32 mono at 44.1 kHz, peak about 1."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

SAMPLE_RATE = 44_100
TABLE = 2048  # samples in one cycle of a wavetable
Samples = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Voice:
    """How an instrument sounds.

    Attributes:
      tilt: fall of the partials, dB an octave.
      even: level of even partials against odd ones, 0 to 1.
      ratio: frequency of a second oscillator over the first: near 1 beats like a chorus, odd values ring like a bell.
      blend: level of the second oscillator, 0 to 1.
      attack: seconds of rise.
      decay: time constant of the fall, seconds.
      sustain: level that the fall ends at, 0 to 1.
      vibrato: depth as a part of the frequency, 0.01 is a sixth of a semitone.
      breath: level of noise in the note.
    """

    tilt: float
    even: float = 1.0
    ratio: float = 1.003
    blend: float = 0.0
    attack: float = 0.004
    decay: float = 0.3
    sustain: float = 0.0
    vibrato: float = 0.0
    breath: float = 0.0


VOICES = {
    "saw": Voice(tilt=6.5, ratio=1.006, blend=0.8, decay=0.2, sustain=0.5),
    "square": Voice(tilt=6.0, even=0.05, decay=0.15, sustain=0.3),
    "pluck": Voice(tilt=8.0, attack=0.002, decay=0.28),
    "nylon": Voice(tilt=12.0, even=0.7, attack=0.004, decay=0.4),
    "piano": Voice(tilt=11.0, attack=0.003, decay=0.6, ratio=1.001, blend=0.5),
    "strings": Voice(tilt=9.0, ratio=1.004, blend=0.8, attack=0.25, decay=1.0, sustain=0.8, vibrato=0.003),
    "pad": Voice(tilt=14.0, ratio=1.005, blend=0.9, attack=0.5, decay=1.0, sustain=0.9),
    "organ": Voice(tilt=10.0, even=0.5, ratio=2.0, blend=0.5, attack=0.02, decay=1.0, sustain=0.95),
    "reed": Voice(tilt=5.0, even=0.35, attack=0.04, decay=0.5, sustain=0.7, vibrato=0.012, breath=0.03),
    "flute": Voice(tilt=16.0, even=0.4, attack=0.06, decay=0.5, sustain=0.8, vibrato=0.006, breath=0.08),
    "singer": Voice(tilt=9.0, even=0.8, attack=0.05, decay=0.4, sustain=0.75, vibrato=0.015, breath=0.04),
    "bell": Voice(tilt=18.0, ratio=2.76, blend=0.7, attack=0.002, decay=0.9),
    "metal": Voice(tilt=4.0, ratio=1.41, blend=1.0, attack=0.3, decay=1.5, sustain=0.6, breath=0.1),
    "guitar": Voice(tilt=4.5, ratio=1.002, blend=0.7, attack=0.004, decay=0.8, sustain=0.5),
    "horn": Voice(tilt=8.0, attack=0.05, decay=0.3, sustain=0.6, vibrato=0.006, breath=0.03),
    "sub": Voice(tilt=24.0, attack=0.008, decay=0.6, sustain=0.4),
    "finger": Voice(tilt=13.0, attack=0.005, decay=0.35, sustain=0.1),
    "upright": Voice(tilt=15.0, even=0.8, attack=0.01, decay=0.3),
}


def vary(voice: Voice, amount: float, rng: np.random.Generator) -> Voice:
    """The same kind of instrument, another specimen of it; amount 1 is as far apart as two artists' are."""
    spread = rng.uniform(-1, 1, 5) * amount
    return replace(
        voice,
        tilt=float(max(2.0, voice.tilt + 2.5 * spread[0])),
        even=float(np.clip(voice.even * 1.5 ** spread[1], 0, 1)),
        blend=float(np.clip(voice.blend + 0.2 * spread[2], 0, 1)),
        attack=float(voice.attack * 1.8 ** spread[3]),
        decay=float(voice.decay * 1.6 ** spread[4]),
    )


def tone(voice: Voice, frequency: float, seconds: float, rng: np.random.Generator) -> Samples:
    """One note: [seconds * 44100] float32."""
    table = _wavetable(voice, frequency)
    time = np.arange(int(seconds * SAMPLE_RATE)) * (1.0 / SAMPLE_RATE)
    phase = time * (frequency * TABLE)
    if voice.vibrato:
        phase += (voice.vibrato * frequency * TABLE / 34.6) * (1.0 - np.cos(34.6 * time))  # 5.5 Hz
    note = table[phase.astype(np.int64) & (TABLE - 1)]
    if voice.blend:
        note = note + np.float32(voice.blend) * table[(phase * voice.ratio).astype(np.int64) & (TABLE - 1)]
    if voice.breath:
        note = note + np.float32(voice.breath) * rng.standard_normal(time.size, np.float32)
    return note * _envelope(voice, time.astype(np.float32))


def _wavetable(voice: Voice, frequency: float) -> Samples:
    """One cycle with partials up to 18 kHz at most, so that nothing folds back."""
    partial = np.arange(1, int(np.clip(18_000 / frequency, 1, 40)) + 1)
    level = partial ** (-voice.tilt / 6.02) * np.where(partial % 2, 1.0, voice.even)
    spectrum = np.zeros(TABLE // 2 + 1, np.complex128)
    spectrum[partial] = -0.5j * TABLE * level
    cycle = np.fft.irfft(spectrum)
    return (cycle / np.abs(cycle).max()).astype(np.float32)


def _envelope(voice: Voice, time: Samples) -> Samples:
    shape = voice.sustain + (1 - voice.sustain) * np.exp(-np.maximum(time - voice.attack, 0) / voice.decay)
    shape *= np.minimum(time / voice.attack, 1.0)
    fade = min(time.size, int(0.03 * SAMPLE_RATE))
    if fade:
        shape[-fade:] *= np.linspace(1, 0, fade, dtype=np.float32)
    return shape.astype(np.float32)


def kick(pitch: float, rng: np.random.Generator) -> Samples:
    """A sine that falls to `pitch` Hz within 50 ms, with a click."""
    time = np.arange(int(0.3 * SAMPLE_RATE)) / SAMPLE_RATE
    phase = 2 * np.pi * (pitch * time - 4 * pitch * 0.03 * np.expm1(-time / 0.03))
    click = 0.3 * rng.standard_normal(time.size) * np.exp(-time / 0.002)
    return (np.sin(phase) * np.exp(-time / 0.11) + click).astype(np.float32)


def snare(pitch: float, decay: float, rng: np.random.Generator) -> Samples:
    """Noise over a drum head of `pitch` Hz; `decay` in seconds."""
    time = np.arange(int(0.25 * SAMPLE_RATE)) / SAMPLE_RATE
    head = 0.5 * np.sin(2 * np.pi * pitch * time) * np.exp(-time / 0.06)
    return (head + 0.4 * rng.standard_normal(time.size) * np.exp(-time / decay)).astype(np.float32)


def cymbal(decay: float, rng: np.random.Generator) -> Samples:
    """High noise (twice differenced); `decay` in seconds: 0.02 a closed hi-hat, 0.3 a ride."""
    time = np.arange(int(min(4 * decay, 0.8) * SAMPLE_RATE)) / SAMPLE_RATE
    hiss = np.diff(rng.standard_normal(time.size + 2), n=2)
    return (0.25 * hiss * np.exp(-time / decay)).astype(np.float32)


def hand_drum(pitch: float, rng: np.random.Generator) -> Samples:
    """A membrane with its first three modes (ratios 1, 1.59, 2.14 of an ideal one)."""
    time = np.arange(int(0.25 * SAMPLE_RATE)) / SAMPLE_RATE
    modes = sum(level * np.sin(2 * np.pi * pitch * ratio * time) for ratio, level in ((1, 1), (1.59, 0.6), (2.14, 0.4)))
    slap = 0.2 * rng.standard_normal(time.size) * np.exp(-time / 0.008)
    return (0.5 * modes * np.exp(-time / 0.07) + slap).astype(np.float32)
