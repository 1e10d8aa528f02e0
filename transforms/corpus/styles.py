"""What tells the genres apart: a table of ranges, one row for a genre, from which artists and tracks are drawn.

A pattern is one bar of 16 steps. "x" is always played, "o" two times out of three, "-" one time out of five.
"""

from dataclasses import dataclass, fields

Range = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Style:
    """Ranges and choices of one genre; `transforms.corpus.sound` says who draws which.

    Attributes:
      tempo: beats a minute. swing: delay of every second step, in steps.
      kick, snare, hat, hand: patterns to choose from. drums: level. ring: decay of the cymbal in seconds.
      scales, progressions: names in SCALES; chord roots, one for a bar, as degrees of the scale.
      stack: degrees of a chord. strum: patterns for chords. arpeggio: chance that chords are broken up.
      register: MIDI note of the tonic. melody: chance of a lead note on a step.
      chords, leads, basses: names in VOICES. chord_level, lead_level, bass_level: levels.
      noise_db: level of the noise bed. cutoff: Hz of a low-pass over everything. drive: distortion. echo: its level.
    """

    tempo: Range
    scales: tuple[str, ...]
    progressions: tuple[tuple[int, ...], ...]
    strum: tuple[str, ...]
    chords: tuple[str, ...]
    leads: tuple[str, ...]
    basses: tuple[str, ...]
    kick: tuple[str, ...] = ("................",)
    snare: tuple[str, ...] = ("................",)
    hat: tuple[str, ...] = ("................",)
    hand: tuple[str, ...] = ("................",)
    swing: Range = (0.0, 0.05)
    drums: Range = (0.6, 1.0)
    ring: Range = (0.015, 0.05)
    stack: tuple[int, ...] = (0, 2, 4)
    arpeggio: float = 0.3
    register: Range = (50, 62)
    melody: Range = (0.15, 0.35)
    chord_level: Range = (0.25, 0.45)
    lead_level: Range = (0.2, 0.45)
    bass_level: Range = (0.4, 0.7)
    noise_db: Range = (-60, -44)
    cutoff: Range = (6_000, 14_000)
    drive: Range = (0.0, 0.3)
    echo: Range = (0.0, 0.3)


RANGES = tuple(field.name for field in fields(Style) if field.type == Range)

# An aspect is taken over as a whole when a track borrows from another genre.
ASPECTS = {
    "rhythm": ("tempo", "swing", "kick", "snare", "hat", "hand", "drums", "ring"),
    "harmony": ("scales", "progressions", "stack", "strum", "arpeggio", "register", "melody"),
    "instruments": ("chords", "leads", "basses", "chord_level", "lead_level", "bass_level"),
    "production": ("noise_db", "cutoff", "drive", "echo"),
}

SCALES = {
    "major": (0, 2, 4, 5, 7, 9, 11),
    "minor": (0, 2, 3, 5, 7, 8, 10),
    "dorian": (0, 2, 3, 5, 7, 9, 10),
    "mixolydian": (0, 2, 4, 5, 7, 9, 10),
    "pentatonic": (0, 3, 5, 7, 10),
    "hijaz": (0, 1, 4, 5, 7, 8, 10),
    "whole": (0, 2, 4, 6, 8, 10),
    "chromatic": tuple(range(12)),
}

BACKBEAT = ("....x.......x...", "....x.......x..-", "....x..-....x...")

