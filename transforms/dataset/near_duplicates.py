"""Near duplicates: the same recording under another encoding, cut or level, by fingerprints of mel spectrograms.

A fingerprint has a word for each frame, and two words some frames apart are a key. Two recordings are compared where
two of their keys are equal and as far from each other in both. The words and the index of the keys lie on disk: memory
is that of a batch of tracks, and of what matches its keys by chance. Words as in Haitsma and Kalker, A Highly Robust
Audio Fingerprinting System (2002), with bands and spans of frames of our own.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy import fft

from transforms.runtime import console

BANDS = 17  # one more than bits in a word
SPAN = 8  # frames; .19 s at 22,050 Hz
GROWTH = 8  # frames over which a difference grows
EMPTY = (0x0000, 0xFFFF)
"""Words of silence and of sounds that do not change: equal to each other, whatever the recording."""

STEP = 4  # frames between indexed words; looked up is every frame, so that cuts may lie anywhere
APART = 16  # frames between the two words of a key
WOBBLE = 2  # frames by which the offsets of keys may differ that belong together
SAME = 0.3
"""Share of bits below which two fingerprints are of one recording: other pairs of a corpus stay above .4, and copies
that are re-encoded at low bit rates, cut and made softer below .25."""

LEAST_WORDS = 40  # words, STEP frames apart, that have to overlap: 3.7 s at 22,050 Hz

COMMON = 256
"""Places that a key may have in the index: sounds with few active bands, such as hum, would meet all of their kind."""

BUCKET_BITS = 6
"""First bits of a key: the files of the index. An entry has the key's other bits, and below them the place of the key's
first word among the words of all tracks."""
PLACE_BITS = np.uint64(64 - 32 + BUCKET_BITS)
PLACE = (np.uint64(1) << PLACE_BITS) - np.uint64(1)
BATCH_WORDS = 8 << 20  # indexed or looked up at once; about .6 GB of memory, 1.9 GB among 106,574 songs


def has_bands(n_mels: int) -> bool:
    """Whether so many mel bands are enough for a fingerprint: 26 or more."""
    return n_mels * 2 // 3 >= BANDS


def fingerprint(mel: np.ndarray) -> np.ndarray:
    """Return words uint16 [frames - SPAN - GROWTH + 1] for a stretch of a track; none for a shorter one.

    `mel` is quantised log-mel, uint8 [n_mels, frames], with enough bands (`has_bands`).
    """
    if not has_bands(len(mel)):
        raise ValueError(f"{len(mel)} mel bands are too few for a fingerprint")
    rows = len(mel) * 2 // 3 // BANDS * BANDS
    energy = mel[:rows].reshape(BANDS, -1, mel.shape[1]).sum(axis=1, dtype=np.int32)
    sums = np.cumsum(np.pad(energy, ((0, 0), (1, 0))), axis=1, dtype=np.int64)
    difference = np.diff(sums[:, SPAN:] - sums[:, :-SPAN], axis=0)
    bits = difference[:, GROWTH:] > difference[:, :-GROWTH]
    return np.packbits(bits, axis=0, bitorder="little").T.copy().view("<u2")[:, 0]


def bit_error_rate(one: np.ndarray, other: np.ndarray, least: int) -> float:
    """Return the share of bits that differ at the shift where two fingerprints fit best; .5 is chance.

    Args:
      one, other: uint16 words, equally spaced.
      least: words that have to overlap and not be empty in both, else a shift does not count.

    Returns:
      in [0, 1]; 1 where they never overlap enough.
    """
    if min(len(one), len(other)) < least:
        return 1.0
    # Counts of all shifts at once, by correlation: of bits as -1 and 1, agreements less differences.
    size = fft.next_fast_len(len(one) + len(other), real=True)
    first, second = (fft.rfft(_channels(words), size) for words in (one, other))
    products = np.conj(first) * second
    heard, balance = (
        np.rint(fft.irfft(product, size))
        for product in (products[0] - products[1], products[3:].sum(0) - 16 * products[2])
    )
    rates = np.divide((16 * heard - balance) / 2, 16 * heard, out=np.ones(size), where=heard >= least)
    return float(rates.min())


def _channels(words: np.ndarray) -> np.ndarray:
    """Return float64 [19, n]: 1, whether the word is empty, that with the sign of its bits, its 16 bits as -1 and 1."""
    bits = 2.0 * np.unpackbits(words.astype("<u2").view(np.uint8).reshape(-1, 2), axis=1).T - 1
    empty = np.isin(words, EMPTY)
    return np.stack([np.ones(len(words)), empty, empty * bits[0], *bits])


@dataclass(frozen=True)
class Fingerprints:
    """The words of many tracks, one track behind another in a file, in any order."""

    path: str
    track_id: np.ndarray  # int64 [tracks]
    starts: np.ndarray  # int64 [tracks + 1], the first word of each track, and the end

    def words(self, track: int) -> np.ndarray:
        """Read the words of a track, uint16 [n]."""
        start, end = self.starts[track : track + 2]
        return np.fromfile(self.path, "<u2", end - start, offset=2 * start)


def find_candidates(prints: Fingerprints, asked: np.ndarray, folder: str) -> Iterator[tuple[int, int]]:
    """Find pairs of tracks with two different keys in common at one offset: (one that was asked for, another).

    Args:
      prints: of all tracks.
      asked: int64 [n], the tracks to look up, as numbers in `prints`.
      folder: for the index, which takes about as many bytes as the fingerprints.
    """
    if not len(asked):
        return
    lengths = np.diff(prints.starts)
    with console.progress("near duplicates", int(lengths.sum() + lengths[asked].sum()), "words") as progress:
        for tracks in _batches(prints, np.arange(len(lengths))):
            for bucket, entries in enumerate(_entries(prints, tracks, STEP)):
                with open(_path(folder, bucket), "ab") as file:
                    file.write(entries.data)  # by tofile, an error of a full disk would not say so
            progress.advance(int(lengths[tracks].sum()))
        for bucket in range(1 << BUCKET_BITS):
            entries = _without_common_keys(np.sort(_read(folder, bucket)))
            with open(_path(folder, bucket), "wb") as file:
                file.write(entries.data)
        for tracks in _batches(prints, asked):
            yield from _look_up(prints, tracks, folder)
            progress.advance(int(lengths[tracks].sum()))


def distance(one: np.ndarray, other: np.ndarray) -> float:
    """Return `bit_error_rate` of two tracks' words; SAME or less for copies of a recording."""
    return min(bit_error_rate(one[phase::STEP], other[::STEP], LEAST_WORDS) for phase in range(STEP))


