"""The music among AudioSet's 521 classes, which are YAMNet's outputs (Gemmeke et al., 2017; YAMNet's class map)."""

import re
from collections.abc import Sequence

FIRST = 132
"""The index of the first of `MUSIC` among all classes; the others follow it without a gap, up to 276."""

_NAMES = """
Music; Musical instrument; Plucked string instrument; Guitar; Electric guitar; Bass guitar; Acoustic guitar; Steel
guitar, slide guitar; Tapping (guitar technique); Strum; Banjo; Sitar; Mandolin; Zither; Ukulele; Keyboard
(musical); Piano; Electric piano; Organ; Electronic organ; Hammond organ; Synthesizer; Sampler; Harpsichord;
Percussion; Drum kit; Drum machine; Drum; Snare drum; Rimshot; Drum roll; Bass drum; Timpani; Tabla; Cymbal; Hi-hat;
Wood block; Tambourine; Rattle (instrument); Maraca; Gong; Tubular bells; Mallet percussion; Marimba, xylophone;
Glockenspiel; Vibraphone; Steelpan; Orchestra; Brass instrument; French horn; Trumpet; Trombone; Bowed string
instrument; String section; Violin, fiddle; Pizzicato; Cello; Double bass; Wind instrument, woodwind instrument;
Flute; Saxophone; Clarinet; Harp; Bell; Church bell; Jingle bell; Bicycle bell; Tuning fork; Chime; Wind chime;
Change ringing (campanology); Harmonica; Accordion; Bagpipes; Didgeridoo; Shofar; Theremin; Singing bowl; Scratching
(performance technique); Pop music; Hip hop music; Beatboxing; Rock music; Heavy metal; Punk rock; Grunge;
Progressive rock; Rock and roll; Psychedelic rock; Rhythm and blues; Soul music; Reggae; Country; Swing music;
Bluegrass; Funk; Folk music; Middle Eastern music; Jazz; Disco; Classical music; Opera; Electronic music; House
music; Techno; Dubstep; Drum and bass; Electronica; Electronic dance music; Ambient music; Trance music; Music of
Latin America; Salsa music; Flamenco; Blues; Music for children; New-age music; Vocal music; A capella; Music of
Africa; Afrobeat; Christian music; Gospel music; Music of Asia; Carnatic music; Music of Bollywood; Ska; Traditional
music; Independent music; Song; Background music; Theme music; Jingle (music); Soundtrack music; Lullaby; Video game
music; Christmas music; Dance music; Wedding music; Happy music; Sad music; Tender music; Exciting music; Angry
music; Scary music
"""
MUSIC = tuple(" ".join(name.split()) for name in _NAMES.split(";"))
"""Display names: genres, instruments and moods."""


def find_class(genre: str) -> int | None:
    """Return the index of the class that a genre is, among all 521, or None.

    "Rock" and "Rock music" are the same, and so are "Hip-Hop" and "Hip hop music".
    """
    return _INDICES.get(_plain(genre))


def find_classes(genres: Sequence[str]) -> list[int] | None:
    """Return the index of the class that each genre is; None where one of the genres is none of them."""
    known = [index for genre in genres if (index := find_class(genre)) is not None]
    return known if known and len(known) == len(genres) else None


def _plain(name: str) -> str:
    """Return a name's letters and digits in lower case, without "music" at its end."""
    letters = re.sub(r"[\W_]", "", name).casefold()
    return letters.removesuffix("music") or letters


_INDICES = {_plain(name): FIRST + at for at, name in enumerate(MUSIC)}
