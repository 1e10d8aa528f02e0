"""The options of a synthetic corpus, and its seeded random numbers."""

import hashlib
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from transforms.audio.mp3 import BITRATES, SAMPLE_RATES
from transforms.errors import UsageError

SHORT_SECONDS = 1.5  # in the broken file that is shorter than declared
FMA_CLIP_SECONDS = 30
SUBSETS = ("small", "medium", "large")  # each holds the ones before it


def generator(*key: str | int) -> np.random.Generator:
    """Return a random generator for a key such as (seed, "Rock", 3, 1482), the same on every machine."""
    digest = hashlib.sha256("\x1f".join(map(str, key)).encode()).digest()
    return np.random.Generator(np.random.PCG64(int.from_bytes(digest[:16], "big")))


@dataclass(frozen=True, slots=True)
class CorpusOptions:
    """All that the bytes of a corpus depend on."""

    # intact tracks of each of the 8 genres in subset small; medium adds an eighth as many, and Jazz
    tracks_per_genre: int = 20
    subset: str = "large"  # the largest FMA subset to write; rows beyond it are left out of the tables too
    clip_seconds: int = FMA_CLIP_SECONDS  # seconds in a clip; FMA's have 30
    seed: int = 0  # another seed gives other music
    bitrate: int = 128  # kb/s, constant; lowered to what the format allows for clips below 32 kHz
    broken: bool = True  # add the rows of `transforms.corpus.plan.BREAKAGES`
    archives: bool = False  # also write fma_small.zip, fma_medium.zip and fma_metadata.zip
    sample_rate: int = 44_100  # Hz of most clips
    channels: int = 2  # 1 or 2, of most clips
    # tracks of two genres each, for each of the 8 genres, in subset large; and sub-genres that one can hear
    several: int = 0
    song_durations: bool = False  # declare whole songs' lengths, as FMA's own tracks.csv does, though clips have 30 s

    def to_json(self) -> dict[str, Any]:
        """Return plain values for corpus.json."""
        return asdict(self)


def validate(options: CorpusOptions) -> CorpusOptions:
    """Return the options, or raise a UsageError that names every bad value."""
    checks = {
        f"--subset must be one of {', '.join(SUBSETS)}": options.subset in SUBSETS,
        "--tracks-per-genre must be 1 to 2000": 1 <= options.tracks_per_genre <= 2_000,
        "--several must be 0 to 2000": 0 <= options.several <= 2_000,
        "--clip-seconds must be 3 to 600": 3 <= options.clip_seconds <= 600,
        f"--bitrate must be one of {', '.join(map(str, BITRATES))}": options.bitrate in BITRATES,
        f"--sample-rate must be one of {', '.join(map(str, SAMPLE_RATES))}": options.sample_rate in SAMPLE_RATES,
        "--channels must be 1 or 2": options.channels in (1, 2),
        "--song-durations needs clips of 30 s": not options.song_durations or options.clip_seconds == FMA_CLIP_SECONDS,
    }
    problems = [message for message, holds in checks.items() if not holds]
    if problems:
        raise UsageError("; ".join(problems))
    return options