def _batches(prints: Fingerprints, tracks: np.ndarray) -> Iterator[np.ndarray]:
    """Divide tracks into batches of about BATCH_WORDS words."""
    ends = np.cumsum(np.diff(prints.starts)[tracks])
    batch = ends // BATCH_WORDS
    yield from np.split(tracks, np.flatnonzero(np.diff(batch)) + 1) if len(tracks) else ()


def _keys(words: np.ndarray, step: int) -> tuple[np.ndarray, np.ndarray]:
    """Return keys, uint32 [n], and the places of their first words; empty words make no key."""
    empty = np.isin(words, EMPTY)
    at = np.flatnonzero(~(empty[:-APART] | empty[APART:]))[::step]
    return (words[at].astype(np.uint32) << 16) | words[at + APART], at


def _entries(prints: Fingerprints, tracks: np.ndarray, step: int) -> list[np.ndarray]:
    """Return the entries uint64 [n] of the tracks' keys for each bucket."""
    found = [_keys(prints.words(track), step) for track in tracks]
    key = np.concatenate([keys for keys, _ in found])
    place = np.concatenate([prints.starts[track] + at for track, (_, at) in zip(tracks, found, strict=True)])
    bucket = (key >> (32 - BUCKET_BITS)).astype(np.uint8)
    order = np.argsort(bucket, kind="stable")
    entries = (key.astype(np.uint64) << PLACE_BITS) | place.astype(np.uint64)
    return np.split(entries[order], np.cumsum(np.bincount(bucket, minlength=1 << BUCKET_BITS))[:-1])


def _path(folder: str, bucket: int) -> str:
    return os.path.join(folder, f"keys-{bucket:02}")


def _read(folder: str, bucket: int) -> np.ndarray:
    return np.fromfile(_path(folder, bucket), np.uint64)


def _without_common_keys(entries: np.ndarray) -> np.ndarray:
    key = entries >> PLACE_BITS
    starts = np.flatnonzero(np.diff(key, prepend=~key[:1]))
    counts = np.diff(starts, append=len(key))
    return entries[np.repeat(counts <= COMMON, counts)]


def _look_up(prints: Fingerprints, tracks: np.ndarray, folder: str) -> list[tuple[int, int]]:
    """Return the pairs of `find_candidates` for some tracks, ascending."""
    longest, total = int(np.diff(prints.starts).max()), len(prints.track_id)
    width = 2 * longest + WOBBLE + 1  # more than there are offsets between two tracks
    found = []
    for bucket, entries in enumerate(_entries(prints, tracks, 1)):
        ours, theirs = _equal_keys(np.sort(entries), _read(folder, bucket))
        (us, at), (them, there) = _locate(prints, ours), _locate(prints, theirs)
        line = (np.searchsorted(tracks, us) * total + them) * width + there - at + longest
        key = (ours >> PLACE_BITS).astype(np.uint32) | np.uint32(bucket << 32 - BUCKET_BITS)
        found.append([values[us != them] for values in (line, key)])
    line, key = (np.concatenate(parts) for parts in zip(*found, strict=True))
    order = np.argsort(line)
    line, key = line[order], key[order]
    # Lines that belong together follow each other, and where they have several keys, two of those do.
    aligned = (np.diff(line) <= WOBBLE) & (key[1:] != key[:-1])
    pairs = np.unique(line[1:][aligned] // width)
    return list(zip(tracks[pairs // total].tolist(), (pairs % total).tolist(), strict=True))


def _locate(prints: Fingerprints, entries: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the track of each entry and the place in it, int64 [n] each."""
    place = (entries & PLACE).astype(np.int64)
    track = np.searchsorted(prints.starts, place, "right") - 1
    return track, place - prints.starts[track]


def _equal_keys(ours: np.ndarray, index: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return all pairs of our entries and the index's that have equal keys, as two arrays uint64 [pairs]."""
    key = ours >> PLACE_BITS
    start = np.searchsorted(index, key << PLACE_BITS)
    equal = index[np.minimum(start, len(index) - 1)] >> PLACE_BITS == key if len(index) else np.zeros(len(key), bool)
    ours, start = ours[equal], start[equal]
    count = np.searchsorted(index, ours | PLACE, "right") - start
    nth = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
    return np.repeat(ours, count), index[np.repeat(start, count) + nth]
