"""An acoustic fingerprint from the stored mel spectrograms: what tells one recording from another, and little else.

After Haitsma and Kalker, "A Highly Robust Audio Fingerprinting System" (ISMIR 2002): a bit for each pair of
neighbouring bands and each frame, which says whether their difference in energy grows. Loudness cancels out, and
re-encoding changes few bits. Here the bands are groups of mel bands below two thirds of the mel scale (low bit rates
cut off what is above), and energies are smoothed over `SPAN` frames.
"""

import numpy as np

BANDS = 17  # one more than bits in a word
SPAN = 8  # frames; .19 s at 22,050 Hz
GROWTH = 8  # frames over which a difference grows
EMPTY = (0x0000, 0xFFFF)
"""Words of silence and of sounds that do not change: equal to each other, whatever the recording."""


def has_bands(n_mels: int) -> bool:
    """Whether so many mel bands are enough for a fingerprint: 26 or more."""
    return n_mels * 2 // 3 >= BANDS


def fingerprint(mel: np.ndarray) -> np.ndarray:
    """Words of 16 bits for a stretch of a track.

    Args:
      mel: quantised log-mel, uint8 [n_mels, frames], of which there must be enough (`has_bands`).

    Returns:
      uint16 [frames - SPAN - GROWTH + 1]; none for a shorter stretch.
    """
    if not has_bands(len(mel)):
        raise ValueError(f"{len(mel)} mel bands are too few for a fingerprint")
    rows = len(mel) * 2 // 3 // BANDS * BANDS
    energy = mel[:rows].reshape(BANDS, -1, mel.shape[1]).mean(axis=1)
    sums = np.cumsum(np.pad(energy, ((0, 0), (1, 0))), axis=1)
    difference = np.diff(sums[:, SPAN:] - sums[:, :-SPAN], axis=0)
    # Sums of floats may differ in their last bit where the energies are equal: that is not growth.
    bits = difference[:, GROWTH:] - difference[:, :-GROWTH] > 1e-6
    return np.tensordot(1 << np.arange(BANDS - 1), bits, 1).astype(np.uint16)


def bit_error_rate(one: np.ndarray, other: np.ndarray, least: int) -> float:
    """Share of bits that differ where two fingerprints fit best, over all shifts; .5 is chance.

    Args:
      one, other: uint16 words, equally spaced.
      least: words that have to overlap and not be empty in both, else a shift does not count.

    Returns:
      in [0, 1]; 1 where they never overlap enough.
    """
    best = 1.0
    for shift in range(least - len(one), len(other) - least + 1):
        first, second = one[max(0, -shift) :], other[max(0, shift) :]
        length = min(len(first), len(second))
        first, second = first[:length], second[:length]
        told = ~(np.isin(first, EMPTY) & np.isin(second, EMPTY))
        words = int(told.sum())
        if words >= least:
            best = min(best, int(np.bitwise_count(first ^ second)[told].sum()) / (16 * words))
    return best
