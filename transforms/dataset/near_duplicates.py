"""Near duplicates: the same recording under another encoding, cut or level, by fingerprints of mel spectrograms.

A fingerprint has a word for each frame, and two words some frames apart are a key, with bits of a third word where
there are very many. Two recordings are compared where two of their keys are equal and as far from each other in both.
The words and the index of the keys lie on disk: memory is that of a batch of tracks, and of what matches its keys by
chance. Words as in Haitsma and Kalker, A Highly Robust Audio Fingerprinting System (2002), with bands and spans of
frames of our own.
"""

import math
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
APART = 16  # frames between the words of a key
WOBBLE = 2  # frames by which the offsets of keys may differ that belong together
SAME = 0.3
"""Share of bits below which two fingerprints are of one recording: other pairs of a corpus stay above .4, and copies
that are re-encoded at low bit rates, cut and made softer below .25."""

LEAST_WORDS = 40  # words, STEP frames apart, that have to overlap: 3.7 s at 22,050 Hz

COMMON = 256
"""Places that a key may have in the index: sounds with few active bands, such as hum, would meet all of their kind."""

LARGE = 1 << 27
"""Words of all tracks above which keys have bits of a third word, one more each time that there are twice as many, so
that time does not grow with the square. A bit loses some copies of clips of 30 s: of 88 re-encoded with losses,
85 were found with two bits more and 80 with eight. Whole songs have nine times as many keys."""
MOST_MORE = 5

BUCKET_BITS = 6
"""First bits of a key: the files of the index. An entry has the key's other bits, and below them the place of the key's
first word among the words of all tracks."""
BATCH_WORDS = 8 << 20  # indexed or looked up at once; about .6 GB of memory, 1.2 GB among 106,574 songs


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
    index = _Index(prints, folder)
    with console.progress("near duplicates", int(lengths.sum() + lengths[asked].sum()), "words") as progress:
        for tracks in _batches(prints, np.arange(len(lengths))):
            index.add(tracks)
            progress.advance(int(lengths[tracks].sum()))
        index.finish()
        for tracks in _batches(prints, asked):
            yield from index.look_up(tracks)
            progress.advance(int(lengths[tracks].sum()))


def distance(one: np.ndarray, other: np.ndarray) -> float:
    """Return `bit_error_rate` of two tracks' words; SAME or less for copies of a recording."""
    return min(bit_error_rate(one[phase::STEP], other[::STEP], LEAST_WORDS) for phase in range(STEP))


def _batches(prints: Fingerprints, tracks: np.ndarray) -> Iterator[np.ndarray]:
    """Divide tracks into batches of about BATCH_WORDS words."""
    ends = np.cumsum(np.diff(prints.starts)[tracks])
    batch = ends // BATCH_WORDS
    yield from np.split(tracks, np.flatnonzero(np.diff(batch)) + 1) if len(tracks) else ()


