"""Key, chords and the use of pitch classes, from a track's chroma.

All but the key itself is taken relative to the tonic or between neighbouring frames, so a song in another key has the
same numbers.
"""

import numpy as np
from librosa import sequence

from transforms.fma_statistics.chroma import tonnetz
from transforms.fma_statistics.spectral import N_CHROMA
from transforms.music_theory import CIRCLES, HARMONY, INTERVALS
from transforms.music_theory.frames import FRAMES_PER_SECOND, HALF_SECOND, add_blocks
from transforms.music_theory.rhythm import normalized_entropy

PASSAGE = 18  # half seconds that have a key of their own, 9 s
AUDIBLE = 1e-8  # mean square of a block that has pitch, -80 dB
# How often each pitch class above the tonic is in pieces of a major and of a minor key (Albrecht, Shanahan, 2013).
PROFILES = np.array(
    [
        [0.238, 0.006, 0.111, 0.006, 0.137, 0.094, 0.016, 0.214, 0.009, 0.080, 0.008, 0.081],
        [0.220, 0.006, 0.104, 0.123, 0.019, 0.103, 0.012, 0.214, 0.062, 0.022, 0.061, 0.052],
    ]
)
TRIADS = ((0, 4, 7), (0, 3, 7))  # major and minor, in semitones
SHARPNESS = 20.0  # of the likelihood of a chord, exp(SHARPNESS * cosine)
STAYS = 0.5  # probability that a block has the chord of the one before


def harmony(chroma: np.ndarray, power: np.ndarray) -> dict[str, float]:
    """Return the columns `HARMONY` of chroma float32 [frames, 12] and mean square [frames]."""
    audible = add_blocks(power.astype(np.float64)) > AUDIBLE * add_blocks(np.ones(len(power)))
    blocks = add_blocks(chroma.astype(np.float64))
    blocks = blocks[audible & (blocks.sum(axis=1) > 0)]
    if not len(blocks):
        return dict.fromkeys(HARMONY, 0.0) | {"key_pitch_class": -1.0}
    shares = blocks / blocks.sum(axis=1, keepdims=True)
    tonic, key = _key(blocks)
    return key | _chords(shares, tonic) | _pitch_classes(np.roll(shares, -tonic, axis=1))


def _key(blocks: np.ndarray) -> tuple[int, dict[str, float]]:
    """Return the tonic and the columns of the key."""
    total = blocks.sum(axis=0)
    clarity = key_clarities(total[np.newaxis])[0]
    best = int(clarity.argmax())
    mode, tonic = divmod(best, N_CHROMA)
    starts = np.arange(0, len(blocks), PASSAGE)
    passages = key_clarities(np.add.reduceat(blocks, starts, axis=0)).argmax(axis=1)
    angle = 2 * np.pi * (7 * tonic % N_CHROMA) / N_CHROMA
    found = {
        "key_pitch_class": tonic,
        "key_is_major": mode == 0,
        "key_fifths_cos": np.cos(angle),
        "key_fifths_sin": np.sin(angle),
        "key_clarity": clarity[best],
        "key_margin": clarity[best] - np.delete(clarity, best).max(),
        "key_stability": (passages == best).mean(),
        "major_minus_minor_clarity": clarity[:N_CHROMA].max() - clarity[N_CHROMA:].max(),
    }
    shares = np.roll(total, -tonic) / total.sum()
    return tonic, found | {f"share_of_{name}": share for name, share in zip(INTERVALS, shares, strict=True)}


def key_clarities(chroma: np.ndarray) -> np.ndarray:
    """Return the correlation of chroma [n, 12] with the profile of each key: [n, 24], C to B major, then minor."""
    keys = np.concatenate([[np.roll(profile, tonic) for tonic in range(N_CHROMA)] for profile in PROFILES])
    return (
        _of_unit_length(chroma - chroma.mean(axis=1, keepdims=True))
        @ _of_unit_length(keys - keys.mean(axis=1, keepdims=True)).T
    )


def _of_unit_length(rows: np.ndarray) -> np.ndarray:
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows / np.where(length > 0, length, 1.0)


def recognize_chords(shares: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Find the most likely sequence of triads.

    Args:
      shares: of the pitch classes, [blocks, 12].

    Returns:
      int [blocks], C to B major, then minor; and how clear the chord of each block is, its cosine with it.
    """
    notes = np.zeros((2 * N_CHROMA, N_CHROMA))
    for mode, triad in enumerate(TRIADS):
        for root in range(N_CHROMA):
            notes[mode * N_CHROMA + root, [(root + step) % N_CHROMA for step in triad]] = 1
    cosines = _of_unit_length(shares) @ _of_unit_length(notes).T
    likelihood = np.exp(SHARPNESS * (cosines - cosines.max(axis=1, keepdims=True)))
    likelihood /= likelihood.sum(axis=1, keepdims=True)
    chords = sequence.viterbi_discriminative(likelihood.T, sequence.transition_loop(len(notes), STAYS))
    chords = chords.astype(np.int64)
    return chords, np.take_along_axis(cosines, chords[:, np.newaxis], axis=1)[:, 0]


def _chords(shares: np.ndarray, tonic: int) -> dict[str, float]:
    chords, clarity = recognize_chords(shares)
    counts = np.bincount(chords, minlength=2 * N_CHROMA)
    used = counts[counts > 0] / len(chords)
    above_tonic = (chords - tonic) % N_CHROMA
    return {
        "chord_changes_per_second": np.count_nonzero(np.diff(chords)) * FRAMES_PER_SECOND / (HALF_SECOND * len(chords)),
        "chord_clarity_mean": clarity.mean(),
        "chord_clarity_deviation": clarity.std(),
        "chord_variety_bits": np.abs((used * np.log2(used)).sum()),
        "share_of_major_chords": (chords < N_CHROMA).mean(),
        "share_of_tonic_chords": (above_tonic == INTERVALS.index("tonic")).mean(),
        "share_of_fourth_chords": (above_tonic == INTERVALS.index("fourth")).mean(),
        "share_of_fifth_chords": (above_tonic == INTERVALS.index("fifth")).mean(),
    }


def _pitch_classes(shares: np.ndarray) -> dict[str, float]:
    """Return the columns of shares of the pitch classes from the tonic up, [blocks, 12]."""
    entropy = normalized_entropy(shares)
    change = np.abs(np.diff(shares, axis=0)).sum(axis=1) if len(shares) > 1 else np.zeros(1)
    centroids = tonnetz(shares)
    found = {
        "chroma_entropy_mean": entropy.mean(),
        "chroma_entropy_deviation": entropy.std(),
        "chroma_change_mean": change.mean(),
        "chroma_change_deviation": change.std(),
    }
    for circle, mean, deviation in zip(CIRCLES, centroids.mean(axis=0), centroids.std(axis=0), strict=True):
        found |= {f"tonnetz_{circle}_mean": mean, f"tonnetz_{circle}_deviation": deviation}
    return found
