"""What one track sounds like: numbers drawn from its genre's ranges, first for the artist, then for the track."""

from dataclasses import dataclass, replace

import numpy as np

from transforms.corpus.options import generator
from transforms.corpus.styles import ASPECTS, RANGES, STYLES, Range, Style
from transforms.corpus.voices import VOICES, Voice, vary

ARTIST_BORROWS = 0.1  # chance that an artist takes one aspect from another genre
TRACK_BORROWS = 0.05  # the same for a single track
ARTIST_WEIGHT = 0.7  # how far an artist's own taste decides where in a range its tracks lie


# Hz, and seconds for the snare's decay.
KIT: dict[str, Range] = {"kick": (42, 68), "snare": (150, 240), "snare_decay": (0.04, 0.12), "hand": (120, 330)}


@dataclass(frozen=True, slots=True)
class Sound:
    """Concrete settings of one track.

    Attributes:
      style: patterns and choices come from here, after borrowing.
      numbers: the value drawn from each range of the style, by name.
      tuning: factor on all frequencies, within 40 cents of 1.
      chord, lead, bass: the instruments.
      kit: pitch of kick, snare and hand drum in Hz, decay of the snare in seconds.
      loudness: peak of the track.
      tilt: treble against bass, -1 to 1.
      width: of the stereo picture, 0 to 1; many a track is mono in two channels, as home recordings are.
    """

    style: Style
    numbers: dict[str, float]
    tuning: float
    chord: Voice
    lead: Voice
    bass: Voice
    kit: dict[str, float]
    loudness: float
    tilt: float
    width: float


def draw_sound(genre: str, artist: int, track_id: int, seed: int) -> Sound:
    """The sound of a track; two tracks of an artist are more alike than two artists of a genre."""
    by_artist = generator(seed, "artist", genre, artist)
    by_track = generator(seed, "track", genre, artist, track_id)
    style = _borrow(STYLES[genre], genre, ARTIST_BORROWS, by_artist)
    style = _borrow(style, genre, TRACK_BORROWS, by_track)
    numbers = {name: _pick(getattr(style, name), by_artist, by_track) for name in RANGES}
    kit = {name: float(by_artist.uniform(low, high)) for name, (low, high) in KIT.items()}
    chord, lead, bass = (
        vary(vary(VOICES[names[int(by_artist.random() * len(names))]], 1.0, by_artist), 0.3, by_track)
        for names in (style.chords, style.leads, style.basses)
    )
    return Sound(
        style=style,
        numbers=numbers,
        tuning=float(2 ** (by_track.uniform(-40, 40) / 1200)),
        chord=chord,
        lead=lead,
        bass=bass,
        kit=kit,
        loudness=float(by_track.uniform(0.5, 0.95)),
        tilt=float(np.clip(by_artist.uniform(-0.4, 0.4) + by_track.uniform(-0.3, 0.3), -1, 1)),
        width=float(max(0, by_artist.uniform(-0.6, 1))),
    )


def _borrow(style: Style, genre: str, chance: float, rng: np.random.Generator) -> Style:
    """Now and then one aspect comes from another genre: that is what keeps a classifier from being always right."""
    others = [name for name in STYLES if name != genre]
    lender = STYLES[others[rng.integers(len(others))]]
    aspect = list(ASPECTS)[rng.integers(len(ASPECTS))]
    if rng.random() >= chance:
        return style
    return replace(style, **{name: getattr(lender, name) for name in ASPECTS[aspect]})


def _pick(span: Range, by_artist: np.random.Generator, by_track: np.random.Generator) -> float:
    low, high = span
    place = ARTIST_WEIGHT * by_artist.random() + (1 - ARTIST_WEIGHT) * by_track.random()
    return float(low + (high - low) * place)
