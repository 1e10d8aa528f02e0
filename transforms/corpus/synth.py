"""From a track's genre and artist to samples: the players' layers, and what is done to their mix."""

import numpy as np
from numpy.typing import NDArray

from transforms.corpus.options import generator
from transforms.corpus.parts import bass, chords, drums, lead, write_score
from transforms.corpus.sound import Sound, draw_sound
from transforms.corpus.voices import SAMPLE_RATE, Samples

PAN_CHORDS, PAN_LEAD = 0.3, -0.2  # side over middle
SHELF_HZ = 900.0  # what `Sound.tilt` turns about
TAPS = 64  # after which the response to an impulse has died down to 0.0003 of its start


def synthesise(genre: str, artist: int, track_id: int, seconds: float, seed: int) -> NDArray[np.float32]:
    """One clip: [seconds * 44100, 2] float32 in -1..1, the same for the same arguments.

    Args:
      genre: a row of `transforms.corpus.styles.STYLES`.
      artist: number of the artist within the genre.
      track_id: the track.
      seconds: length.
      seed: of the corpus.
    """
    sound = draw_sound(genre, artist, track_id, seed)
    rng = generator(seed, "music", genre, artist, track_id)
    score = write_score(sound, round(seconds * SAMPLE_RATE), rng)
    harmony, melody = chords(score), lead(score)
    middle = drums(score) + bass(score) + harmony + melody
    middle = _tone_control(_add_noise(_echo(_drive(middle, sound), sound), sound, rng), sound)
    if not sound.width:
        stereo = np.stack([middle, middle], axis=1)
    else:
        side = np.float32(PAN_CHORDS * sound.width) * harmony + np.float32(PAN_LEAD * sound.width) * melody
        side = _tone_control(side, sound)
        stereo = np.stack([middle + side, middle - side], axis=1)
    return stereo * np.float32(sound.loudness / max(1e-6, float(np.abs(stereo).max())))


def _drive(mix: Samples, sound: Sound) -> Samples:
    """Soft clipping; a drive of 0 leaves the mix as it is."""
    amount = np.float32(sound.numbers["drive"])
    return np.tanh(mix * amount) / amount if amount > 0.05 else mix


def _echo(mix: Samples, sound: Sound) -> Samples:
    """Three repeats, three sixteenths apart."""
    delay = int(60 / sound.numbers["tempo"] * 0.75 * SAMPLE_RATE)
    wet = mix.copy()
    for repeat in (1, 2, 3):
        if repeat * delay < mix.size:
            wet[repeat * delay :] += np.float32(0.6 * sound.numbers["echo"] ** repeat) * mix[: -repeat * delay]
    return wet


def _add_noise(mix: Samples, sound: Sound, rng: np.random.Generator) -> Samples:
    """A noise bed relative to the music's own level."""
    level = float(np.sqrt(np.mean(np.square(mix)))) * 10 ** (sound.numbers["noise_db"] / 20)
    return mix + np.float32(level) * rng.standard_normal(mix.size, np.float32)


def _tone_control(mix: Samples, sound: Sound) -> Samples:
    """A one-pole low-pass at the style's cutoff, and treble against bass by up to 6 dB about SHELF_HZ.

    As a convolution with the impulse responses, cut after TAPS samples: scipy.signal takes a second to import.
    """
    poles = np.exp(-2 * np.pi * np.array([sound.numbers["cutoff"], SHELF_HZ]) / SAMPLE_RATE)
    bright, low = ((1 - pole) * pole ** np.arange(TAPS) for pole in poles)
    gain = 10 ** (6 * sound.tilt / 20)
    response = bright * gain + low * (1 / gain - gain)
    return np.convolve(mix, response.astype(np.float32))[: mix.size]