STYLES = {
    "Electronic": Style(
        tempo=(118, 136), drums=(0.8, 1.1), swing=(0, 0.1), melody=(0.1, 0.4), arpeggio=0.8, register=(48, 60),
        kick=("x...x...x...x...", "x...x...x...x.-."),
        snare=("....x.......x...", "................"),
        hat=("..x...x...x...x.", "x-x-x-x-x-x-x-x-", "xxxxxxxxxxxxxxxx"),
        scales=("minor", "dorian"), progressions=((0, 0, 5, 6), (0, 0, 0, 0), (0, 5, 2, 6)),
        strum=("x.x.x.x.x.x.x.x.", "x..x..x.x..x..x.", "xxxxxxxxxxxxxxxx"),
        chords=("saw", "square", "pluck"), leads=("saw", "square", "bell"), basses=("saw", "square", "sub"),
        cutoff=(8_000, 16_000), echo=(0.1, 0.5),
    ),
    "Experimental": Style(
        tempo=(50, 110), swing=(0, 0.5), drums=(0.2, 0.8), ring=(0.05, 0.3), melody=(0.05, 0.3), arpeggio=0.3,
        register=(38, 66), hand=("-.-.-..-.-..-.-.", "................"), hat=("-..-...-..-..-..", "................"),
        kick=("-.........-.....", "................"),
        scales=("chromatic", "whole"), progressions=((0, 1, 0, 6), (0, 0, 3, 3), (0, 7, 2, 5)), stack=(0, 1, 6),
        strum=("o.......-.......", "o...............", "-..-.-...-..-.-."),
        chords=("metal", "bell", "pad"), leads=("metal", "bell", "reed"), basses=("metal", "sub", "organ"),
        bass_level=(0.1, 0.6), noise_db=(-42, -18), cutoff=(3_000, 16_000), drive=(0, 1.5), echo=(0.3, 0.7),
    ),
    "Folk": Style(
        tempo=(76, 124), drums=(0.1, 0.3), hand=("................", "o...-...o...-..."), melody=(0.1, 0.3),
        scales=("major", "mixolydian", "dorian"), progressions=((0, 3, 0, 4), (0, 4, 5, 3), (0, 6, 3, 0)),
        strum=("x.xxx.x.x.xxx.x.", "x.o.x.o.x.o.x.o.", "x..xx..xx..xx.x."), arpeggio=0.7,
        chords=("nylon", "pluck", "nylon"), leads=("singer", "flute", "nylon"), basses=("upright", "finger", "nylon"),
        chord_level=(0.4, 0.6), bass_level=(0.15, 0.45), noise_db=(-50, -38), cutoff=(8_000, 12_000),
    ),
    "Hip-Hop": Style(
        tempo=(78, 102), swing=(0.05, 0.35), drums=(0.9, 1.3), melody=(0.05, 0.3), arpeggio=0.3,
        kick=("x.....x...x.....", "x..-...xx.....-.", "x......o..x....."), snare=BACKBEAT,
        hat=("x.x.x.x.x.x.x.x.", "x.xxx.x.x.x-x.xx", "xxxxxxxxxxxxxxxx"),
        scales=("minor", "pentatonic", "dorian"), progressions=((0, 0, 3, 3), (0, 0, 0, 0), (0, 5, 0, 4)),
        strum=("x.......x.......", "x..x............", "x.....x...-....."), stack=(0, 2, 4, 6),
        chords=("piano", "strings", "organ"), leads=("singer", "bell", "horn"), basses=("sub", "sub", "finger"),
        chord_level=(0.15, 0.35), bass_level=(0.7, 1.0), noise_db=(-50, -32), cutoff=(3_500, 9_000),
    ),
    "Instrumental": Style(
        tempo=(60, 104), drums=(0.1, 0.5), ring=(0.05, 0.3), melody=(0.1, 0.3), arpeggio=0.6,
        kick=("................", "o...............", "o.......o......."), hat=("................", "o...o...o...o..."),
        scales=("major", "minor"), progressions=((0, 5, 3, 4), (0, 2, 3, 3), (5, 3, 0, 4)),
        strum=("x.......x.......", "x...............", "x...x...x...x..."),
        chords=("piano", "strings", "pad"), leads=("piano", "strings", "piano"), basses=("upright", "strings", "sub"),
        chord_level=(0.35, 0.6), bass_level=(0.2, 0.5), noise_db=(-66, -50), cutoff=(3_500, 8_000),
        drive=(0, 0.1), echo=(0.3, 0.6),
    ),
    "International": Style(
        tempo=(92, 140), swing=(0, 0.2), drums=(0.8, 1.2), melody=(0.3, 0.5), arpeggio=0.4, register=(52, 64),
        hand=("x..x..x.x..x..x.", "x.ox.ox.x.ox.oxo", "x-xx-xx-x-xx-xx-"), hat=("................", "..o...o...o...o."),
        scales=("hijaz", "pentatonic", "mixolydian"), progressions=((0, 0, 1, 0), (0, 0, 0, 0), (0, 3, 1, 0)),
        strum=("x..x..x.x..x..x.", "x...x...x...x..."), stack=(0, 4),
        chords=("pluck", "nylon", "organ"), leads=("reed", "flute", "reed"), basses=("finger", "upright", "sub"),
        lead_level=(0.35, 0.6), bass_level=(0.2, 0.5), noise_db=(-54, -36), cutoff=(5_000, 12_000),
    ),
    "Pop": Style(
        tempo=(98, 128), drums=(0.7, 1.0), melody=(0.25, 0.45), arpeggio=0.2, register=(52, 62),
        kick=("x.......x.......", "x.....x.x.......", "x...x...x...x..."), snare=BACKBEAT,
        hat=("x.x.x.x.x.x.x.x.", "x.x.x.x.x.x.x-x."),
        scales=("major",), progressions=((0, 4, 5, 3), (5, 3, 0, 4), (0, 5, 3, 4)),
        strum=("x.....x.x.....x.", "x...x...x...x...", "x...............", "x.x.x.x.x.x.x.x."),
        chords=("strings", "piano", "organ", "saw"), leads=("singer", "singer", "square"),
        basses=("finger", "square", "sub"), lead_level=(0.35, 0.6), noise_db=(-60, -50), cutoff=(11_000, 16_000),
    ),
    "Rock": Style(
        tempo=(108, 160), drums=(0.8, 1.2), ring=(0.03, 0.2), melody=(0.05, 0.3), arpeggio=0.05, register=(40, 52),
        kick=("x.......x.x.....", "x.....x.x.......", "x.x.....x.x....."), snare=BACKBEAT,
        hat=("x.x.x.x.x.x.x.x.", "x...x...x...x..."),
        scales=("minor", "mixolydian", "pentatonic"), progressions=((0, 6, 3, 0), (0, 3, 4, 3), (0, 0, 3, 4)),
        strum=("x.x.x.x.x.x.x.x.", "x..x..x.x..x..x.", "x...x...x.x.x.x."), stack=(0, 4, 7),
        chords=("guitar", "guitar", "saw"), leads=("guitar", "singer", "guitar"), basses=("finger", "guitar", "saw"),
        chord_level=(0.4, 0.7), noise_db=(-52, -34), cutoff=(5_000, 12_000), drive=(0.8, 3.0), echo=(0, 0.2),
    ),
    "Jazz": Style(
        tempo=(96, 190), swing=(0.35, 0.65), drums=(0.3, 0.7), ring=(0.15, 0.4), melody=(0.2, 0.5), arpeggio=0.1,
        kick=("................", "o.......-......."), snare=("......-.......-.", "....-......-...."),
        hat=("x...x.x.x...x.x.", "x...x..xx...x..x"),
        scales=("dorian", "mixolydian", "major"), progressions=((1, 4, 0, 0), (1, 4, 0, 5), (0, 3, 1, 4)),
        strum=("..x...o.....x...", "x.....x.........", "....o..x....o..-"), stack=(0, 2, 4, 6),
        chords=("piano", "piano", "organ"), leads=("horn", "horn", "piano"), basses=("upright",),
        bass_level=(0.5, 0.8), noise_db=(-54, -38), cutoff=(4_000, 10_000),
    ),
}  # fmt: skip
