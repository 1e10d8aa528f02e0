"""What the players play: drums, bass, chords and a lead, each a layer of [samples] float32 mono at 44.1 kHz."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from transforms.corpus.sound import Sound
from transforms.corpus.styles import SCALES
from transforms.corpus.voices import SAMPLE_RATE, Samples, Voice, cymbal, hand_drum, kick, snare, tone

STEPS = 16  # in a bar
CHANCES = {"x": 1.0, "o": 0.66, "-": 0.2, ".": 0.0}
T = TypeVar("T")


@dataclass(frozen=True)
class Score:
    """What all players agree on.

    Attributes:
      sound: the track's settings.
      onsets: sample index of each step, [steps] int64.
      samples: length of the clip.
      scale: semitones over the tonic.
      roots: degree of the chord at each step, [steps].
      rng: decides what is played when.
    """

    sound: Sound
    onsets: NDArray[np.int64]
    samples: int
    scale: tuple[int, ...]
    roots: NDArray[np.int64]
    rng: np.random.Generator
    notes: dict[tuple[str, int], Samples] = field(default_factory=dict)


def write_score(sound: Sound, samples: int, rng: np.random.Generator) -> Score:
    """Tempo, swing, scale and chord progression of a track; a clip starts at a bar, steps are a few ms loose."""
    step = 60 / sound.numbers["tempo"] / 4 * SAMPLE_RATE
    index = np.arange(int(samples / step) + 1)
    swung = (index + (index % 2) * sound.numbers["swing"]) * step
    loose = swung + rng.normal(0, 0.004 * SAMPLE_RATE, index.size)
    return Score(
        sound=sound,
        onsets=np.clip(loose, 0, samples - 1).astype(np.int64),
        samples=samples,
        scale=SCALES[choose(sound.style.scales, rng)],
        roots=np.resize(np.repeat(choose(sound.style.progressions, rng), STEPS), index.size),
        rng=rng,
    )


def choose(options: Sequence[T], rng: np.random.Generator) -> T:
    """One of the options, each as likely."""
    return options[int(rng.random() * len(options))]


def drums(score: Score) -> Samples:
    """A drum kit and two hand drums."""
    kit, style, rng = score.sound.kit, score.sound.style, score.rng
    hand = choose(style.hand, rng)
    strokes = (
        (choose(style.kick, rng), kick(kit["kick"], rng), 0.9),
        (choose(style.snare, rng), snare(kit["snare"], kit["snare_decay"], rng), 0.7),
        (choose(style.hat, rng), cymbal(score.sound.numbers["ring"], rng), 0.35),
        (hand, hand_drum(kit["hand"], rng), 0.6),
        (hand[::-1], hand_drum(kit["hand"] * 1.5, rng), 0.4),
    )
    layer = np.zeros(score.samples, np.float32)
    for pattern, stroke, loud in strokes:
        for index in _played(pattern, score):
            _add(layer, stroke, score.onsets[index], score.sound.numbers["drums"] * loud * rng.uniform(0.6, 1.0))
    return layer


def bass(score: Score) -> Samples:
    """The chord's root, two octaves down, where the kick or the chords are; now and then the fifth."""
    pattern = choose((*score.sound.style.kick, *score.sound.style.strum), score.rng)
    layer = np.zeros(score.samples, np.float32)
    for index in _played(pattern, score):
        degree = int(score.roots[index]) + (4 if score.rng.random() < 0.15 else 0) - len(score.scale)
        note = _note(score, "bass", score.sound.bass, degree, 0.6)
        _add(layer, note, score.onsets[index], score.sound.numbers["bass_level"] * score.rng.uniform(0.8, 1.0))
    return layer


def chords(score: Score) -> Samples:
    """Chords struck together, or broken up a note at a step."""
    style, rng = score.sound.style, score.rng
    pattern = choose(style.strum, rng)
    broken = rng.random() < style.arpeggio
    seconds = 2.5 if pattern.count(".") > 12 else 0.9
    layer = np.zeros(score.samples, np.float32)
    for count, index in enumerate(_played(pattern, score)):
        stack = (style.stack[count % len(style.stack)],) if broken else style.stack
        level = score.sound.numbers["chord_level"] * rng.uniform(0.8, 1.0) / len(stack) ** 0.5
        for place, degree in enumerate(stack):
            note = _note(score, "chord", score.sound.chord, int(score.roots[index]) + degree, seconds)
            _add(layer, note, score.onsets[index] + place * 300, level)
    return layer


def lead(score: Score) -> Samples:
    """A random walk over the scale, an octave up, that comes back to the chord at each bar."""
    played = np.flatnonzero(score.rng.random(score.onsets.size) < score.sound.numbers["melody"])
    moves = score.rng.choice((-2, -1, -1, 0, 1, 1, 2), played.size)
    layer = np.zeros(score.samples, np.float32)
    degree = 0
    for index, move in zip(played, moves, strict=True):
        degree = int(np.clip(degree + move, -3, 9)) if index % STEPS else int(score.roots[index])
        note = _note(score, "lead", score.sound.lead, degree + len(score.scale), 0.7)
        _add(layer, note, score.onsets[index], score.sound.numbers["lead_level"] * score.rng.uniform(0.6, 1.0))
    return layer


def _played(pattern: str, score: Score) -> NDArray[np.int64]:
    """Steps on which a pattern sounds."""
    chances = np.resize([CHANCES[mark] for mark in pattern], score.onsets.size)
    return np.flatnonzero(score.rng.random(chances.size) < chances)


def _note(score: Score, part: str, voice: Voice, degree: int, seconds: float) -> Samples:
    """The note on a degree of the scale; below 0 and past the scale it changes octave. Made once, then reused."""
    if (part, degree) not in score.notes:
        octave, place = divmod(degree, len(score.scale))
        pitch = round(score.sound.numbers["register"]) + 12 * octave + score.scale[place]
        frequency = 440 * 2 ** ((pitch - 69) / 12) * score.sound.tuning
        score.notes[part, degree] = tone(voice, frequency, seconds, score.rng)
    return score.notes[part, degree]


def _add(layer: Samples, note: Samples, start: int, level: float) -> None:
    end = min(layer.size, int(start) + note.size)
    layer[int(start) : end] += np.float32(level) * note[: max(0, end - int(start))]