class _Index:
    """Keys of all tracks, in files by their first bits, each in ascending order once it is finished."""

    def __init__(self, prints: Fingerprints, folder: str):
        self.prints, self._folder = prints, folder
        more = min(MOST_MORE, max(0, math.ceil(math.log2(max(1, prints.starts[-1]) / LARGE))))
        self._third = np.uint64(16 - more)  # bits of a key's third word that are left out
        self._in_bucket = np.uint64(32 + more - BUCKET_BITS)  # bits of a key in an entry
        self._place_bits = np.uint64(64) - self._in_bucket

    def add(self, tracks: np.ndarray) -> None:
        """Write the keys of some tracks."""
        for bucket, entries in enumerate(self._entries(tracks, STEP)):
            with open(self._path(bucket), "ab") as file:
                file.write(entries.data)  # by tofile, an error of a full disk would not say so

    def finish(self) -> None:
        """Sort the keys, and leave out the common ones."""
        for bucket in range(1 << BUCKET_BITS):
            entries = np.sort(np.fromfile(self._path(bucket), np.uint64))
            key = entries >> self._place_bits
            starts = np.flatnonzero(np.diff(key, prepend=~key[:1]))
            counts = np.diff(starts, append=len(key))
            with open(self._path(bucket), "wb") as file:
                file.write(entries[np.repeat(counts <= COMMON, counts)].data)

    def look_up(self, tracks: np.ndarray) -> list[tuple[int, int]]:
        """Return the pairs of `find_candidates` for some tracks, ascending."""
        longest, total = int(np.diff(self.prints.starts).max()), len(self.prints.track_id)
        width = 2 * longest + WOBBLE + 1  # more than there are offsets between two tracks
        found = []
        for bucket, entries in enumerate(self._entries(tracks, 1)):
            ours, theirs = self._equal_keys(np.sort(entries), self._read(bucket))
            (us, at), (them, there) = self._locate(ours), self._locate(theirs)
            line = (np.searchsorted(tracks, us) * total + them) * width + there - at + longest
            key = (ours >> self._place_bits) | np.uint64(bucket) << self._in_bucket
            found.append([values[us != them] for values in (line, key)])
        line, key = (np.concatenate(parts) for parts in zip(*found, strict=True))
        order = np.argsort(line)
        line, key = line[order], key[order]
        # Lines that belong together follow each other, and where they have several keys, two of those do.
        aligned = (np.diff(line) <= WOBBLE) & (key[1:] != key[:-1])
        pairs = np.unique(line[1:][aligned] // width)
        return list(zip(tracks[pairs // total].tolist(), (pairs % total).tolist(), strict=True))

    def _entries(self, tracks: np.ndarray, step: int) -> list[np.ndarray]:
        """Return the entries uint64 [n] of the tracks' keys for each bucket."""
        found = [self._keys(self.prints.words(track), step) for track in tracks]
        key = np.concatenate([keys for keys, _ in found])
        starts = self.prints.starts
        place = np.concatenate([starts[track] + at for track, (_, at) in zip(tracks, found, strict=True)])
        bucket = (key >> self._in_bucket).astype(np.uint8)
        order = np.argsort(bucket, kind="stable")
        entries = (key << self._place_bits) | place.astype(np.uint64)
        return np.split(entries[order], np.cumsum(np.bincount(bucket, minlength=1 << BUCKET_BITS))[:-1])

    def _keys(self, words: np.ndarray, step: int) -> tuple[np.ndarray, np.ndarray]:
        """Return keys, uint64 [n], and the places of their first words; of two words, neither may be empty."""
        empty = np.isin(words, EMPTY)
        at = np.flatnonzero(~(empty[:-APART] | empty[APART:]))[::step]
        padded = np.pad(words, (0, APART)).astype(np.uint64)
        first, second, third = (padded[at + shift] for shift in (0, APART, 2 * APART))
        return (first << np.uint64(32) | second << np.uint64(16) | third) >> self._third, at

    def _locate(self, entries: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the track of each entry and the place in it, int64 [n] each."""
        place = (entries & self._places).astype(np.int64)
        track = np.searchsorted(self.prints.starts, place, "right") - 1
        return track, place - self.prints.starts[track]

    def _equal_keys(self, ours: np.ndarray, index: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return all pairs of our entries and the index's that have equal keys, as two arrays uint64 [pairs]."""
        key = ours >> self._place_bits
        start = np.searchsorted(index, key << self._place_bits)
        at = np.minimum(start, len(index) - 1)
        equal = index[at] >> self._place_bits == key if len(index) else np.zeros(len(key), bool)
        ours, start = ours[equal], start[equal]
        count = np.searchsorted(index, ours | self._places, "right") - start
        nth = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
        return np.repeat(ours, count), index[np.repeat(start, count) + nth]

    @property
    def _places(self) -> np.uint64:
        return (np.uint64(1) << self._place_bits) - np.uint64(1)

    def _path(self, bucket: int) -> str:
        return os.path.join(self._folder, f"keys-{bucket:02}")

    def _read(self, bucket: int) -> np.ndarray:
        path = self._path(bucket)  # mapped: every batch of tracks looks through all files
        return np.memmap(path, np.uint64, "r") if os.path.getsize(path) else np.empty(0, np.uint64)
